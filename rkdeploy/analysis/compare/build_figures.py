"""The figures of a bundle, from what its build recorded."""

from __future__ import annotations

from dataclasses import replace

from rkdeploy.analysis.compare.comparison import BuildFigures, HeadlineFigure, LabeledAccuracy
from rkdeploy.analysis.compare.variants import Variant
from rkdeploy.analysis.estimate.latency import predict, require_predictable
from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.compiled_model import CompiledModel
from rkdeploy.errors import RkdeployError


def figures_of(bundle: Bundle, accuracy: LabeledAccuracy | None) -> BuildFigures:
    """Figures of a build without a board.

    Args:
        bundle: the build.
        accuracy: of it, if it was measured.

    Raises:
        BundleError: when its record cannot be read.
    """
    record = bundle.record
    compiled = record.compiled
    speed, why = _predicted(compiled, bundle)
    return BuildFigures(
        speed=speed,
        not_predicted=why,
        weight_kib=compiled.weight_kib if compiled is not None else None,
        internal_kib=compiled.internal_kib if compiled is not None else None,
        rknn_bytes=bundle.rknn.stat().st_size,
        agreement=record.agreement,
        accuracy=accuracy,
    )


def _predicted(compiled: CompiledModel | None, bundle: Bundle) -> tuple[Prediction | None, str]:
    """The predicted time, or the reason why there is none."""
    try:
        require_predictable(bundle.model.target, bundle.model.dtype)
        if compiled is None:
            return None, "The compiler's log could not be read."
        found = predict(compiled, bundle.model.target, bundle.model.dtype, _toolkit(bundle))
    except RkdeployError as error:
        return None, error.message
    return replace(found, layers=()), ""


def _toolkit(bundle: Bundle) -> str:
    toolkit = bundle.record.toolkit
    return f"{toolkit.name} {toolkit.version}"


def labeled_accuracy(report: AccuracyReport, on: Variant | None = None) -> LabeledAccuracy:
    """The headline figures of a build's report.

    Args:
        report: float and the built model on labeled images.
        on: the build that was simulated, where it is another's report.
    """
    reference, built = report.evaluations
    after = built.headlines()
    figures = tuple(HeadlineFigure(name, value, after.get(name)) for name, value in reference.headlines().items())
    return LabeledAccuracy(figures, built.figures_from, report.source, built.images, on)


def simulates_alike(a: Bundle, b: Bundle) -> bool:
    """True if two builds of one network for two chips gave the same in the simulator.

    They did if every scale, and every figure of the comparison on the same held-out images, is the same to the last
    digit.  Without such images it is not known.
    """
    first, second = a.record.agreement, b.record.agreement
    return first is not None and first == second and a.spec.outputs == b.spec.outputs

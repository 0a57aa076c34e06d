"""The figures of a bundle, from what its build recorded."""

from __future__ import annotations

from rkdeploy.analysis.compare.comparison import Accuracy, Figures, Measured, Speed
from rkdeploy.analysis.compare.variants import Variant
from rkdeploy.analysis.estimate.latency import predict, require_predictable
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.compiled import CompiledModel
from rkdeploy.errors import RkdeployError


def figures_of(bundle: Bundle, accuracy: Measured | None) -> Figures:
    """What is known of a build without a board.

    Args:
        bundle: the build.
        accuracy: of it, where it was measured.

    Raises:
        BundleError: when its record cannot be read.
    """
    record = bundle.record
    compiled = record.compiled
    speed, why = _predicted(compiled, bundle)
    return Figures(
        speed=speed,
        not_predicted=why,
        weight_kib=compiled.weight_kib if compiled is not None else None,
        internal_kib=compiled.internal_kib if compiled is not None else None,
        rknn_bytes=bundle.rknn.stat().st_size,
        agreement=record.agreement,
        accuracy=accuracy,
    )


def _predicted(compiled: CompiledModel | None, bundle: Bundle) -> tuple[Speed | None, str]:
    """The predicted time, or why there is none."""
    try:
        require_predictable(bundle.model.target, bundle.model.dtype)
        if compiled is None:
            return None, "The compiler's log could not be read."
        found = predict(compiled, bundle.model.target, bundle.model.dtype)
    except RkdeployError as error:
        return None, error.message
    speed = Speed(
        time_ms=found.time_ms,
        low_ms=found.low_ms,
        high_ms=found.high_ms,
        coverage=found.coverage,
        frames_per_second=found.frames_per_second,
        fitted_on=found.fitted_on,
        notes=found.notes,
    )
    return speed, ""


def measured(report: AccuracyReport, on: Variant | None = None) -> Measured:
    """The headline figures of a build's report.

    Args:
        report: float and the built model on labeled images.
        on: the build that was simulated, where it is another's report.
    """
    reference, built = report.evaluations
    after = built.headlines()
    figures = tuple(Accuracy(name, value, after.get(name)) for name, value in reference.headlines().items())
    return Measured(figures, built.figures_from, report.source, built.images, on)


def simulates_alike(a: Bundle, b: Bundle) -> bool:
    """Whether two builds of one network for two chips gave the same in the simulator.

    They did where every scale, and every figure of the comparison on the same held-out images, is the same to the last
    digit.  Without such images it is not known.
    """
    first, second = a.record.agreement, b.record.agreement
    return first is not None and first == second and a.spec.outputs == b.spec.outputs

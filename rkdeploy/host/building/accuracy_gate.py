"""The gate of `rkdeploy build --data`: refuses a quantized model that lost too much accuracy on labeled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rkdeploy.accuracy.evaluation import measuring_thresholds
from rkdeploy.accuracy.predictions import ImagePrediction
from rkdeploy.accuracy.predictor import Predictor
from rkdeploy.accuracy.scoring import score
from rkdeploy.accuracy.truth_matching import require_tool
from rkdeploy.accuracy.validators import validator_of
from rkdeploy.contract.accuracy import AccuracyReport, Evaluation
from rkdeploy.datasets.open_data import open_data
from rkdeploy.device.postprocess.thresholds import Thresholds, default_confidence
from rkdeploy.errors import CalibrationError, VerificationError
from rkdeploy.host.building.gate_options import GateOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.contract.agreement import Agreement
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.datasets.calibration import CalibrationSet
    from rkdeploy.datasets.truth import LabeledSet
    from rkdeploy.device.runtime.protocol import HeadTensor

Infer = Callable[["NDArray[np.uint8]"], Sequence["HeadTensor"]]
_NAMED = 3
_WEAK_FLOAT = 0.1
_NO_FLOAT = 0.05
"""Below it the float model finds almost none of the labeled objects: a drop from there would mean nothing."""
_POOR_COSINE = 0.99
_MEND = (
    "Calibrate on 20 to 40 images like those the model will see, all classes among them (--calib); "
    "docs/accuracy.md and docs/quantization.md have what else helps. If --dtype fp16 loses as much, it is not "
    "quantization: please report it. Or raise --max-drop if this is good enough."
)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two sides that are compared.

    Attributes:
        infer: (1, H, W, 3) uint8 to head tensors.
        backend, computes, figures_from: see `Evaluation`.
    """

    infer: Infer
    backend: str
    computes: str
    figures_from: str


def open_gate(options: GateOptions, spec: ModelSpec) -> LabeledSet:
    """The labeled images, found before the long part of a build.

    Raises:
        RkdeployError: when they are unusable, or pycocotools is missing.
    """
    require_tool()
    return open_data(options.data, spec, split=options.split, labels=options.labels, limit=options.limit)


def require_sound(calibration: CalibrationSet) -> None:
    """Check the calibration set before the build.

    One picture repeated may lose little on the images at hand, and everything on others: the ranges are those of that
    picture.

    Raises:
        CalibrationError: when it is damaged, with the reason.
    """
    if calibration.faults:
        raise CalibrationError(
            f"The calibration set is damaged: {' '.join(calibration.faults)} It is {calibration.source}.",
            "Calibrate on 20 to 40 different images like those the model will see (--calib). Without --data the "
            "build continues with a warning.",
        )


def measure(
    data: LabeledSet, spec: ModelSpec, reference: Side, built: Side, detail: Callable[[str], None]
) -> AccuracyReport:
    """Measure both sides on the same images.

    Args:
        data: the images.
        spec: the contract of the quantized model.
        reference: the float model.
        built: the quantized model.
        detail: called with the progress.

    Raises:
        RkdeployError: when a side fails, or the data is unusable.
    """
    thresholds = measuring_thresholds(spec)
    sides = (reference, built)
    predictor = Predictor(spec, thresholds, multi_label=True)
    found: tuple[list[ImagePrediction], list[ImagePrediction]] = ([], [])
    for number, image in enumerate(data.images, 1):
        detail(f"{number}/{len(data.images)}")
        loaded = predictor.load(image)
        for side, predictions in zip(sides, found, strict=True):
            if isinstance(loaded, ImagePrediction):
                predictions.append(loaded)
            else:
                predictions.append(predictor.prediction(image, side.infer(loaded.image), loaded.transform))
    evaluations = tuple(
        score(
            data,
            predictions,
            spec,
            Thresholds(confidence=default_confidence(spec)),
            backend=side.backend,
            computes=side.computes,
            figures_from=side.figures_from,
        )
        for side, predictions in zip(sides, found, strict=True)
    )
    return AccuracyReport(
        model=spec.model.file if spec.model is not None else "the quantized model",
        source=data.source,
        confidence=str(default_confidence(spec)),
        lowest_confidence=thresholds.confidence,
        iou=thresholds.iou,
        multi_label=True,
        validator=validator_of(spec).name,
        from_coco=data.from_coco,
        evaluations=evaluations,
        notes=data.notes,
    )


def gate_notes(report: AccuracyReport, data: LabeledSet, calibration: CalibrationSet | None) -> list[str]:
    """Remarks on the gate's figures for the user."""
    notes = [*report.notes, *report.evaluations[0].notes]
    if calibration is not None:
        calibrated = {image.file.resolve() for image in calibration.images}
        shared = sum(image.file.resolve() in calibrated for image in data.images)
        if shared:
            notes.append(
                f"{shared} of the {len(data.images)} images that accuracy is measured on were also calibrated on: the "
                "drop may look smaller than it is."
            )
    for name, value in report.evaluations[0].headlines().items():
        if value < _WEAK_FLOAT:
            notes.append(
                f"The float model itself reaches {name} {value:.3f} on the {report.source}: check that data, labels "
                "and class order belong to this model."
            )
    return notes


def require_accuracy(
    report: AccuracyReport, max_drop: float, agreement: Agreement | None, calibration: CalibrationSet | None
) -> None:
    """Check that a quantized model lost at most `max_drop`.

    Raises:
        VerificationError: when it lost more: the figures that fell, the classes that lost most, and facts about the
            outputs and the calibration set.
    """
    reference, built = report.evaluations
    before, after = reference.headlines(), built.headlines()
    if not before:
        raise VerificationError(
            f"Accuracy cannot be measured: nothing is labeled in the {report.source}.", "Give labeled images."
        )
    lost = {name: value for name, value in before.items() if value < _NO_FLOAT}
    if lost:
        raise VerificationError(
            f"The float model itself reaches {', '.join(f'{name} {value:.3f}' for name, value in lost.items())} on "
            f"{reference.images} images of the {report.source}: the labels or the order of the classes are not this "
            f"model's, so they cannot be used.{' ' if report.notes else ''}{' '.join(report.notes)}",
            "Give the data set that the model was trained on (--data, --data-labels); its classes must be the model's, "
            "in the same order: rkdeploy inspect shows them.",
        )
    drops = {name: value - after.get(name, 0.0) for name, value in before.items()}
    fallen = {name: drop for name, drop in drops.items() if drop > max_drop}
    if not fallen:
        return
    lines = [
        f"{name} fell by {drop:.3f}, from {before[name]:.3f} ({reference.computes}, {reference.figures_from}) to "
        f"{after.get(name, 0.0):.3f} ({built.computes}, {built.figures_from}); --max-drop allows {max_drop:g}. "
        f"{reference.images} images of the {report.source}."
        for name, drop in fallen.items()
    ]
    lines += _class_lines(reference, built)
    lines += _output_lines(agreement)
    if calibration is not None:
        lines.append(f"Calibrated on {len(calibration.images)} different images of {calibration.source}.")
        lines += [f"Calibration: {warning}" for warning in calibration.warnings]
    raise VerificationError("\n".join(lines), _MEND)


def _class_lines(reference: Evaluation, built: Evaluation) -> list[str]:
    """The classes that lost most, for each kind of figure."""
    lines = []
    for a, b in zip(reference.objects, built.objects, strict=True):
        losses = sorted(
            (
                (x.map50_95 - (y.map50_95 or 0.0), x.name, x.map50_95, y.map50_95 or 0.0)
                for x, y in zip(a.classes, b.classes, strict=True)
                if x.map50_95 is not None
            ),
            reverse=True,
        )
        named = ", ".join(f"{name} {old:.3f} to {new:.3f}" for loss, name, old, new in losses[:_NAMED] if loss > 0)
        if named:
            lines.append(f"Lost most ({a.kind}, mAP50-95): {named}.")
    return lines


def _output_lines(agreement: Agreement | None) -> list[str]:
    """The head's tensors that differ from the float model's, worst first."""
    if agreement is None:
        return []
    lines: list[str] = []
    for output in sorted(agreement.outputs, key=lambda o: o.cosine):
        if output.cosine >= _POOR_COSINE and lines:
            continue
        text = f'Output "{output.name}": cosine similarity to the float model {output.cosine:.4f}'
        if output.saturated is not None:
            text += f", {100 * output.saturated:.1f} % of its values at an end of the integer range"
        if output.float_peak is not None and output.built_peak is not None:
            text += f", highest score {output.built_peak:.3f} where the float model reaches {output.float_peak:.3f}"
        lines.append(f"{text}.")
    return lines

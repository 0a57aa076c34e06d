"""Builds side by side, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rkdeploy.analysis.compare.variants import Variant
from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.contract.agreement import Agreement
from rkdeploy.errors import VerificationError
from rkdeploy.host.building.agreement_gate import proof_of, require_agreement

State = Literal["built", "kept", "failed"]


def _origins() -> dict[str, str]:
    return {
        "speed": "predicted",
        "weight_kib": "predicted",
        "internal_kib": "predicted",
        "agreement": "simulator",
        "accuracy": "simulator",
    }


@dataclass(frozen=True, slots=True)
class HeadlineFigure:
    """One headline figure on labeled images, 0..1.

    Attributes:
        name: `mAP50-95 (boxes)`, `top-1`, ...
        reference: float's.
        built: the built model's in the simulator; None where it found nothing to judge.
    """

    name: str
    reference: float
    built: float | None


@dataclass(frozen=True, slots=True)
class LabeledAccuracy:
    """The figures on labeled images.

    Attributes:
        figures: one for each thing that was measured.
        figures_from: the simulator and its version.
        source: where the images come from.
        images: how many.
        on: the build whose simulation it was, where that is another: a build for another chip that simulates alike.
    """

    figures: tuple[HeadlineFigure, ...]
    figures_from: str
    source: str
    images: int
    on: Variant | None = None


@dataclass(frozen=True, slots=True)
class BuildFigures:
    """Figures of a build without a board.

    Attributes:
        speed: predicted, without its layers; None if it cannot be predicted.
        not_predicted: reason why there is no prediction; empty if there is one.
        weight_kib, internal_kib: memory, as the compiler plans it; None if its log does not contain it.
        rknn_bytes: size of the model's file.
        agreement: the quantized model in the simulator against the float model at the same size; None without images.
        accuracy: on labeled images, in the simulator; None without any.
        agreement_share: the agreement as one number, 0..1: `Agreement.headline`, average precision against the float
            model's detections; for a classifier, images with the same first class; with class maps only, the lowest
            mean IoU.  None without images, or if the float model finds nothing on them.
    """

    speed: Prediction | None
    not_predicted: str
    weight_kib: float | None
    internal_kib: float | None
    rknn_bytes: int
    agreement: Agreement | None
    accuracy: LabeledAccuracy | None
    agreement_share: float | None = field(init=False)

    def __post_init__(self) -> None:
        headline = self.agreement.headline if self.agreement is not None else None
        object.__setattr__(self, "agreement_share", headline.value if headline is not None else None)

    def agrees(self, min_agreement: float) -> bool:
        """True if `rkdeploy build --min-agreement` accepts it."""
        if self.agreement is None or self.agreement_share is None:
            return False
        try:
            require_agreement(self.agreement, min_agreement)
        except VerificationError:
            return False
        return proof_of(self.agreement).standing != "unproven"

    @property
    def accuracies(self) -> tuple[float, ...]:
        """The headline figures of the built model; empty where nothing was measured."""
        if self.accuracy is None:
            return ()
        return tuple(one.built or 0.0 for one in self.accuracy.figures)


@dataclass(frozen=True, slots=True)
class Row:
    """One build of the comparison.

    Attributes:
        variant: what was asked for.
        state: `built` now, `kept` from before, or `failed`.
        folder: of the bundle, None where it failed.
        figures: None where it failed.
        reason, hint: why it failed and what to do; empty where it did not.
    """

    variant: Variant
    state: State
    folder: Path | None = None
    figures: BuildFigures | None = None
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class BuildComparison:
    """All builds of one model, side by side.

    Attributes:
        model: name of the file.
        toolkit: version of rknn-toolkit2.
        min_agreement: what the advice took for good enough, 0..1.
        rows: in the order of targets, types and sizes that was asked for.
        front: the Pareto front: see `rkdeploy.analysis.compare.recommendation`.
        advice: a sentence or two per goal.
        figures_from: where each kind of figure comes from.
        document, schema_version: what this file is.
    """

    model: str
    toolkit: str
    min_agreement: float
    rows: tuple[Row, ...]
    front: tuple[Variant, ...]
    advice: tuple[str, ...]
    figures_from: dict[str, str] = field(default_factory=_origins)
    document: Literal["rkdeploy compare"] = "rkdeploy compare"
    schema_version: int = 1

"""Reasons why a quantized model differs from the float model, as plain data: the document of `rkdeploy explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from rkdeploy.analysis.explain.attribution import LossAttribution
from rkdeploy.contract.agreement import OutputAgreement
from rkdeploy.contract.bounds import Figure, Text, Whole
from rkdeploy.contract.compiled_model import MAX_LAYERS
from rkdeploy.host.building.weight_figures import WeightLoss
from rkdeploy.host.toolkit.error_analysis import LayerError

EXPLANATION_VERSION = 1


@dataclass(frozen=True, slots=True)
class TensorRange:
    """One tensor's values on real images, float, and the range that its integers can hold.

    Attributes:
        name: of the tensor.
        op: what computes it in the graph, `Conv`.
        calibrated: lowest and highest real value that the integers hold.
        seen: lowest and highest float value.
        outside: share of float values beyond the calibrated range, 0..1.
        bulk: largest magnitude of all but a thousandth of the float values.
        widest_channel: channel with the largest values.
        channel_ratio: its largest magnitude over the median channel's; 1 when all are alike.
        widest_image: the image with the largest magnitude; empty in older documents.
    """

    name: Text
    op: Text
    calibrated: tuple[Figure, Figure]
    seen: tuple[Figure, Figure]
    outside: Figure
    bulk: Figure
    widest_channel: Whole
    channel_ratio: Figure
    widest_image: Text = ""

    @property
    def used(self) -> float:
        """Share of the calibrated reach, from zero to its far end, that all but a thousandth of the values need."""
        widest = max(abs(self.calibrated[0]), abs(self.calibrated[1]))
        return self.bulk / widest if widest > 0 else 1.0

    @property
    def stretch(self) -> float:
        """Calibrated range over the bulk of the values: the resolution that outliers cost."""
        widest = max(abs(self.calibrated[0]), abs(self.calibrated[1]))
        return widest / self.bulk if self.bulk > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that costs accuracy.

    Attributes:
        kind: `calibration`, `weights`, `channel`, `outliers`, `scores`, `layer` or `spread`.
        layer: tensor name that it is about, empty for the whole model.
        text: what was found, with figures.
        try_this: what to do about it.
        weight: how much of the loss it may explain, for the order: 1 - cosine of the layer alone, or more.
    """

    kind: Text
    layer: Text
    text: Text
    try_this: Text
    weight: Figure


@dataclass(frozen=True, slots=True)
class Explanation:
    """Causes of a quantized model's differences from the float model.

    Attributes:
        bundle: name of its folder.
        figures_from: the simulator and its version.
        images: names of the images that were run.
        layers: in the order of the network.
        ranges: of the tensors that the float model has too, in that order.
        outputs: the head's tensors as the build compared them; empty if it compared none.
        causes: the most important first.
        weights: cost of rounding the weights alone; None in older documents.
        attribution: loss by layers, emulated; None where it was not asked for, and in older documents.
        document, schema_version: type and version of this file.
    """

    bundle: Text
    figures_from: Text
    images: tuple[Text, ...]
    layers: Annotated[tuple[LayerError, ...], Meta(max_length=MAX_LAYERS)]
    ranges: tuple[TensorRange, ...]
    outputs: tuple[OutputAgreement, ...]
    causes: tuple[Cause, ...]
    weights: WeightLoss | None = None
    attribution: LossAttribution | None = None
    document: Literal["rkdeploy explain"] = "rkdeploy explain"
    schema_version: int = EXPLANATION_VERSION

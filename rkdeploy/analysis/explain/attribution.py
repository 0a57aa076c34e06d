"""Attribution of a quantized model's loss to its layers, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from rkdeploy.contract.agreement import Measure
from rkdeploy.contract.bounds import Amount, Figure, Text, Whole
from rkdeploy.contract.compiled_model import MAX_LAYERS


@dataclass(frozen=True, slots=True)
class LayerLoss:
    """One layer's part in the loss.

    Shares are of the quantized model's error at the head's outputs.  They do not add up to 1, for errors of layers
    cancel and amplify each other; one below 0 says that the error grows.

    Attributes:
        name: last tensor of the layer.
        op: of its first node; a convolution counts together with its activation.
        module: its module, a name for `--float16-layers`; empty where there is no float16, or the build's graph has no
            layer of the name.
        gain: share of the error that is gone if this layer alone is float.
        weights_gain: the same if its weights alone are; None for layers without weights, and where not measured.
        activations_gain: the same if its results alone are; None where not measured.
        alone: error if this layer alone is quantized; None where not measured.
        float16_gain: share of the error that is gone if its module is built in float16, of which the INT8 layers behind
            still round what they read; None where not measured.
        agreement: of the model with that module in float16, with the float model; None where not measured.
    """

    name: Text
    op: Text
    module: Text
    gain: Figure
    weights_gain: Figure | None = None
    activations_gain: Figure | None = None
    alone: Figure | None = None
    float16_gain: Figure | None = None
    agreement: Measure | None = None


@dataclass(frozen=True, slots=True)
class RemedyGain:
    """Emulated effect of an option of `rkdeploy build`.

    Attributes:
        option: as it is given.
        gain: share of the error that is gone; None where it was not estimated.
        agreement: with the float model; None where it was not estimated, or there was nothing to compare.
        reason: why it was not estimated; empty if it was.
    """

    option: Text
    gain: Figure | None = None
    agreement: Measure | None = None
    reason: Text = ""


@dataclass(frozen=True, slots=True)
class LossAttribution:
    """Loss by layers and by what would lower it, from the emulation of the integers: estimated, no build was made.

    The error is the squared difference from the float model's outputs in the cells that the float model's objects
    cover (everywhere where there are none), in units of the outputs' variance.

    Attributes:
        images: number of images by which the layers were ranked.
        agreement: of the emulated model with the float model; None where there is nothing to compare.
        layers: the layer whose float form gains most first.
        all_layers: number of layers that the network has; more than `layers` where time ran out.
        remedies: options.
        seconds: time that it took.
        reason: why nothing was emulated; empty if it was.
        figures_from: what kind of figures these are.
    """

    images: Whole
    agreement: Measure | None
    layers: Annotated[tuple[LayerLoss, ...], Meta(max_length=MAX_LAYERS)]
    all_layers: Whole
    remedies: tuple[RemedyGain, ...]
    seconds: Amount
    reason: Text = ""
    figures_from: Literal["emulation"] = "emulation"

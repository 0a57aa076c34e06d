"""Loss by rounded weights, as plain data and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rkdeploy.contract.agreement import Measure
from rkdeploy.contract.bounds import Figure, Text
from rkdeploy.host.toolkit.float16 import module_name

MUCH_LOST: Final = 0.1
"""Loss of agreement with the float model from which the weights are named as a cause."""
NAMED_LAYERS: Final = 3


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """A layer whose weights alone are rounded.

    Attributes:
        name: of its output tensor.
        share: of the sum over all layers of the squared error that each causes at the head's outputs, 0..1.
    """

    name: Text
    share: Figure


@dataclass(frozen=True, slots=True)
class WeightLoss:
    """Loss caused by the weights alone.

    Attributes:
        headline: agreement with the float model of the graph with rounded weights and float activations, on the
            explained
            images; None if the float model finds nothing on them.
        layers: those with the largest loss, worst first.
    """

    headline: Measure | None
    layers: tuple[LayerWeights, ...]

    @property
    def float16_option(self) -> str:
        """The option that keeps the modules of the worst layers in float16."""
        modules = dict.fromkeys(module_name(one.name) for one in self.layers[:NAMED_LAYERS])
        return f"--float16-layers {','.join(modules)}"


_OTHER_ROUNDING = 2.0
"""Loss by weights over that of the whole model from which the toolkit must have rounded them otherwise."""
_NAMED_AS = {"same_text": "the share of texts that are the same", "characters": "the agreement of characters"}


def weights_text(loss: WeightLoss, built: Measure | None) -> str:
    """The cost of the weights, in a sentence or two; empty if it is not the larger part of the loss.

    Args:
        loss: of the weights alone.
        built: the same figure for the whole quantized model.
    """
    if loss.headline is None or built is None or loss.headline.name != built.name:
        return ""
    alone, whole = 1 - loss.headline.value, 1 - built.value
    if alone < MUCH_LOST or alone < whole / 2 or alone > _OTHER_ROUNDING * whole:
        return ""
    named = ", ".join(f'"{one.name}" ({one.share:.0%})' for one in loss.layers[:NAMED_LAYERS])
    figure = _NAMED_AS.get(built.name, built.name.upper())
    return (
        f"Rounding the weights alone, with float activations, lowers {figure} against the float model to "
        f"{loss.headline.value:.3f}; the whole model has {built.value:.3f}. Most of it comes from {named}."
    )

"""Loss by rounded weights as plain data, and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rkdeploy.contract.bounds import Figure, Text
from rkdeploy.contract.record import Measure
from rkdeploy.host.toolkit.float16 import module_name

MUCH_LOST: Final = 0.1
"""Of the agreement with float, lost by the weights alone: from then on they are named as a cause."""
NAMED_LAYERS: Final = 3


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """A layer whose weights alone are rounded.

    Attributes:
        name: of its output tensor.
        share: of the sum over all layers of the squared error that each makes at the head's outputs, 0..1.
    """

    name: Text
    share: Figure


@dataclass(frozen=True, slots=True)
class WeightLoss:
    """What is lost by the weights alone.

    Attributes:
        headline: agreement with float of the graph whose weights are all rounded and whose activations stay float, on
            the explained images; None where float finds nothing on them.
        layers: those that lose most, the worst first.
    """

    headline: Measure | None
    layers: tuple[LayerWeights, ...]

    @property
    def float16_option(self) -> str:
        """The option that keeps the modules of the worst layers in float16."""
        modules = dict.fromkeys(module_name(one.name) for one in self.layers[:NAMED_LAYERS])
        return f"--float16-layers {','.join(modules)}"


def weights_text(loss: WeightLoss, built: Measure | None) -> str:
    """What the weights cost, in a sentence or two; empty where it is not the larger part of what is lost.

    Args:
        loss: of the weights alone.
        built: the same figure of the whole quantized model.
    """
    if loss.headline is None or built is None or loss.headline.name != built.name:
        return ""
    alone, whole = 1 - loss.headline.value, 1 - built.value
    if alone < MUCH_LOST or alone < whole / 2:
        return ""
    named = ", ".join(f'"{one.name}" ({one.share:.0%})' for one in loss.layers[:NAMED_LAYERS])
    return (
        f"Rounding the weights alone, with activations in float, takes {built.name.upper()} against float to "
        f"{loss.headline.value:.3f}; the whole model has {built.value:.3f}. Most of it comes from {named}."
    )

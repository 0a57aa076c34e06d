"""What rounding the weights alone costs, and in which layers: float graphs with rounded weights, beside float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.record import Measure
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.host.building.agreement import AgreementMeter
from rkdeploy.host.building.two_sides import float_tensors
from rkdeploy.host.graph.session import Session
from rkdeploy.host.toolkit.float16 import module_name
from rkdeploy.host.toolkit.rounded_weights import weighted_nodes, with_rounded_weights
from rkdeploy.images.fit import LetterboxTransform

MUCH_LOST: Final = 0.1
"""Of the agreement with float, lost by the weights alone: from then on they are named as a cause."""
NAMED_LAYERS: Final = 3
_LAYER_IMAGES: Final = 2
_MOST_LAYERS: Final = 400
"""A graph with more is measured as a whole only."""

Boxed = tuple[NDArray[np.uint8], LetterboxTransform]
"""An image as the network gets it, (1, H, W, 3) uint8, and its way back to source pixels."""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """A layer whose weights alone are rounded.

    Attributes:
        name: of its output tensor.
        share: of the sum over all layers of the squared error that each makes at the head's outputs, 0..1.
    """

    name: str
    share: float


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


def measure_weights(
    graph: onnx.ModelProto, spec: ModelSpec, images: Sequence[Boxed], on_progress: Callable[[str], None]
) -> WeightLoss:
    """Compare float with rounded weights, all together and layer by layer.

    Args:
        graph: the cut graph in float.
        spec: its contract.
        images: one or more.
        on_progress: told where it is.

    Raises:
        GraphError: when onnxruntime fails.
    """
    exact, rounded = Session(graph), Session(with_rounded_weights(graph))
    meter = AgreementMeter(spec)
    for image, transform in images:
        meter.add(float_tensors(exact, spec, image), float_tensors(rounded, spec, image), transform)
    nodes = weighted_nodes(graph)
    errors: dict[str, float] = {}
    if len(nodes) <= _MOST_LAYERS:
        shown = [image for image, _ in images[:_LAYER_IMAGES]]
        references = [_values(exact, spec, image) for image in shown]
        for number, node in enumerate(nodes, 1):
            on_progress(f"weights of layer {number}/{len(nodes)}")
            one = Session(with_rounded_weights(graph, (node,)))
            errors[node] = sum(
                _squared_error(reference, _values(one, spec, image))
                for reference, image in zip(references, shown, strict=True)
            )
    total = sum(errors.values())
    worst = sorted(errors.items(), key=lambda item: -item[1])
    layers = tuple(LayerWeights(name, error / total) for name, error in worst) if total else ()
    return WeightLoss(meter.result("onnxruntime", "the explained images").headline, layers)


def _values(session: Session, spec: ModelSpec, image: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    return [tensor.values.astype(np.float64) for tensor in float_tensors(session, spec, image)]


def _squared_error(reference: Sequence[NDArray[np.float64]], got: Sequence[NDArray[np.float64]]) -> float:
    """Sum over the outputs of the mean squared error in units of the output's own variance."""
    return sum(float(((a - b) ** 2).mean() / max(float(a.var()), 1e-12)) for a, b in zip(reference, got, strict=True))

"""Cost of rounding the weights alone, in total and by layer: float graphs with rounded weights against the float
model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.host.building.agreement_meter import AgreementMeter
from rkdeploy.host.building.compared_tensors import float_tensors
from rkdeploy.host.building.weight_figures import LayerWeights, WeightLoss
from rkdeploy.host.graph.session import Session
from rkdeploy.host.toolkit.rounded_weights import weighted_nodes, with_rounded_weights
from rkdeploy.images.fit import LetterboxTransform

_LAYER_IMAGES: Final = 2
_MOST_LAYERS: Final = 400
"""A graph with more layers is only measured as a whole."""

Boxed = tuple[NDArray[np.uint8], LetterboxTransform]
"""A network input, (1, H, W, 3) uint8, and the transform back to source pixels."""


def measure_weights(
    graph: onnx.ModelProto, spec: ModelSpec, images: Sequence[Boxed], on_progress: Callable[[str], None]
) -> WeightLoss:
    """Compare the float model with rounded weights, all together and layer by layer.

    Args:
        graph: the float cut graph.
        spec: contract of the model.
        images: one or more.
        on_progress: called with the progress.

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

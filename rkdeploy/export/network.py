"""Follows the layer list of a YOLO model: every layer knows its index and where its inputs come from."""

from __future__ import annotations

from collections.abc import Sequence

from rkdeploy.checkpoint import Module
from rkdeploy.errors import CheckpointError
from rkdeploy.export.blocks import Emission, emit
from rkdeploy.export.builder import Value


def layer_sources(layer: Module, index: int) -> tuple[int, ...]:
    """Indices of the layers that `layer` reads, -1 for the image.

    Raises:
        CheckpointError: when the checkpoint names a layer that is not before this one.
    """
    source = layer.attribute("f", -1)
    sources = source if isinstance(source, (list, tuple)) else (source,)
    resolved = []
    for value in sources:
        if type(value) is not int or not -index - 1 <= value < index:
            raise CheckpointError(f'Layer "{layer.path}" reads from layer {value!r:.40}, expected one before {index}.')
        resolved.append(value if value >= 0 else index + value)
    return tuple(resolved)


def emit_layers(emission: Emission, layers: Sequence[Module], image: Value) -> list[Value]:
    """Emit all layers but the last, the head; returns the head's inputs."""
    outputs: list[Value] = []
    for index, layer in enumerate(layers[:-1]):
        outputs.append(emit(emission, layer, [_output(outputs, image, s) for s in layer_sources(layer, index)]))
    head = layers[-1]
    return [_output(outputs, image, s) for s in layer_sources(head, len(layers) - 1)]


def _output(outputs: Sequence[Value], image: Value, index: int) -> Value:
    return image if index < 0 else outputs[index]

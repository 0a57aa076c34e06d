"""Follows the layer list of a YOLO model: every layer knows its index and where its inputs come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import CheckpointError, GraphError, shown
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.checkpoint.module import STATE_DICT
from rkdeploy.host.export import stripes
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.emission import Emission, emit
from rkdeploy.host.export.exported import Exported
from rkdeploy.host.graph.gray import GRAY, gray_weight
from rkdeploy.host.graph.head import Head

# Buffers that say nothing about what a layer computes, or that the head's description has read.
_NO_WEIGHTS = frozenset({"num_batches_tracked", "anchors", "anchor_grid", "stride", "grid"})


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
            raise CheckpointError(f'Layer "{layer.path}" reads from layer {shown(value)}, expected one before {index}.')
        resolved.append(value if value >= 0 else index + value)
    return tuple(resolved)


def emit_image(builder: GraphBuilder, channels: int | None, height: int, width: int) -> Value:
    """The graph's input `images`, (1, 3, height, width), as the first layer takes it.

    Args:
        builder: holds the graph.
        channels: of the images that the network was trained on; one channel is made of three, see `graph/gray.py`.
        height: of the input in pixels.
        width: likewise.
    """
    image = builder.input("images", (1, 3, height, width))
    if channels != 1:
        return image
    weight = builder.constant(f"{GRAY}.weight", gray_weight())
    return builder.add("Conv", GRAY, [image, weight], (1, 1, height, width), {"kernel_shape": [1, 1]})


def emit_layers(emission: Emission, layers: Sequence[Module], image: Value) -> list[Value]:
    """Emit all layers but the last, the head; returns the head's inputs."""
    begun = _emit_stripes(emission, layers, image) if emission.stem == "stripes" else []
    outputs = emit_outputs(emission, layers[:-1], image, begun)
    return [_output(outputs, image, s) for s in layer_sources(layers[-1], len(outputs))]


def emit_outputs(
    emission: Emission, layers: Sequence[Module], image: Value, begun: Sequence[Value] = ()
) -> list[Value]:
    """Emit layers one after the other, but for those that `begun` has; returns the output of each."""
    outputs = list(begun)
    for index, layer in enumerate(layers[len(outputs) :], len(outputs)):
        inputs = [_output(outputs, image, s) for s in layer_sources(layer, index)]
        with blamed(f'Layer "{layer.path}" ({layer.class_name})'):
            outputs.append(emit(emission, layer, inputs))
    return outputs


def _emit_stripes(emission: Emission, layers: Sequence[Module], image: Value) -> list[Value]:
    """The first two layers in stripes of rows, or nothing where they do not suit or others read the first.

    The first one's output is then in pieces; the image, which nobody reads in its place, stands for it.
    """
    readers = [index for index, layer in enumerate(layers) if index and 0 in layer_sources(layer, index)]
    if readers != [1] or layer_sources(layers[0], 0) != (-1,) or layer_sources(layers[1], 1) != (0,):
        return []
    with blamed(f'Layer "{layers[1].path}" ({layers[1].class_name})'):
        second = stripes.two_layers(emission, layers[0], layers[1], image)
    return [] if second is None else [image, second]


@contextmanager
def blamed(layer: str) -> Iterator[None]:
    """Turn what the numbers of a layer's file make fail into one message.

    Args:
        layer: how it is called in the message.

    Raises:
        GraphError: for weights of another shape, numbers that are text, ...
    """
    try:
        yield
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise GraphError(
            f"{layer} does not fit together: {str(error)[:200]}.",
            "The checkpoint is damaged, or the class is not the one that was released under this name.",
        ) from error


def finish(
    builder: GraphBuilder,
    layers: Sequence[Module],
    outputs: Mapping[str, Value],
    head: Head,
    image: InputSpec,
    metadata: Mapping[str, str],
    unused: Iterable[str] = (),
) -> Exported:
    """The checked model.

    Args:
        builder: holds the graph.
        layers: all that was emitted.
        outputs: graph output name -> value.
        head: as it was emitted.
        image: the network's input.
        metadata: for the ONNX file.
        unused: names of sub-modules of the head that serve training only.

    Raises:
        GraphError: when weights were left out, or onnx's checker refuses the graph.
    """
    require_nothing_left(layers, frozenset(f"{layers[-1].path}.{name}" for name in unused))
    return Exported(builder.finish(outputs, metadata), head, image)


def require_nothing_left(layers: Sequence[Module], unused: frozenset[str] = frozenset()) -> None:
    """Refuse a network of which weights were not written into the graph.

    A block is known by its class's name; one that somebody extended under the old name has weights that its emitter
    does not ask for, and the graph would compute something else than was trained.

    Args:
        layers: the layer list.
        unused: paths of modules that serve training only, with all below them.

    Raises:
        GraphError: naming the first weights that nobody read.
    """
    for module in (m for layer in layers for m in layer.walk()):
        if any(module.path == path or module.path.startswith(f"{path}.") for path in unused):
            continue
        for name in module.tensors:
            if name in _NO_WEIGHTS or f"{module.path}.{name}" in module.reads:
                continue
            if module.class_name in ("", STATE_DICT):
                raise GraphError(
                    f'The weights "{module.path}.{name}" belong to nothing in the network that the file is read as.',
                    "Export ONNX where it was trained and build from that: rkdeploy build best.onnx --weights best.pt",
                )
            raise GraphError(
                f'The weights "{module.path}.{name}" ({module.class_name}) belong to no block as it was released: '
                "the model was extended under an old class name, and a graph without them would be wrong.",
                "Export ONNX where it was trained and build from that: rkdeploy build best.onnx --weights best.pt",
            )


def _output(outputs: Sequence[Value], image: Value, index: int) -> Value:
    return image if index < 0 else outputs[index]

"""Writer of a YOLO model's layer list: every layer knows its index and the layers that it reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import CheckpointError, GraphError, shown
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.checkpoint.module_tree import STATE_DICT
from rkdeploy.host.export import striped_stem
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.emission import Emission, emit
from rkdeploy.host.export.exported import Exported
from rkdeploy.host.graph.gray_input import GRAY, gray_weight
from rkdeploy.host.graph.head import Head

# Buffers that do not affect a layer's result, or that the head's description has read.
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
    """The graph's input `images`, (1, 3, height, width), in the form that the first layer takes.

    Args:
        builder: the graph.
        channels: of the images that the network was trained on; one channel is computed from three, see
            `graph/gray_input.py`.
        height: height of the input in pixels.
        width: width of the input in pixels.
    """
    image = builder.input("images", (1, 3, height, width))
    if channels != 1:
        return image
    weight = builder.constant(f"{GRAY}.weight", gray_weight())
    return builder.add("Conv", GRAY, [image, weight], (1, 1, height, width), {"kernel_shape": [1, 1]})


def emit_layers(
    emission: Emission, layers: Sequence[Module], image: Value, read: Sequence[int] | None = None
) -> list[Value]:
    """Emit all layers but the last, the head; returns the head's inputs.

    Args:
        emission: the graph.
        layers: all layers, the head last.
        image: the graph's input.
        read: places of the inputs of the head that inference reads; the others, and layers that only they need, are
            left out.  None for all.
    """
    needed = None if read is None else needed_layers(layers, read)
    begun = _emit_stripes(emission, layers, image) if emission.stem == "stripes" else []
    outputs = emit_outputs(emission, layers[:-1], image, begun, needed)
    sources = layer_sources(layers[-1], len(outputs))
    return [_output(outputs, image, sources[n]) for n in (range(len(sources)) if read is None else read)]


def needed_layers(layers: Sequence[Module], read: Sequence[int]) -> frozenset[int]:
    """Indices of the layers that some of the head's inputs need, the head's own among them.

    Args:
        layers: all layers, the head last.
        read: places of the inputs of the head that inference reads.
    """
    last = len(layers) - 1
    sources = layer_sources(layers[last], last)
    needed, ahead = {last}, [sources[n] for n in read if sources[n] >= 0]
    while ahead:
        index = ahead.pop()
        if index not in needed:
            needed.add(index)
            ahead += [s for s in layer_sources(layers[index], index) if s >= 0]
    return frozenset(needed)


def emit_outputs(
    emission: Emission,
    layers: Sequence[Module],
    image: Value,
    begun: Sequence[Value] = (),
    needed: Collection[int] | None = None,
) -> list[Value]:
    """Emit layers one after the other; returns the output of each.

    Args:
        emission: the graph.
        layers: the layers.
        image: the graph's input.
        begun: outputs of the first layers, which are emitted already.
        needed: indices of the layers to emit, None for all; the image stands for the output of another.
    """
    outputs = list(begun)
    for index, layer in enumerate(layers[len(outputs) :], len(outputs)):
        if needed is not None and index not in needed:
            outputs.append(image)
            continue
        inputs = [_output(outputs, image, s) for s in layer_sources(layer, index)]
        with blamed(f'Layer "{layer.path}" ({layer.class_name})'):
            outputs.append(emit(emission, layer, inputs))
    return outputs


def _emit_stripes(emission: Emission, layers: Sequence[Module], image: Value) -> list[Value]:
    """The first two layers in stripes of rows; empty if they do not fit or another layer reads the first one.

    The output of the first layer exists only in pieces; since no other layer reads it, the image stands for it.
    """
    readers = [index for index, layer in enumerate(layers) if index and 0 in layer_sources(layer, index)]
    if readers != [1] or layer_sources(layers[0], 0) != (-1,) or layer_sources(layers[1], 1) != (0,):
        return []
    with blamed(f'Layer "{layers[1].path}" ({layers[1].class_name})'):
        second = striped_stem.two_layers(emission, layers[0], layers[1], image)
    return [] if second is None else [image, second]


@contextmanager
def blamed(layer: str) -> Iterator[None]:
    """Turn any failure caused by the numbers in a layer's file into one message.

    Args:
        layer: name of the layer in the message.

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
    """Make the checked model.

    Args:
        builder: the graph.
        layers: all layers that were emitted, the head last.
        outputs: graph output name -> value.
        head: the emitted head.
        image: the network's input.
        metadata: for the ONNX file.
        unused: names of sub-modules of the head that serve training only.

    Raises:
        GraphError: when weights were left out, or onnx's checker rejects the graph.
    """
    require_nothing_left(layers, frozenset(f"{layers[-1].path}.{name}" for name in unused))
    return Exported(builder.finish(outputs, metadata), head, image)


def require_nothing_left(layers: Sequence[Module], unused: frozenset[str] = frozenset()) -> None:
    """Check that all weights were written into the graph.

    A block is recognized by its class name; if it was extended under the old name, it has weights that its emitter
    does not use, and the graph would compute something else than was trained.

    Args:
        layers: the layer list.
        unused: paths of modules that serve training only, with all below them.

    Raises:
        GraphError: naming the first weights that were not used.
    """
    for module in (m for layer in layers for m in layer.walk()):
        if any(module.path == path or module.path.startswith(f"{path}.") for path in unused):
            continue
        for name in module.tensors:
            if name in _NO_WEIGHTS or f"{module.path}.{name}" in module.reads:
                continue
            if module.class_name in ("", STATE_DICT):
                raise GraphError(
                    f'The weights "{module.path}.{name}" do not belong to the network that the file was recognized as.',
                    "Export ONNX where it was trained and build from that: rkdeploy build best.onnx --weights best.pt",
                )
            raise GraphError(
                f'The weights "{module.path}.{name}" ({module.class_name}) do not belong to the released block: '
                "the model was extended under an old class name, and a graph without them would be wrong.",
                "Export ONNX where it was trained and build from that: rkdeploy build best.onnx --weights best.pt",
            )


def _output(outputs: Sequence[Value], image: Value, index: int) -> Value:
    return image if index < 0 else outputs[index]

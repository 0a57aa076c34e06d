"""Emission of one module of any class into the graph: the table of emitters and their shared state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import layers
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.stem_form import StemForm


@dataclass(frozen=True, slots=True)
class Emission:
    """State shared by the emitters: the graph under construction and options that do not change its values.

    Attributes:
        builder: the graph.
        blocks: emitter by class name; one name can mean another block in another family.
        stem: form of a Focus or 6x6 stem.
        parts: the tensors of a layer with several outputs (CBLinear), by the name of the one that represents it.
    """

    builder: GraphBuilder
    blocks: Mapping[str, Emitter]
    stem: StemForm = "trained"
    parts: dict[str, tuple[Value, ...]] = field(default_factory=dict)


Emitter = Callable[[Emission, Module, Sequence[Value]], Value]
"""Takes a block and its inputs, tensors (N, C, H, W), and returns its output."""


def emit(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Emit one module of any class.

    Raises:
        GraphError: for a class without an emitter, with a hint.
    """
    block = emission.blocks.get(module.class_name)
    if block is not None:
        return block(emission, module, inputs)
    layer = layers.LAYERS.get(module.class_name)
    if layer is not None:
        return layer(emission.builder, module, one(module, inputs))
    raise GraphError(
        f'Block "{module.module_name}.{module.class_name}" at "{module.path}" is not known.',
        "Export ONNX where the model was trained and build from that: rkdeploy build best.onnx --weights best.pt",
    )


def one(module: Module, inputs: Sequence[Value]) -> Value:
    """The only input of a block.

    Raises:
        GraphError: when there are none or several.
    """
    if len(inputs) != 1:
        raise GraphError(f'"{module.path}" ({module.class_name}) is given {len(inputs)} inputs, expected one.')
    return inputs[0]


def child(emission: Emission, module: Module, name: str, *inputs: Value) -> Value:
    """Emit the sub-module `name`."""
    return emit(emission, module.child(name), inputs)


def chain(emission: Emission, module: Module, value: Value) -> list[Value]:
    """The outputs of all children, each fed with the previous one; `value` goes into the first."""
    outputs = []
    for step in module.children.values():
        value = emit(emission, step, [value])
        outputs.append(value)
    return outputs

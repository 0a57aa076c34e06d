"""Mask prototypes: the image-sized tensor that an instance's coefficients combine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import pooling
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.emission import Emission, Emitter, child, one
from rkdeploy.host.export.heads import four
from rkdeploy.host.graph.head import PROTOTYPES, DecodedTensor, Head, Tap


def with_prototypes(
    emission: Emission, module: Module, features: Value | Sequence[Value], head: Head, height: int
) -> tuple[Value, Head]:
    """Emit the prototypes as output `output1` and add them to the head.

    Args:
        emission: the graph.
        module: the Proto block.
        features: its input, the finest level; all levels for YOLO26.
        head: the head without them.
        height: of the network input in pixels.

    Raises:
        GraphError: when their number is not the number of coefficients per row.
    """
    inputs = [features] if isinstance(features, Value) else list(features)
    value = emission.blocks[module.class_name](emission, module, inputs)
    if value.channels != head.masks:
        raise GraphError(f'"{module.path}" gives {value.channels} prototypes for {head.masks} mask coefficients.')
    tap = Tap(module.path, value.name, "prototypes", four(value), height // value.shape[2], name=PROTOTYPES)
    tensors = (*head.tensors, DecodedTensor(PROTOTYPES, "output1", "linear"))
    return value, replace(head, taps=(*head.taps, tap), tensors=tensors)


def _proto(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(cv2(upsample(cv1(x))))."""
    value = one(module, inputs)
    for name in ("cv1", "upsample", "cv2", "cv3"):
        value = child(emission, module, name, value)
    return value


def _proto26(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Proto of feat_fuse(x0 + the other levels, each through a convolution and resized to the finest)."""
    builder = emission.builder
    total = inputs[0]
    for refine, value in zip(module.child("feat_refine").children.values(), inputs[1:], strict=True):
        refined = emission.blocks["Conv"](emission, refine, [value])
        resized = pooling.resize_nearest(builder, refine.path, refined, (total.shape[2], total.shape[3]))
        total = builder.elementwise("Add", module.path, total, resized)
    return _proto(emission, module, [child(emission, module, "feat_fuse", total)])


PROTO_BLOCKS: dict[str, Emitter] = {"Proto": _proto, "Proto26": _proto26}

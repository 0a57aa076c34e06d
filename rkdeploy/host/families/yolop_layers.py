"""YOLOP's architecture: the facts that its state dict lacks, and both combined.

A published YOLOP file holds weights only.  Widths, kernels and repeats are in their shapes; order, strides, shortcuts,
pooling sizes and activations are fixed by the list below (lib/models/YOLOP.py and common.py of hustvl/YOLOP).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.checkpoint.typed_modules import (
    batch_norm,
    last_convolution,
    numbered,
    square_convolution,
    typed,
    weight_shape,
    without_weights,
)

Block = Literal["Focus", "Conv", "BottleneckCSP", "SPP", "Upsample", "Concat", "Detect"]

_BATCH_NORM_EPS = 1e-3  # set by initialize_weights in lib/utils/utils.py, not stored
_LEAKY_SLOPE = 0.1
_POOLS = (5, 9, 13)
_UNKNOWN = "Only the published YOLOP architecture is known; export ONNX where this model was trained."


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the list.

    Attributes:
        number: its number, `model.<number>` in the state dict.
        block: class of the layer.
        sources: numbers of the layers that it reads, -1 for the previous one.
        stride: of a Conv.
        shortcut: True if the bottlenecks of a BottleneckCSP add their input.
    """

    number: int
    block: Block
    sources: tuple[int, ...] = (-1,)
    stride: int = 1
    shortcut: bool = False


def _mask_head(first: int) -> tuple[Layer, ...]:
    """Nine layers from the finest features (stride 8) to two planes of the input's size."""
    return (
        Layer(first, "Conv", (16,)),
        Layer(first + 1, "Upsample"),
        Layer(first + 2, "BottleneckCSP"),
        Layer(first + 3, "Conv"),
        Layer(first + 4, "Upsample"),
        Layer(first + 5, "Conv"),
        Layer(first + 6, "BottleneckCSP"),
        Layer(first + 7, "Upsample"),
        Layer(first + 8, "Conv"),
    )


BODY: tuple[Layer, ...] = (
    Layer(0, "Focus"),
    Layer(1, "Conv", stride=2),
    Layer(2, "BottleneckCSP", shortcut=True),
    Layer(3, "Conv", stride=2),
    Layer(4, "BottleneckCSP", shortcut=True),
    Layer(5, "Conv", stride=2),
    Layer(6, "BottleneckCSP", shortcut=True),
    Layer(7, "Conv", stride=2),
    Layer(8, "SPP"),
    Layer(9, "BottleneckCSP"),
    Layer(10, "Conv"),
    Layer(11, "Upsample"),
    Layer(12, "Concat", (-1, 6)),
    Layer(13, "BottleneckCSP"),
    Layer(14, "Conv"),
    Layer(15, "Upsample"),
    Layer(16, "Concat", (-1, 4)),
    Layer(17, "BottleneckCSP"),
    Layer(18, "Conv", stride=2),
    Layer(19, "Concat", (-1, 14)),
    Layer(20, "BottleneckCSP"),
    Layer(21, "Conv", stride=2),
    Layer(22, "Concat", (-1, 10)),
    Layer(23, "BottleneckCSP"),
)
MASK_HEADS: tuple[tuple[Layer, ...], ...] = (_mask_head(25), _mask_head(34))
"""Drivable area, lane lines."""
DETECT = Layer(24, "Detect", (17, 20, 23))
LAYERS = (*BODY, *MASK_HEADS[0], *MASK_HEADS[1])
"""All layers except the detection head, in an order in which each reads earlier ones only."""


def typed_layers(root: Module) -> tuple[Module, ...]:
    """The layers of `LAYERS` and, last, the detection head, as modules with classes and attributes.

    Attribute `f` counts positions in this tuple.

    Args:
        root: of the state dict.

    Raises:
        CheckpointError: when a layer or a weight is missing, or one has another shape than this architecture's.
    """
    model = root.child("model")
    position = {layer.number: index for index, layer in enumerate(LAYERS)}
    layers = []
    for layer in (*LAYERS, DETECT):
        module = model.children.get(str(layer.number))
        if module is None:
            if layer.block not in ("Upsample", "Concat"):
                raise CheckpointError(f'The state dict has no "model.{layer.number}", a {layer.block}.', _UNKNOWN)
            module = Module("", "", f"model.{layer.number}", {}, {}, {}, root.reads)
        sources = [source if source < 0 else position[source] for source in layer.sources]
        layers.append(_with(_typed(layer, module), f=sources))
    return tuple(layers)


def _typed(layer: Layer, module: Module) -> Module:
    if layer.block == "Focus":
        return typed(module, "Focus", children={"conv": _conv(module.child("conv"), 1)})
    if layer.block == "Conv":
        return _conv(module, layer.stride)
    if layer.block == "BottleneckCSP":
        return _bottleneck_csp(module, shortcut=layer.shortcut)
    if layer.block == "SPP":
        return _spp(module)
    if layer.block == "Upsample":
        return typed(module, "Upsample", scale_factor=2.0, mode="nearest")
    if layer.block == "Concat":
        return typed(module, "Concat", d=1)
    convs = {name: last_convolution(conv) for name, conv in module.child("m").children.items()}
    return typed(module, "Detect", children={"m": typed(module.child("m"), "ModuleList", children=convs)})


def _with(module: Module, **attributes: Any) -> Module:
    return replace(module, attributes={**module.attributes, **attributes})


def _conv(module: Module, stride: int) -> Module:
    children = {
        "conv": square_convolution(module.child("conv"), stride),
        "bn": batch_norm(module.child("bn"), _BATCH_NORM_EPS),
        "act": without_weights(module, "act", "Hardswish"),
    }
    return typed(module, "Conv", children=children)


def _bottleneck_csp(module: Module, *, shortcut: bool) -> Module:
    repeats = module.child("m")
    bottlenecks = {}
    for number, block in enumerate(numbered(repeats)):
        convs = {part: _conv(block.child(part), 1) for part in ("cv1", "cv2")}
        same = weight_shape(convs["cv1"].child("conv"))[1] == weight_shape(convs["cv2"].child("conv"))[0]
        bottlenecks[str(number)] = typed(block, "Bottleneck", children=convs, add=shortcut and same)
    children = {
        "cv1": _conv(module.child("cv1"), 1),
        "cv2": square_convolution(module.child("cv2"), 1),
        "cv3": square_convolution(module.child("cv3"), 1),
        "cv4": _conv(module.child("cv4"), 1),
        "bn": batch_norm(module.child("bn"), _BATCH_NORM_EPS),
        "act": without_weights(module, "act", "LeakyReLU", negative_slope=_LEAKY_SLOPE),
        "m": typed(repeats, "Sequential", children=bottlenecks),
    }
    return typed(module, "BottleneckCSP", children=children)


def _spp(module: Module) -> Module:
    children = {name: _conv(module.child(name), 1) for name in ("cv1", "cv2")}
    inner, joined = (weight_shape(children[n].child("conv"))[i] for n, i in (("cv1", 0), ("cv2", 1)))
    if joined != inner * (1 + len(_POOLS)):
        raise CheckpointError(
            f'"{module.path}" joins {joined} channels of {inner} each, expected {1 + len(_POOLS)} times as many.',
            _UNKNOWN,
        )
    pools = {
        str(i): without_weights(module, f"m.{i}", "MaxPool2d", kernel_size=k, stride=1, padding=k // 2)
        for i, k in enumerate(_POOLS)
    }
    children["m"] = replace(without_weights(module, "m", "ModuleList"), children=pools)
    return typed(module, "SPP", children=children)

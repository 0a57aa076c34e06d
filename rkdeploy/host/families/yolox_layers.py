"""YOLOX's architecture: the facts that its state dict lacks, and both combined.

A YOLOX checkpoint holds weights only.  Widths, depths and depthwise convolutions are in their shapes and names; order,
strides, shortcuts and pooling sizes are fixed by the list below (yolox/models/darknet.py, yolo_pafpn.py,
network_blocks.py and yolo_head.py of Megvii-BaseDetection/YOLOX).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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

STRIDES = (8, 16, 32)
_BATCH_NORM_EPS = 1e-3  # set by get_model in yolox/exp/yolox_base.py, not stored
_POOLS = (5, 9, 13)
_UNKNOWN = "Only CSPDarknet with YOLOPAFPN is known; export ONNX where this model was trained."
_TRUNK = "backbone.backbone"


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer.

    Attributes:
        path: of its module; empty for one without weights.
        block: class of the layer.
        sources: positions of the layers that it reads, -1 for the previous one.
        stride: of a convolution.
        shortcut: True if the bottlenecks of a CSP layer add their input.
    """

    path: str
    block: str
    sources: tuple[int, ...] = (-1,)
    stride: int = 1
    shortcut: bool = False


_LAYERS = (
    _Layer(f"{_TRUNK}.stem", "Focus"),
    _Layer(f"{_TRUNK}.dark2.0", "Conv", stride=2),
    _Layer(f"{_TRUNK}.dark2.1", "CSP", shortcut=True),
    _Layer(f"{_TRUNK}.dark3.0", "Conv", stride=2),
    _Layer(f"{_TRUNK}.dark3.1", "CSP", shortcut=True),
    _Layer(f"{_TRUNK}.dark4.0", "Conv", stride=2),
    _Layer(f"{_TRUNK}.dark4.1", "CSP", shortcut=True),
    _Layer(f"{_TRUNK}.dark5.0", "Conv", stride=2),
    _Layer(f"{_TRUNK}.dark5.1", "SPP"),
    _Layer(f"{_TRUNK}.dark5.2", "CSP"),
    _Layer("backbone.lateral_conv0", "Conv"),
    _Layer("", "Upsample"),
    _Layer("", "Concat", (-1, 6)),
    _Layer("backbone.C3_p4", "CSP"),
    _Layer("backbone.reduce_conv1", "Conv"),
    _Layer("", "Upsample"),
    _Layer("", "Concat", (-1, 4)),
    _Layer("backbone.C3_p3", "CSP"),
    _Layer("backbone.bu_conv2", "Conv", stride=2),
    _Layer("", "Concat", (-1, 14)),
    _Layer("backbone.C3_n3", "CSP"),
    _Layer("backbone.bu_conv1", "Conv", stride=2),
    _Layer("", "Concat", (-1, 10)),
    _Layer("backbone.C3_n4", "CSP"),
)
HEAD_SOURCES = (17, 20, 23)
"""Positions of the layers that the head reads, finest first."""


@dataclass(frozen=True, slots=True)
class LevelHead:
    """Modules of one level of the head, with classes and attributes."""

    path: str
    stem: Module
    class_convs: Module
    box_convs: Module
    scores: Module
    boxes: Module
    objectness: Module


def typed_layers(root: Module) -> tuple[Module, ...]:
    """The layers before the head as modules with classes and attributes, each with its sources in `f`.

    Raises:
        CheckpointError: when a layer or a weight is missing, or one has a shape that this architecture does not have.
    """
    layers = []
    for number, layer in enumerate(_LAYERS):
        path = layer.path or f"backbone.{layer.block.lower()}_{number}"
        module = module_at(root, path) if layer.path else Module("", "", path, {}, {}, {}, root.reads)
        made = _typed(layer, module)
        layers.append(replace(made, attributes={**made.attributes, "f": list(layer.sources)}))
    return tuple(layers)


def typed_head(root: Module) -> tuple[LevelHead, ...]:
    """The levels of the head, finest first.

    Raises:
        CheckpointError: when a part is missing, or there is another number of levels.
    """
    head = root.child("head")
    counts = {len(numbered(head.child(name))) for name in HEAD_PARTS}
    if counts != {len(STRIDES)}:
        raise CheckpointError(
            f'"{head.path}" has {", ".join(map(str, sorted(counts)))} levels, expected {len(STRIDES)}.', _UNKNOWN
        )
    return tuple(
        LevelHead(
            f"{head.path}.{level}",
            stem=_conv(head.child("stems").child(level), 1),
            class_convs=_sequence(head.child("cls_convs").child(level)),
            box_convs=_sequence(head.child("reg_convs").child(level)),
            scores=last_convolution(head.child("cls_preds").child(level)),
            boxes=last_convolution(head.child("reg_preds").child(level)),
            objectness=last_convolution(head.child("obj_preds").child(level)),
        )
        for level in map(str, range(len(STRIDES)))
    )


HEAD_PARTS = ("stems", "cls_convs", "reg_convs", "cls_preds", "reg_preds", "obj_preds")
"""Modules of the head; each has one part per level."""


def module_at(root: Module, path: str) -> Module:
    """The module with a dotted path.

    Raises:
        CheckpointError: when there is none.
    """
    module = root
    for name in path.split("."):
        if name not in module.children:
            raise CheckpointError(f'The state dict has no "{path}".', _UNKNOWN)
        module = module.child(name)
    return module


def is_depthwise(root: Module) -> bool:
    """True for the Nano form, whose 3x3 convolutions are a depthwise and a pointwise one each."""
    return "dconv" in module_at(root, f"{_TRUNK}.dark2.0").children


def activation(root: Module) -> str:
    """Class of the activations; SiLU, that of every released model, for a state dict, which does not say it."""
    stem = module_at(root, f"{_TRUNK}.stem").child("conv")
    return stem.children["act"].class_name if "act" in stem.children else "SiLU"


def _typed(layer: _Layer, module: Module) -> Module:
    match layer.block:
        case "Focus":
            return typed(module, "Focus", children={"conv": _conv(module.child("conv"), 1)})
        case "Conv":
            return _conv(module, layer.stride)
        case "CSP":
            return _csp(module, shortcut=layer.shortcut)
        case "SPP":
            return _spp(module)
        case "Upsample":
            return typed(module, "Upsample", scale_factor=2.0, mode="nearest")
        case _:
            return typed(module, "Concat", d=1)


def _conv(module: Module, stride: int) -> Module:
    """BaseConv, or DWConv: a depthwise and a pointwise BaseConv."""
    if "dconv" in module.children:
        depthwise = module.child("dconv")
        groups = weight_shape(depthwise.child("conv"))[0]
        parts = {"dconv": _base_conv(depthwise, stride, groups), "pconv": _base_conv(module.child("pconv"), 1)}
        return typed(module, "Sequential", children=parts)
    return _base_conv(module, stride)


def _base_conv(module: Module, stride: int, groups: int = 1) -> Module:
    children = {"conv": square_convolution(module.child("conv"), stride, groups)}
    if "bn" in module.children:
        children["bn"] = batch_norm(module.child("bn"), module.child("bn").attribute("eps", _BATCH_NORM_EPS))
    elif "bias" not in module.child("conv").tensors:
        raise CheckpointError(f'"{module.path}" has neither a BatchNorm nor a bias, expected one of them.', _UNKNOWN)
    children["act"] = module.children.get("act") or without_weights(module, "act", "SiLU")
    return typed(module, "Conv", children=children)


def _sequence(module: Module) -> Module:
    children = {str(number): _conv(part, 1) for number, part in enumerate(numbered(module))}
    return typed(module, "Sequential", children=children)


def _csp(module: Module, *, shortcut: bool) -> Module:
    repeats = module.child("m")
    bottlenecks = {
        str(number): typed(
            block,
            "Bottleneck",
            children={"cv1": _conv(block.child("conv1"), 1), "cv2": _conv(block.child("conv2"), 1)},
            add=shortcut,
        )
        for number, block in enumerate(numbered(repeats))
    }
    children = {f"cv{number}": _conv(module.child(f"conv{number}"), 1) for number in (1, 2, 3)}
    return typed(module, "C3", children={**children, "m": typed(repeats, "Sequential", children=bottlenecks)})


def _spp(module: Module) -> Module:
    children = {"cv1": _conv(module.child("conv1"), 1), "cv2": _conv(module.child("conv2"), 1)}
    pools = {
        str(i): without_weights(module, f"m.{i}", "MaxPool2d", kernel_size=k, stride=1, padding=k // 2)
        for i, k in enumerate(_POOLS)
    }
    return typed(
        module,
        "SPP",
        children={**children, "m": typed(without_weights(module, "m", "ModuleList"), "ModuleList", pools)},
    )

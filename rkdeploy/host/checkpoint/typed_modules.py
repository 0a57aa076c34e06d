"""Modules of a state dict with the classes and attributes that their keys lack.

A state dict holds weights by name.  A family that knows the architecture gives each module its class and attributes;
the emitters of `rkdeploy.host.export` then write it like one of a pickled model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.checkpoint.module_tree import require_affine


def typed(module: Module, class_name: str, children: Mapping[str, Module] | None = None, **attributes: Any) -> Module:
    """The module with a class and the attributes that its weights do not determine."""
    return replace(module, class_name=class_name, attributes=attributes, children=children or {})


def without_weights(parent: Module, name: str, class_name: str, **attributes: Any) -> Module:
    """A sub-module without weights, which a state dict omits."""
    return Module(class_name, "", f"{parent.path}.{name}", attributes, {}, {}, parent.reads)


def square_convolution(module: Module, stride: int, groups: int = 1) -> Module:
    """A Conv2d with a square kernel of odd size that keeps the grid, but for its stride.

    Raises:
        CheckpointError: when the kernel is another.
    """
    height, width = weight_shape(module)[2:]
    if height % 2 == 0 or height != width:
        raise CheckpointError(f'"{module.path}" has a kernel of {height}x{width}, expected a square of odd size.')
    padding = (height // 2, width // 2)
    return typed(module, "Conv2d", stride=(stride, stride), padding=padding, dilation=(1, 1), groups=groups)


def batch_norm(module: Module, eps: float) -> Module:
    """A BatchNorm2d.

    Raises:
        CheckpointError: when its weights are missing.
    """
    require_affine(module)
    return typed(module, "BatchNorm2d", eps=eps)


def last_convolution(module: Module) -> Module:
    """The last convolution of a head: 1x1, with a bias.

    Raises:
        CheckpointError: when it is another.
    """
    if "bias" not in module.tensors:
        raise CheckpointError(f'The state dict has no "{module.path}.bias".')
    if weight_shape(module)[2:] != (1, 1):
        raise CheckpointError(f'"{module.path}.weight" has the shape {weight_shape(module)}, expected a 1x1 kernel.')
    return square_convolution(module, 1)


def numbered(module: Module) -> tuple[Module, ...]:
    """The children of a Sequential or ModuleList, in order.

    Raises:
        CheckpointError: when they are not numbered 0, 1, 2, ...
    """
    if list(module.children) != [str(i) for i in range(len(module.children))]:
        raise CheckpointError(f'"{module.path}" has the parts {", ".join(module.children)}, expected 0, 1, 2, ...')
    return tuple(module.children.values())


def weight_shape(conv: Module) -> tuple[int, int, int, int]:
    """(out, in, kernel height, kernel width) of a convolution.

    Raises:
        CheckpointError: when it has no weights of four dimensions.
    """
    weight = conv.tensors.get("weight")
    if weight is None or len(weight.shape) != 4:
        got = "none" if weight is None else str(weight.shape)
        raise CheckpointError(
            f'"{conv.path}.weight" has the shape {got}, expected (out, in, height, width).',
            "The model was changed, or the file is damaged: export ONNX where it was trained.",
        )
    out, inputs, height, width = weight.shape
    return out, inputs, height, width

"""Operators of the toolkit's graphs in PyTorch, before their results are rounded.

Loaded by `worker.py` from its own folder, in an interpreter that need not have rkdeploy: imports the standard library,
and (late) the toolkit's own requirements, of which PyTorch is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Operator = Callable[[list[Any], Mapping[str, Any]], list[Any]]

Tensor = Any  # torch.Tensor: this module must load where torch is not


class UnsupportedFormError(RuntimeError):
    """A form of an operator that is not emulated."""


def operators() -> dict[str, Operator]:
    """Operators that are emulated -> results from inputs and attributes."""
    import torch

    functions = torch.nn.functional
    return {
        "exDataConvert": lambda inputs, _: [inputs[0]],
        "Conv": _convolution,
        "ConvTranspose": _transposed_convolution,
        "Add": lambda inputs, _: [inputs[0] + inputs[1]],
        "Sub": lambda inputs, _: [inputs[0] - inputs[1]],
        "Mul": lambda inputs, _: [inputs[0] * inputs[1]],
        "Div": lambda inputs, _: [inputs[0] / inputs[1]],
        "Sqrt": lambda inputs, _: [inputs[0].sqrt()],
        "Pow": lambda inputs, _: [inputs[0] ** inputs[1]],
        "Concat": lambda inputs, attributes: [torch.cat(inputs, attributes["axis"])],
        "Split": _split,
        "Expand": lambda inputs, _: [inputs[0] * torch.ones([int(size) for size in inputs[1]])],
        "Transpose": lambda inputs, attributes: [inputs[0].permute(attributes["perm"])],
        "Reshape": _reshape,
        "MaxPool": _max_pool,
        "AveragePool": _average_pool,
        "GlobalAveragePool": lambda inputs, _: [inputs[0].mean(tuple(range(2, inputs[0].dim())), keepdim=True)],
        "ReduceMean": _mean,
        "Resize": _resize,
        "MatMul": lambda inputs, _: [inputs[0] @ inputs[1]],
        "exMatMul": _matrix_product,
        "Softmax": lambda inputs, attributes: [inputs[0].softmax(attributes.get("axis", -1))],
        "exSoftmax13": lambda inputs, attributes: [inputs[0].softmax(attributes.get("axis", -1))],
        "exNorm": _layer_norm,
        "exSDPAttention": _attention,
        "exSwish": lambda inputs, _: [functions.silu(inputs[0])],
        "Sigmoid": lambda inputs, _: [torch.sigmoid(inputs[0])],
        "Tanh": lambda inputs, _: [torch.tanh(inputs[0])],
        "Relu": lambda inputs, _: [torch.relu(inputs[0])],
        "LeakyRelu": lambda inputs, attributes: [functions.leaky_relu(inputs[0], attributes.get("alpha", 0.01))],
        "PRelu": lambda inputs, _: [torch.where(inputs[0] < 0, inputs[0] * inputs[1], inputs[0])],
        "Clip": _clip,
        "HardSigmoid": _hard_sigmoid,
        "HardSwish": lambda inputs, _: [functions.hardswish(inputs[0])],
        "Elu": lambda inputs, attributes: [functions.elu(inputs[0], attributes.get("alpha", 1.0))],
        "exGelu": lambda inputs, _: [functions.gelu(inputs[0])],
        "Gelu": lambda inputs, _: [functions.gelu(inputs[0])],
        "exMish": lambda inputs, _: [functions.mish(inputs[0])],
        "Mish": lambda inputs, _: [functions.mish(inputs[0])],
    }


def _padded(values: Tensor, attributes: Mapping[str, Any], fill: float) -> Tensor:
    import torch

    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if not any((top, left, bottom, right)):
        return values
    return torch.nn.functional.pad(values, (left, right, top, bottom), value=fill)


def _convolution(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    import torch

    values, padding = inputs[0], attributes.get("pads", [0, 0, 0, 0])
    if list(padding[:2]) != list(padding[2:]):
        values, padding = _padded(values, attributes, 0.0), [0, 0]
    return [
        torch.nn.functional.conv2d(
            values,
            inputs[1],
            inputs[2] if len(inputs) > 2 else None,
            attributes.get("strides", [1, 1]),
            tuple(padding[:2]),
            attributes.get("dilations", [1, 1]),
            attributes.get("group", 1),
        )
    ]


def _transposed_convolution(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    import torch

    padding = attributes.get("pads", [0, 0, 0, 0])
    if list(padding[:2]) != list(padding[2:]) or "output_shape" in attributes:
        message = "a ConvTranspose with uneven padding or a given shape is not emulated"
        raise UnsupportedFormError(message)
    return [
        torch.nn.functional.conv_transpose2d(
            inputs[0],
            inputs[1],
            inputs[2] if len(inputs) > 2 else None,
            attributes.get("strides", [1, 1]),
            tuple(padding[:2]),
            attributes.get("output_padding", [0, 0]),
            attributes.get("group", 1),
            attributes.get("dilations", [1, 1]),
        )
    ]


def _split(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    if len(inputs) < 2:
        message = "a Split without sizes is not emulated"
        raise UnsupportedFormError(message)
    return list(inputs[0].split([int(size) for size in inputs[1]], attributes.get("axis", 0)))


def _reshape(inputs: list[Tensor], _attributes: Mapping[str, Any]) -> list[Tensor]:
    """The graph's shapes are those of one image: with more, the first size grows."""
    _, *others = (int(size) for size in inputs[1])
    return [inputs[0].reshape(-1, *others)]


def _max_pool(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    import torch

    if attributes.get("ceil_mode") or attributes.get("dilations", [1, 1]) != [1, 1]:
        message = "a MaxPool with ceil_mode or dilations is not emulated"
        raise UnsupportedFormError(message)
    values = _padded(inputs[0], attributes, float("-inf"))
    return [torch.nn.functional.max_pool2d(values, attributes["kernel_shape"], attributes.get("strides", [1, 1]))]


def _average_pool(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    import torch

    padding = attributes.get("pads", [0, 0, 0, 0])
    if attributes.get("ceil_mode") or list(padding[:2]) != list(padding[2:]):
        message = "an AveragePool with ceil_mode or uneven padding is not emulated"
        raise UnsupportedFormError(message)
    return [
        torch.nn.functional.avg_pool2d(
            inputs[0],
            attributes["kernel_shape"],
            attributes.get("strides", [1, 1]),
            tuple(padding[:2]),
            count_include_pad=bool(attributes.get("count_include_pad", 0)),
        )
    ]


def _mean(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    axes = attributes.get("axes") or [int(axis) for axis in inputs[1]]
    return [inputs[0].mean(tuple(axes), keepdim=bool(attributes.get("keepdims", 1)))]


def _resize(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    import torch

    height, width = _resized(inputs)
    values, mode = inputs[0], attributes.get("mode", b"nearest")
    wholes = height % values.shape[2] == 0 and width % values.shape[3] == 0
    if mode == b"nearest" and wholes:
        tall = values.repeat_interleave(height // values.shape[2], 2)
        return [tall.repeat_interleave(width // values.shape[3], 3)]
    centers = attributes.get("coordinate_transformation_mode", b"half_pixel") in {b"half_pixel", b"pytorch_half_pixel"}
    if mode != b"linear" or not centers:
        message = "a Resize other than nearest by whole factors, or linear between pixel centers, is not emulated"
        raise UnsupportedFormError(message)
    return [torch.nn.functional.interpolate(values, (height, width), mode="bilinear", align_corners=False)]


def _resized(inputs: list[Tensor]) -> tuple[int, int]:
    """Height and width after a Resize: from its sizes, or from its scales."""
    shape = inputs[0].shape
    given = [tensor for tensor in inputs[1:] if tensor.numel() == 4]
    if (
        not given
        or len(shape) != 4
        or [int(size) for size in given[-1][:2]] not in ([1, 1], list(shape[:2]), [1, shape[1]])
    ):
        message = "a Resize of other axes than height and width is not emulated"
        raise UnsupportedFormError(message)
    last = given[-1]
    if last.is_floating_point():
        return int(shape[2] * float(last[2])), int(shape[3] * float(last[3]))
    return int(last[2]), int(last[3])


def _matrix_product(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    left, right = inputs[:2]
    if attributes.get("transA") or attributes.get("a_transpose"):
        left = left.transpose(-1, -2)
    if attributes.get("transB") or attributes.get("b_transpose"):
        right = right.transpose(-1, -2)
    return [left @ right]


def _attention(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    """Scaled dot-product attention: what the toolkit makes of its five nodes.

    Query, key and value are (heads, channels, 1, positions).  In the quantized model the products of queries and keys
    and the weights after the softmax are rounded, to grids of their own.
    """
    query, key, value = (tensor.flatten(2) for tensor in inputs[:3])
    inner = attributes.get("inner", {})
    products = query.transpose(1, 2) @ key
    if "q_matmul" in inner:
        products = inner["q_matmul"].rounded(products)
    weights = (products * attributes.get("scale", 1.0)).softmax(-1)
    if "q_softmax" in inner:
        weights = inner["q_softmax"].rounded(weights)
    return [(value @ weights.transpose(1, 2)).reshape(inputs[2].shape[:2] + inputs[0].shape[2:])]


def _layer_norm(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    if attributes.get("mode", b"layer") != b"layer":
        message = f"a norm of the mode {attributes['mode']!r} is not emulated"
        raise UnsupportedFormError(message)
    values, axes = inputs[0], tuple(attributes["axes"])
    centered = values - values.mean(axes, keepdim=True)
    scaled = centered / (centered.square().mean(axes, keepdim=True) + attributes.get("eps", 1e-5)).sqrt()
    return [scaled * inputs[1] + inputs[2]]


def _clip(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    low = float(inputs[1]) if len(inputs) > 1 else attributes.get("min")
    high = float(inputs[2]) if len(inputs) > 2 else attributes.get("max")
    return [inputs[0].clamp(low, high)]


def _hard_sigmoid(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    return [(inputs[0] * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)).clamp(0, 1)]

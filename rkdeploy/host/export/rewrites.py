"""Blocks rewritten with equal values in a form that costs the NPU less.

docs/build.md has the compiler's figures for each, and for those that were tried and did not pay.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import convolutions, layer_settings
from rkdeploy.host.export.builder import Attribute, Value
from rkdeploy.host.export.csp_blocks import folded
from rkdeploy.host.export.emission import Emission, child, emit

_CHANNELS_AT_ONCE = 32
"""The NPU of the RK3588 computes the output channels of an INT8 convolution in multiples of this."""
_NO_SETTINGS = ("inplace", "training")  # attributes of an activation that do not affect its values


def nested_pools(emission: Emission, pools: Sequence[Module], value: Value) -> list[Value]:
    """Several max pools of one tensor: each from the previous one if its window is larger.

    A maximum over n x n, followed by a maximum over m x m, is a maximum over (n + m - 1) x (n + m - 1), with stride 1
    and
    padding that keeps the size also at the borders: a pixel of the large window is in the small window around some
    cell of the image between it and the middle.  So SPP's 5, 9 and 13 are three pools of 5, 75 comparisons per cell
    instead of 275.
    """
    outputs: list[Value] = []
    done, window = value, 1
    for pool in pools:
        own = _same_size_window(pool)
        step = own - window + 1
        if own and step % 2 and step > 1 and window > 1:
            done = _max_pool(emission, pool.path, done, step)
        else:
            done = emit(emission, pool, [value])
        window = own
        outputs.append(done)
    return outputs


def _max_pool(emission: Emission, path: str, value: Value, window: int) -> Value:
    attributes: dict[str, Attribute] = {
        "kernel_shape": [window] * 2,
        "strides": [1, 1],
        "pads": [window // 2] * 4,
        "dilations": [1, 1],
        "ceil_mode": 0,
    }
    return emission.builder.add("MaxPool", path, [value], value.shape, attributes)


def _same_size_window(pool: Module) -> int:
    """Side of a square window of stride 1 whose padding keeps the size; 0 for any other pool."""
    if pool.class_name != "MaxPool2d" or pool.attribute("ceil_mode", False):
        return 0
    kernel = layer_settings.pair(pool.attribute("kernel_size"), pool, "kernel_size")
    stride = layer_settings.pair(pool.attribute("stride") or kernel, pool, "stride")
    padding = layer_settings.pair(pool.attribute("padding", 0), pool, "padding")
    dilation = layer_settings.pair(pool.attribute("dilation", 1), pool, "dilation")
    side = kernel[0]
    fits = kernel == (side, side) and stride == dilation == (1, 1) and padding == (side // 2, side // 2)
    return side if fits and side % 2 else 0


def pointwise_pair(emission: Emission, first: Module, second: Module, value: Value) -> tuple[Value, Value]:
    """Two convolution blocks on one tensor, as one convolution and a split if the NPU would pad the channels of both.

    For 1x1 convolutions with the same kind of activation and, for example, 16 or 48 channels, which the NPU computes as
    32
    or 64.  Without such padding nothing is gained, and one tensor would have to share its INT8 scale.
    """
    if not (
        _is_pointwise(first) and _is_pointwise(second) and _same_activation(first, second) and _fills_up(first, second)
    ):
        return emit(emission, first, [value]), emit(emission, second, [value])
    kernels = [folded(block.child("conv"), block.children.get("bn")) for block in (first, second)]
    sizes = [weight.shape[0] for weight, _ in kernels]
    weight, bias = (np.concatenate(parts) for parts in zip(*kernels, strict=True))
    out = convolutions.convolution(emission.builder, first.child("conv"), value, weight=weight, bias=bias)
    a, b = emission.builder.split(first.path, child(emission, first, "act", out), sizes, 1)
    return a, b


def _is_pointwise(block: Module) -> bool:
    conv = block.children.get("conv")
    return (
        block.class_name == "Conv"
        and set(block.children) in ({"conv", "act"}, {"conv", "bn", "act"})
        and conv is not None
        and conv.class_name == "Conv2d"
        and conv.array("weight").shape[2:] == (1, 1)
        and conv.attribute("groups", 1) == 1
        and all(
            conv.attribute(name, usual) in (usual, (usual, usual)) for name, usual in (("stride", 1), ("padding", 0))
        )
    )


def _fills_up(first: Module, second: Module) -> bool:
    """True if the NPU computes fewer channels for both together than for each alone."""
    a, b = (block.child("conv").array("weight").shape[0] for block in (first, second))
    return _filled(a + b) < _filled(a) + _filled(b)


def _filled(channels: int) -> int:
    return -(-channels // _CHANNELS_AT_ONCE) * _CHANNELS_AT_ONCE


def _same_activation(first: Module, second: Module) -> bool:
    """True if one activation computes both: no weights of its own, the same settings."""
    a, b = first.child("act"), second.child("act")
    return (
        a.class_name == b.class_name
        and not any(module.tensors for act in (a, b) for module in act.walk())
        and _settings(a) == _settings(b)
    )


def _settings(activation: Module) -> dict[str, object]:
    """The plain attributes of an activation that may affect its values."""
    return {
        name: value
        for name, value in activation.attributes.items()
        if isinstance(value, (bool, int, float, str)) and not name.startswith("_") and name not in _NO_SETTINGS
    }

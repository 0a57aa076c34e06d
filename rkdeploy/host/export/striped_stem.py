"""The first two layers in stripes of rows: their large tensors never exist as a whole, and the values are equal.

The output of a Focus or 6x6 stem is the largest tensor of a YOLOv5, and together with the pixel phases the peak of the
memory between layers.  Here the phases are cut into stripes with as many rows of overlap as the kernels reach; each
stripe goes through both convolutions, and the results, a quarter of the size, are joined.  docs/build.md has the
compiler's figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import layer_settings, stem
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.csp_blocks import folded
from rkdeploy.host.export.emission import Emission, child

COUNT = 2
_ELEMENTWISE = frozenset({"SiLU", "Hardswish", "LeakyReLU", "ReLU", "ReLU6", "Identity", "Mish", "Swish"})


@dataclass(frozen=True, slots=True)
class _StripedConv:
    """A convolution block: names of its constants in the graph, and its geometry over (height, width)."""

    block: Module
    weight: str
    bias: str
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def size(self, rows: int, axis: int) -> int:
        """Output size for an input size along an axis."""
        return (rows + 2 * self.padding[axis] - self.kernel[axis]) // self.stride[axis] + 1

    def reach(self, first: int, last: int) -> tuple[int, int]:
        """Input rows for output rows [first, last), including padding."""
        start = first * self.stride[0] - self.padding[0]
        return start, (last - 1) * self.stride[0] - self.padding[0] + self.kernel[0]


def two_layers(emission: Emission, first: Module, second: Module, image: Value) -> Value | None:
    """second(first(image)), or None unless the two are a strided stem and a convolution block behind it."""
    if not _is_plain_block(second):
        return None
    block = first.child("conv") if first.class_name == "Focus" else first
    if not _is_plain_block(block):
        return None
    conv = block.child("conv")
    if block is first:
        if not stem.is_strided_stem(conv, image):
            return None
    elif not stem.is_plain(conv) or conv.array("weight").shape[1] != 4 * image.channels:
        return None
    phases = stem.phases(emission.builder, first.path, image, by_slices=False)
    steps = (_step(emission, block, phases=block is first), _step(emission, second, phases=False))
    rows = steps[1].size(steps[0].size(phases.shape[2], 0), 0)
    if rows < 2 * COUNT:
        return None
    bounds = [rows * stripe // COUNT for stripe in range(COUNT + 1)]
    parts = [_stripe(emission, steps, phases, bounds[i], bounds[i + 1]) for i in range(COUNT)]
    return emission.builder.concat(f"{second.path}.stripes", parts, 2)


def _is_plain_block(block: Module) -> bool:
    conv, act = block.children.get("conv"), block.children.get("act")
    return (
        block.class_name == "Conv"
        and conv is not None
        and conv.class_name == "Conv2d"
        and act is not None
        and act.class_name in _ELEMENTWISE
        and conv.attribute("groups", 1) == 1
        and conv.attribute("padding_mode", "zeros") == "zeros"
        and not isinstance(conv.attribute("padding", 0), str)
        and layer_settings.pair(conv.attribute("dilation", 1), conv, "dilation") == (1, 1)
    )


def _step(emission: Emission, block: Module, *, phases: bool) -> _StripedConv:
    """A block's constants; with `phases` its convolution of stride 2 on pixels is written over their phases."""
    conv = block.child("conv")
    weight, bias = folded(conv, block.children.get("bn"))
    stride = layer_settings.pair(conv.attribute("stride", 1), conv, "stride")
    padding = layer_settings.pair(conv.attribute("padding", 0), conv, "padding")
    if phases:
        weight = stem.phase_weight(weight.astype(np.float32)).astype(np.float64)
        stride, padding = (1, 1), (padding[0] // 2, padding[1] // 2)
    return _StripedConv(
        block,
        emission.builder.constant(f"{conv.path}.weight", weight.astype(np.float32)),
        emission.builder.constant(f"{conv.path}.bias", bias.astype(np.float32)),
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        stride,
        padding,
    )


def _stripe(emission: Emission, steps: Sequence[_StripedConv], phases: Value, first: int, last: int) -> Value:
    """Rows [first, last) of the last step's output."""
    heights = [phases.shape[2]]
    for step in steps:
        heights.append(step.size(heights[-1], 0))
    pads = []
    for step, height in zip(reversed(steps), reversed(heights[:-1]), strict=True):
        above, below = step.reach(first, last)
        first, last = max(above, 0), min(below, height)
        pads.append((first - above, below - last))
    value = _rows(emission, phases, first, last)
    for step, (top, bottom) in zip(steps, reversed(pads), strict=True):
        n, _, height, width = value.shape
        rows = (height + top + bottom - step.kernel[0]) // step.stride[0] + 1
        convolved = emission.builder.add(
            "Conv",
            step.block.child("conv").path,
            [value, step.weight, step.bias],
            (n, step.channels, rows, step.size(width, 1)),
            {
                "kernel_shape": list(step.kernel),
                "strides": list(step.stride),
                "pads": [top, step.padding[1], bottom, step.padding[1]],
                "dilations": [1, 1],
                "group": 1,
            },
        )
        value = child(emission, step.block, "act", convolved)
    return value


def _rows(emission: Emission, value: Value, first: int, last: int) -> Value:
    n, c, _, width = value.shape
    bounds = [
        emission.builder.constant(f"{value.name}.{name}", np.array([number], np.int64))
        for name, number in (("starts", first), ("ends", last), ("axes", 2), ("steps", 1))
    ]
    return emission.builder.add("Slice", f"{value.name}.rows", [value, *bounds], (n, c, last - first, width))

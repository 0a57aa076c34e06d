"""The contract that travels with a model: what goes in, what every output tensor means, and how to read it.

A `ModelSpec` is derived from the checkpoint once, proven at build time, stored beside the `.rknn` as `contract.json`,
and is all that the board side needs.  Plain frozen data; nothing here knows about files, graphs or hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1

Task = Literal["detect"]
ColorOrder = Literal["rgb", "bgr"]
Fit = Literal["letterbox"]
Activation = Literal["linear", "sigmoid"]
TensorDtype = Literal["int8", "uint8", "int16", "float16", "float32"]
OutputRole = Literal["anchor_map", "anchor_boxes", "anchor_xy", "anchor_wh", "anchor_scores"]
"""What the channels of an anchor head's tensor (1, na * fields, H, W) hold, anchor-major:

- `anchor_map`: x, y, w, h, objectness, class 0, class 1, ... (5 + nc fields an anchor)
- `anchor_boxes`: x, y, w, h;  `anchor_xy`: x, y;  `anchor_wh`: w, h
- `anchor_scores`: objectness, class 0, class 1, ... (1 + nc fields an anchor)
"""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The network's image input.

    The host hands over one contiguous (1, height, width, 3) uint8 image in `color` order.  The network computes
    `(pixel - mean) / std` a channel; inside a `.rknn` the toolkit has built that in.

    Attributes:
        name: tensor name in the graph.
        height, width: network input size in pixels.
        color: channel order the network was trained with.
        mean, std: per channel, in pixel values 0..255.
        fit: how a source image is brought to (height, width).  `letterbox` keeps the aspect ratio and pads.
        pad_value: grey level 0..255 of the padding.
    """

    name: str
    height: int
    width: int
    color: ColorOrder = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    fit: Fit = "letterbox"
    pad_value: int = 114


@dataclass(frozen=True, slots=True)
class Quantization:
    """Affine quantization of one tensor: real = (value - zero_point) * scale."""

    dtype: TensorDtype
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """One output tensor of the cut graph and of the `.rknn`, in the order in which the runtime returns them.

    Attributes:
        name: tensor name.
        role: what the channels hold.
        level: index of the detection level, 0 the finest.
        stride: input pixels a cell, so that shape[2] * stride == input height.
        shape: (1, C, H, W), the logical layout; a runtime may hand it over in another memory layout.
        activation: what the graph has already applied; `linear` are logits.
        quantization: scale and zero point, or None for a floating-point tensor.
    """

    name: str
    role: OutputRole
    level: int
    stride: int
    shape: tuple[int, int, int, int]
    activation: Activation = "linear"
    quantization: Quantization | None = None


@dataclass(frozen=True, slots=True)
class Anchors:
    """Anchor boxes of every level.

    Attributes:
        levels_px: [level][anchor] -> (width, height) in pixels of the network input.
    """

    levels_px: tuple[tuple[tuple[float, float], ...], ...]

    @property
    def per_level(self) -> int:
        """Number of anchors a level (the same on all levels)."""
        return len(self.levels_px[0])


@dataclass(frozen=True, slots=True)
class NpuModel:
    """The `.rknn` that the contract speaks of.

    Attributes:
        file: its name in the bundle, such as `best.rknn`; the bundle's other files are named after it.
        target: the SoC that it was built for, as the toolkit names it: `rk3588`.
        dtype: what it computes in, as it was asked of the build: `int8`, `fp16`.
    """

    file: str
    target: str
    dtype: str


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The whole contract of one model.

    Attributes:
        family: model family, for example `yolov5`; selects the decode.
        task: what the model does.
        class_names: one name a class, in the order of the score channels.
        input: the image input.
        outputs: the head tensors, in runtime order.
        anchors: for anchor-based families, else None.
        model: the built model; None as long as there is none, never in a bundle.
        schema_version: version of this schema.
    """

    family: str
    task: Task
    class_names: tuple[str, ...]
    input: InputSpec
    outputs: tuple[HeadOutput, ...]
    anchors: Anchors | None = None
    model: NpuModel | None = None
    schema_version: int = SCHEMA_VERSION

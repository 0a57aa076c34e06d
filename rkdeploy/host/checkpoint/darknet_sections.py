"""The sections of a darknet cfg as values, with resolved references.

A cfg is read in one of two dialects.  `pytorch` is that of ultralytics/yolov3, YOLOR's main branch and their relatives,
in which a state dict names a layer by the index of its section: `module_list.<index>`.  `darknet` is that of darknet
itself (AlexeyAB/darknet), whose `.weights` hold the numbers of the sections in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Dialect = Literal["darknet", "pytorch"]
ACTIVATIONS: Final[Mapping[Dialect, Mapping[str, str]]] = {
    "pytorch": {"leaky": "LeakyReLU", "swish": "Swish", "mish": "Mish", "logistic": "Sigmoid", "silu": "SiLU"},
    "darknet": {
        "leaky": "LeakyReLU",
        "relu": "ReLU",
        "relu6": "ReLU6",
        "swish": "Swish",
        "mish": "Mish",
        "logistic": "Sigmoid",
        "tanh": "Tanh",
    },
}
"""Words for activations, and torch's classes.  In PyTorch's dialect any other word means none, `relu` among them; in
darknet's `linear` does."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section after [net].

    Attributes:
        index: position among the sections after [net], from 0; what references and state-dict keys count.
        line: line of the header in the file, from 1.
        kind: the header's word.

    References (`sources`) are indices of earlier sections.  A section without a reference takes the output of the
    section before it, the first one the image.  The output of [yolo] as a layer is its input.
    """

    index: int
    line: int
    kind: str


@dataclass(frozen=True, slots=True)
class Convolutional(Section):
    """[convolutional]: a convolution, then BatchNorm if `batch_normalize`, then the activation.

    BatchNorm's eps is 1e-4 in PyTorch's dialect and 1e-5 in darknet's.

    Attributes:
        filters: channels of the output.
        sizes: sides of the square kernels.  More than one is a MixConv: each kernel computes a part of the channels.
        stride_hw: stride down and across.
        pad: True if each side is padded by size // 2; otherwise `padding` counts.
        groups: groups of channels.
        batch_normalize: without it the convolution has a bias.
        activation: the file's word, see `ACTIVATIONS`; `leaky` has the slope 0.1.
        padding: of each side, where `pad` is False.
        dilation: of the kernel.
    """

    filters: int
    sizes: tuple[int, ...]
    stride_hw: tuple[int, int]
    pad: bool
    groups: int
    batch_normalize: bool
    activation: str
    padding: int = 0
    dilation: int = 1


@dataclass(frozen=True, slots=True)
class Route(Section):
    """[route], [route2], [route3]: the sources joined along the channels; [route_lhalf]: the first half of each.

    Attributes:
        sources: one or more earlier sections, in the order of the channels.
        groups, group_id: part `group_id` of `groups` equal parts of the channels of each source, as darknet itself and
            some forks read it.  PyTorch's dialect reads no group_id and leaves `groups` of a route unused.
    """

    sources: tuple[int, ...]
    first_half: bool
    groups: int
    group_id: int


@dataclass(frozen=True, slots=True)
class Shortcut(Section):
    """[shortcut]: the input plus each source.  If their numbers of channels differ, only the first common ones are
    added.

    Attributes:
        sources: the earlier sections that are added.
        weighted: the state dict has `w` (1 + sources,); the addends are scaled by sigmoid(w) * 2 / (1 + sources).
        activation: the file's word; PyTorch's dialect never applies it.
    """

    sources: tuple[int, ...]
    weighted: bool
    activation: str


@dataclass(frozen=True, slots=True)
class Pool(Section):
    """[maxpool], [local_avgpool].

    In PyTorch's dialect: padded by (size - 1) // 2 on each side; zeros count in the average.  Size 2 at stride 1 is
    the exception: one row of zeros below, one column of zeros to the right, nothing else.

    In darknet's: windows begin at -(padding // 2) and there are (n + padding - size) // stride + 1 of them; what lies
    outside does not count (src/maxpool_layer.c).

    Attributes:
        size, stride: of the windows, both ways.
        padding: sum of both sides, in darknet's dialect.
    """

    size: int
    stride: int
    padding: int = 0

    @property
    def average(self) -> bool:
        """A mean instead of a maximum."""
        return self.kind == "local_avgpool"


@dataclass(frozen=True, slots=True)
class Plain(Section):
    """A section without settings that change its output.

    Kinds: `avgpool` (mean over all pixels, 1x1), `silence` and `dropout` (the input), `BatchNorm2d` (eps 1e-4), `reorg`
    (each 2x2 block of pixels to channels: rows, then columns), `dwt` (the wavelets of pytorch_wavelets if the state
    dict has `DWT.xfm`, else as `reorg`).
    """


@dataclass(frozen=True, slots=True)
class Upsample(Section):
    """[upsample]: each pixel repeated `stride` times both ways."""

    stride: int


@dataclass(frozen=True, slots=True)
class Implicit(Section):
    """[implicit_add], [implicit_mul], [implicit_cat]: a learned tensor (1, filters, 1, 1), which replaces the input.

    Attributes:
        filters: channels; of the kinds in `_2d` the tensor is (1, atoms, filters, 1).
        atoms: rows of the kinds in `_2d`, 0 for the others.
    """

    filters: int
    atoms: int


@dataclass(frozen=True, slots=True)
class ChannelOperation(Section):
    """An operation of a source on the input x, pixel by pixel if the source is (1, channels, 1, 1).

    Kinds: `shift_channels` x + s, `control_channels` x * s, `select_channels` x * sigmoid(s), `alternate_channels` the
    channels of s, then those of x; with the suffix `_2d` s is read as (1, all, 1, 1).  `scale_channels` and `sam` are
    x * s, where x is the gate.

    Attributes:
        source: section of s.
        activation: the file's word; PyTorch's dialect never applies it.
    """

    source: int
    activation: str = "linear"

    @property
    def flat(self) -> bool:
        """True if the source is read as (1, all its numbers, 1, 1)."""
        return self.kind.endswith("_2d")


@dataclass(frozen=True, slots=True)
class Yolo(Section):
    """[yolo]: one level of the head; its input has anchors x (5 + classes) channels.

    Attributes:
        classes: number of classes.
        anchors_px: width and height of this level's anchors, selected by `mask`.
        all_anchors_px: every anchor of the section.
        mask: indices of this level's anchors.
        scale_x_y: gain of the centers, of darknet's dialect alone.
        new_coords: True if the convolution before it has computed the sigmoids, and sizes are squares instead of
            exponentials; of darknet's dialect alone.
    """

    classes: int
    anchors_px: tuple[tuple[float, float], ...]
    all_anchors_px: tuple[tuple[float, float], ...]
    mask: tuple[int, ...]
    scale_x_y: float = 1.0
    new_coords: bool = False


@dataclass(frozen=True, slots=True)
class Net:
    """[net]: the training image.  None if the file does not say.

    Attributes:
        line: of the header.
        width, height: in pixels.
        channels: of the image.
        letter_box: True if images keep their aspect ratio; darknet stretches them otherwise.
    """

    line: int
    width: int | None
    height: int | None
    channels: int
    letter_box: bool = False


@dataclass(frozen=True, slots=True)
class DarknetCfg:
    """A cfg: the network as a sequence of sections.

    Attributes:
        name: of the file.
        net: its first section.
        sections: the others; `sections[i].index` is i.
        dialect: how it was read.
    """

    name: str
    net: Net
    sections: tuple[Section, ...]
    dialect: Dialect = "pytorch"

    def activation(self, word: str) -> str | None:
        """Torch's class of an activation; None for a word that means none."""
        return ACTIVATIONS[self.dialect].get(word)

    @property
    def yolos(self) -> tuple[Yolo, ...]:
        """The levels of the head in the order of the file, which is the order of the output's rows."""
        return tuple(s for s in self.sections if isinstance(s, Yolo))

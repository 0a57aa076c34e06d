"""The sections of a darknet cfg as values, with resolved references.

The meaning is that of the PyTorch dialect (YOLOR's main branch and its relatives), in which a state dict names a layer
by the index of its section: `module_list.<index>`.
"""

from __future__ import annotations

from dataclasses import dataclass

ACTIVATIONS = {"leaky": "LeakyReLU", "swish": "Swish", "mish": "Mish", "logistic": "Sigmoid", "silu": "SiLU"}
"""Upstream's words for activations, and torch's classes; any other word means none."""


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
    """[convolutional]: a convolution, then BatchNorm (eps 1e-4) if `batch_normalize`, then the activation.

    Attributes:
        filters: channels of the output.
        sizes: sides of the square kernels.  More than one is a MixConv: each kernel computes a part of the channels.
        stride_hw: stride down and across.
        pad: True if each side is padded by size // 2; otherwise there is no padding.
        groups: groups of channels.
        batch_normalize: without it the convolution has a bias.
        activation: the file's word.  Upstream knows leaky (slope 0.1), swish, silu, mish and logistic; any other word,
            including `linear` and `relu`, means none there.
    """

    filters: int
    sizes: tuple[int, ...]
    stride_hw: tuple[int, int]
    pad: bool
    groups: int
    batch_normalize: bool
    activation: str


@dataclass(frozen=True, slots=True)
class Route(Section):
    """[route], [route2], [route3]: the sources joined along the channels; [route_lhalf]: the first half of each.

    Attributes:
        sources: one or more earlier sections, in the order of the channels.
        groups, group_id: part `group_id` of `groups` equal parts of the channels of each source, as darknet itself and
            some forks read it.  YOLOR reads no group_id and leaves `groups` of a route unused.
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
        activation: the file's word; the PyTorch dialect never applies it.
    """

    sources: tuple[int, ...]
    weighted: bool
    activation: str


@dataclass(frozen=True, slots=True)
class Pool(Section):
    """[maxpool], [local_avgpool]: padded by (size - 1) // 2 on each side; zeros count in the average.

    Size 2 at stride 1 is the exception: one row of zeros below, one column of zeros to the right, nothing else.
    """

    size: int
    stride: int

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
    """

    source: int

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
    """

    classes: int
    anchors_px: tuple[tuple[float, float], ...]
    all_anchors_px: tuple[tuple[float, float], ...]
    mask: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Net:
    """[net]: the training image.  None if the file does not say."""

    line: int
    width: int | None
    height: int | None
    channels: int


@dataclass(frozen=True, slots=True)
class DarknetCfg:
    """A cfg: the network as a sequence of sections.

    Attributes:
        name: of the file.
        net: its first section.
        sections: the others; `sections[i].index` is i.
    """

    name: str
    net: Net
    sections: tuple[Section, ...]

    @property
    def yolos(self) -> tuple[Yolo, ...]:
        """The levels of the head in the order of the file, which is the order of the output's rows."""
        return tuple(s for s in self.sections if isinstance(s, Yolo))

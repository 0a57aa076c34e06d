"""Formulas by which anchor-free heads decode boxes and scores, as data: what a head's convolutions may mean.

Sources: ultralytics 8.4, utils/tal.py; PaddleDetection 2.8, ppdet/modeling/heads/{pico,ppyoloe}_head.py;
super-gradients 3.7, yolo_nas/dfl_heads.py; DAMO-YOLO 0.3, heads/zero_head.py; mmdetection 3.3,
dense_heads/{rtmdet,fcos,yolox}_head.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import PointFormula
from rkdeploy.host.graph.head import TapRole
from rkdeploy.host.graph.head_walk import HeadConv

Values = NDArray[np.float32]
Distance = Literal["linear", "exp", "relu", "pixels"]
_MAX_BINS = 64
_FEWEST_BINS = 4


@dataclass(frozen=True, slots=True)
class ConvPart:
    """Neighboring channels of a level's convolution.

    Attributes:
        conv: index of the convolution among those of its level.
        first: first channel.
        count: number of channels.
    """

    conv: int
    first: int
    count: int

    def of(self, noise: Sequence[Values]) -> Values:
        """The channels, (count, cells)."""
        return noise[self.conv][self.first : self.first + self.count]


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """Channels of the scores, and those of the objectness where there is one."""

    scores: ConvPart
    objectness: ConvPart | None = None


@dataclass(frozen=True, slots=True)
class BoxFormula:
    """One way to decode boxes.

    Attributes:
        role: of the channels in a contract.
        offset: of the cell's point from its corner, in cells.
        corners: boxes are x1, y1, x2, y2 instead of center and size.
        distance: what is done to four raw distances.
    """

    role: TapRole
    offset: float
    corners: bool
    distance: Distance = "linear"

    def parts(self, convs: Sequence[HeadConv], classes: Sequence[int]) -> Iterator[ConvPart]:
        """Channels that may be boxes: a whole convolution, or what the classes leave of one.

        Args:
            convs: those of a level.
            classes: possible numbers of classes.
        """
        for index, conv in enumerate(convs):
            channels = conv.shape[1]
            if self._fits(channels):
                yield ConvPart(index, 0, channels)
            for count in {channels - n for n in classes if self._fits(channels - n)}:
                yield ConvPart(index, channels - count, count)
                yield ConvPart(index, 0, count)

    def _fits(self, channels: int) -> bool:
        if self.role != "dfl_boxes":
            return channels == 4
        return channels % 4 == 0 and _FEWEST_BINS <= channels // 4 <= _MAX_BINS

    def decoded(self, raw: Values, grid: tuple[int, int], stride: int) -> Values:
        """Boxes in pixels, (4, cells), of raw channels (count, cells)."""
        y, x = (axis.ravel() for axis in np.indices(grid))
        point = np.stack((x, y)) + self.offset
        if self.role == "center_boxes":
            center, size = raw[:2] + point, np.exp(raw[2:])
            low, high = center - size / 2, center + size / 2
        else:
            distances = self._distances(raw.astype(np.float64), stride)
            low, high = point - distances[:2], point + distances[2:]
        both = (low, high) if self.corners else ((low + high) / 2, high - low)
        boxes: Values = (np.concatenate(both) * stride).astype(np.float32)
        return boxes

    def _distances(self, raw: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
        """Distances in cells, (4, cells)."""
        if self.role == "dfl_boxes":
            weights = np.exp(raw.reshape(4, -1, raw.shape[1]))
            bins = np.arange(weights.shape[1])[:, None]
            return np.asarray((weights * bins).sum(axis=1) / weights.sum(axis=1))
        if self.distance == "exp":
            return np.asarray(np.exp(raw))
        if self.distance == "pixels":
            return raw / stride
        return np.maximum(raw, 0) if self.distance == "relu" else raw

    def points(self, score: Literal["product", "root"]) -> PointFormula:
        """The formula as a contract says it."""
        return PointFormula(self.offset, score, distance=self.distance)


_BOXES_BY_LIKELIHOOD: tuple[tuple[TapRole, Distance, float], ...] = (
    ("dfl_boxes", "linear", 0.5),
    ("dfl_boxes", "linear", 0.0),
    ("ltrb_boxes", "linear", 0.0),
    ("ltrb_boxes", "linear", 0.5),
    ("ltrb_boxes", "pixels", 0.0),
    ("ltrb_boxes", "pixels", 0.5),
    ("ltrb_boxes", "exp", 0.0),
    ("ltrb_boxes", "exp", 0.5),
    ("ltrb_boxes", "relu", 0.0),
    ("ltrb_boxes", "relu", 0.5),
    ("center_boxes", "linear", 0.0),
)
BOXES = tuple(
    BoxFormula(role, offset, corners, distance)
    for corners in (True, False)
    for role, distance, offset in _BOXES_BY_LIKELIHOOD
)
"""Boxes are tried in this order."""


@dataclass(frozen=True, slots=True)
class ScoreFormula:
    """One way to compute scores.

    Attributes:
        objectness: True if the head tells objects from background by themselves.
        score: how a contract joins the two.
    """

    objectness: bool
    score: Literal["product", "root"] = "product"

    def parts(self, convs: Sequence[HeadConv], box: ConvPart, classes: int) -> Iterator[ScoreParts]:
        """Channels that may be scores, next to those of the box.

        Args:
            convs: those of a level.
            box: channels of the level's boxes.
            classes: number of classes.
        """
        for index, conv in enumerate(convs):
            for first in _free(conv.shape[1], classes, box if box.conv == index else None):
                scores = ConvPart(index, first, classes)
                if not self.objectness:
                    yield ScoreParts(scores)
                    continue
                for other, beside in enumerate(convs):
                    taken = [part for part in (box, scores) if part.conv == other]
                    if beside.shape[1] - sum(part.count for part in taken) == 1:
                        channel = _left_over(beside.shape[1], taken)
                        yield ScoreParts(scores, ConvPart(other, channel, 1))

    def joined(self, parts: ScoreParts, noise: Sequence[Values]) -> Values:
        """Scores, (classes, cells)."""
        scores = _sigmoid(parts.scores.of(noise))
        if parts.objectness is not None:
            scores = scores * _sigmoid(parts.objectness.of(noise))
        return np.sqrt(scores) if self.score == "root" else scores


SCORES = (ScoreFormula(False), ScoreFormula(True, "product"), ScoreFormula(True, "root"))
"""Scores are tried in this order."""


def _free(channels: int, wanted: int, box: ConvPart | None) -> list[int]:
    """First channels of a convolution from which on the wanted number is free of the box; a spare class is last."""
    if box is None:
        return [0] if wanted <= channels else []
    behind = box.first + box.count
    starts = [0] if wanted <= box.first else []
    return [*starts, behind] if behind + wanted <= channels else starts


def _left_over(channels: int, taken: Sequence[ConvPart]) -> int:
    """The one channel of a convolution that no part has."""
    covered = {n for part in taken for n in range(part.first, part.first + part.count)}
    return next(n for n in range(channels) if n not in covered)


def _sigmoid(x: Values) -> Values:
    values: Values = (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)
    return values


@dataclass(frozen=True, slots=True)
class _Form:
    """Form of a kind of head; None and 0 stand for any."""

    kind: str
    role: TapRole
    bins: int = 0
    offset: float | None = None
    objectness: bool = False
    score: Literal["product", "root"] = "product"

    def fits(self, boxes: BoxFormula, bins: int, scores: ScoreFormula) -> bool:
        """True if a head has this form."""
        same = (self.role, self.objectness, self.score) == (boxes.role, scores.objectness, scores.score)
        return same and self.bins in (0, bins) and self.offset in (None, boxes.offset)


_FORMS = (
    _Form("picodet", "dfl_boxes", bins=8, objectness=True, score="root"),
    _Form("nanodet", "dfl_boxes", bins=8),
    _Form("dfl17", "dfl_boxes", bins=17),
    _Form("rtmdet", "ltrb_boxes", offset=0.0),
    _Form("yolox", "center_boxes", objectness=True),
)


def kind_of(boxes: BoxFormula, channels: int, scores: ScoreFormula) -> str:
    """Kind of a head by its form; empty for one of no family known here, and for boxes of center and size (YOLOv8's).

    Args:
        boxes: formula of the boxes.
        channels: of the boxes.
        scores: formula of the scores.
    """
    if not boxes.corners:
        return ""
    bins = channels // 4 if boxes.role == "dfl_boxes" else 0
    return next((form.kind for form in _FORMS if form.fits(boxes, bins, scores)), "")

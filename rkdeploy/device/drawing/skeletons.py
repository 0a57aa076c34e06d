"""Skeletons: limbs between keypoints, and their colors.

Left and right of a body have cool and warm colors; the colors are Okabe and Ito's.  The number of keypoints suggests
the layout that a model was most likely trained with; otherwise the points are drawn in the order of a color ramp
and numbered from 0 to distinguish them.
"""

from __future__ import annotations

from dataclasses import dataclass

from rkdeploy.device.drawing.colors import Bgr, bgr, ramp_color

_BLUE, _SKY, _GREEN = bgr((0x3D, 0x8F, 0xD1)), bgr((0x56, 0xB4, 0xE9)), bgr((0x00, 0x9E, 0x73))
_YELLOW, _ORANGE, _VERMILION = bgr((0xF0, 0xE4, 0x42)), bgr((0xE6, 0x9F, 0x00)), bgr((0xE0, 0x6A, 0x10))
_PURPLE = bgr((0xCC, 0x79, 0xA7))


@dataclass(frozen=True, slots=True)
class Limb:
    """A line between two keypoints, by their indices."""

    start: int
    end: int
    color: Bgr


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Limbs and colors of an object's keypoints.

    Attributes:
        limbs: lines, the later ones on top.
        point_colors: one per keypoint.
        numbered: True to draw each point's index, if there is room.
        arrow: True for an arrow head at the end of each limb.
    """

    limbs: tuple[Limb, ...]
    point_colors: tuple[Bgr, ...]
    numbered: bool = False
    arrow: bool = False


def skeleton_for(keypoint_count: int) -> Skeleton:
    """The usual skeleton for a number of keypoints.

    17 are COCO's person, 21 a hand, 68 a face (iBUG 300-W), 5 a face's eyes, nose and corners of the mouth, 2 one line
    from the first to the second; others are single points in a row.
    """
    return _KNOWN.get(keypoint_count) or _points(keypoint_count)


def _points(count: int) -> Skeleton:
    return Skeleton((), tuple(ramp_color(i, count) for i in range(count)), numbered=True)


def _person() -> Skeleton:
    """COCO's person: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles; each left, then right.

    https://cocodataset.org/#keypoints-2017
    """
    limbs = [Limb(a, b, _GREEN) for a, b in ((5, 6), (5, 11), (6, 12), (11, 12))]
    limbs += [Limb(a, b, _YELLOW) for a, b in ((0, 1), (0, 2), (1, 3), (2, 4))]
    limbs += [Limb(a, b, _BLUE) for a, b in ((11, 13), (13, 15))]
    limbs += [Limb(a, b, _VERMILION) for a, b in ((12, 14), (14, 16))]
    limbs += [Limb(a, b, _SKY) for a, b in ((5, 7), (7, 9))]
    limbs += [Limb(a, b, _ORANGE) for a, b in ((6, 8), (8, 10))]
    arms, legs = (_SKY, _ORANGE), (_BLUE, _VERMILION)
    return Skeleton(tuple(limbs), (_YELLOW,) * 5 + arms * 3 + legs * 3)


def _hand() -> Skeleton:
    """A hand: the wrist, then four points per finger from its root to its tip, the thumb first.

    https://ai.google.dev/edge/mediapipe/solutions/vision/hand_landmarker
    """
    fingers = (_YELLOW, _ORANGE, _PURPLE, _SKY, _GREEN)
    limbs = [Limb(a, b, _BLUE) for a, b in ((0, 5), (5, 9), (9, 13), (13, 17), (0, 17))]
    limbs.append(Limb(0, 1, _YELLOW))
    limbs += [
        Limb(root + i, root + i + 1, color)
        for root, color in zip((1, 5, 9, 13, 17), fingers, strict=True)
        for i in range(3)
    ]
    return Skeleton(tuple(limbs), (_BLUE, *(color for color in fingers for _ in range(4))))


def _face_outline() -> Skeleton:
    """A face: jaw, brows, nose, eyes, mouth: https://ibug.doc.ic.ac.uk/resources/300-W/."""
    # first point, last point, True for a closed line
    parts = (
        (0, 16, False, _BLUE), (17, 21, False, _SKY), (22, 26, False, _ORANGE), (27, 30, False, _GREEN),
        (31, 35, False, _GREEN), (36, 41, True, _SKY), (42, 47, True, _ORANGE), (48, 59, True, _YELLOW),
        (60, 67, True, _YELLOW),
    )  # fmt: skip
    limbs: list[Limb] = []
    colors: list[Bgr] = []
    for first, last, closed, color in parts:
        limbs += [Limb(i, i + 1, color) for i in range(first, last)]
        limbs += [Limb(last, first, color)] if closed else []
        colors += [color] * (last - first + 1)
    return Skeleton(tuple(limbs), tuple(colors))


_KNOWN = {
    2: Skeleton((Limb(0, 1, _ORANGE),), (_ORANGE, _ORANGE), arrow=True),
    5: Skeleton((), (_SKY, _ORANGE, _GREEN, _BLUE, _VERMILION)),
    17: _person(),
    21: _hand(),
    68: _face_outline(),
}

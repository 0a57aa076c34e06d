"""Drawn scenes for chains: signs with four colored marks, pages with highlighted lines, faces with five marks.

A sign or line has eight cells of 6 x 12 dots, with a letter of 5 x 7 dots in each: a font of our own, the same with
every release of OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.chain.face_alignment import TEMPLATE

CHARACTERS: Final = "023457ACEHKLTUX"
CELLS: Final = 8
SCENE: Final = 256
"""Side of a scene in pixels."""
MARK_PX: Final = 5.0
"""Radius of a mark."""
MARKS: Final = ((20, 20, 235), (20, 235, 20), (235, 20, 20), (20, 235, 235))
"""BGR of the marks at top left, top right, bottom right, bottom left; noise does not reach the ends of the range."""
FACE_MARKS: Final = (*MARKS, (235, 20, 235))
"""BGR of the marks at the eyes, the nose and the corners of the mouth, left in the image first."""
HIGHLIGHT, HIGHLIGHTED_INK = (153, 215, 255), (0, 0, 102)
"""BGR of paper and ink under a highlighter: both are redder than blue by the same, by which it is found."""
STRIP: Final = (0.8453, 0.3806)
"""Width and height of a line's highlight as shares of its cells': what PaddleOCR's enlargement makes the cells of."""
STRIP_SHIFT_PX: Final = 0.94
"""Distance by which its whole pixels move a box to the left and up."""
_DOTS: Final = dict(
    zip(
        CHARACTERS,
        (
            (14, 17, 19, 21, 25, 17, 14), (14, 17, 1, 2, 4, 8, 31), (31, 2, 4, 2, 1, 17, 14),
            (2, 6, 10, 18, 31, 2, 2), (31, 16, 30, 1, 1, 17, 14), (31, 1, 2, 4, 8, 8, 8),
            (14, 17, 17, 17, 31, 17, 17), (14, 17, 16, 16, 16, 17, 14), (31, 16, 16, 30, 16, 16, 31),
            (17, 17, 17, 31, 17, 17, 17), (17, 18, 20, 24, 20, 18, 17), (16, 16, 16, 16, 16, 16, 31),
            (31, 4, 4, 4, 4, 4, 4), (17, 17, 17, 17, 17, 17, 14), (17, 17, 10, 4, 10, 17, 17),
        ),
        strict=True,
    )
)  # fmt: skip
_SCALE: Final = 8


@dataclass(frozen=True)
class DrawnText:
    """A text in a scene.

    Attributes:
        text: what it says.
        corners: (4, 2) float32: of its cells, top left, top right, bottom right, bottom left, in pixels.
    """

    text: str
    corners: NDArray[np.float32]


def glyph(letter: str) -> NDArray[np.float32]:
    """The dots of a letter in its cell, (12, 6): 1 is ink."""
    dots = [[(row >> (4 - x)) & 1 for x in range(5)] for row in _DOTS[letter]]
    return np.pad(np.array(dots, np.float32), ((2, 3), (0, 1)))


def random_text(rng: np.random.Generator) -> str:
    """Eight characters, none twice in a row: a reader with one column per cell cannot tell these from one."""
    text = ""
    while len(text) < CELLS:
        letter = CHARACTERS[int(rng.integers(len(CHARACTERS)))]
        text += letter if not text.endswith(letter) else ""
    return text


def sign_scene(rng: np.random.Generator, count: int) -> tuple[NDArray[np.uint8], list[DrawnText]]:
    """A street of dull colors with up to two signs in perspective, and what they say, from top to bottom."""
    scene = _dull(rng)
    found = []
    for i in range(count):
        text, corners = random_text(rng), _corners(rng, SCENE / count * (i + 0.5), warp_px=3.0)
        middle = corners.mean(axis=0)
        cv2.fillConvexPoly(scene, np.rint(middle + (corners - middle) * (1.14, 1.5)).astype(np.int32), (255, 255, 255))
        _ink(scene, text, corners)
        for color, (x, y) in zip(MARKS, corners.tolist(), strict=True):
            _blend(scene, _disk(x, y), color)
        found.append(DrawnText(text, corners))
    return _noisy(scene, rng), found


def text_page(rng: np.random.Generator, count: int) -> tuple[NDArray[np.uint8], list[DrawnText]]:
    """A light page with up to four highlighted lines, and what they say, from top to bottom."""
    page = np.full((SCENE, SCENE, 3), 245, np.uint8)
    found = []
    for i in range(count):
        text, corners = random_text(rng), _corners(rng, SCENE / count * (i + 0.5), warp_px=0.0)
        along, across = (corners[1] - corners[0]) * (1 - STRIP[0]) / 2, (corners[3] - corners[0]) * (1 - STRIP[1]) / 2
        strip = corners + np.array((along + across, across - along, -along - across, along - across))
        cover = np.zeros((SCENE, SCENE), np.uint8)
        ends = np.rint((strip - 0.5 + STRIP_SHIFT_PX) * 16).astype(np.int32)
        cv2.fillConvexPoly(cover, ends, (255,), cv2.LINE_AA, 4)
        marked = np.full_like(page, 0)
        marked[:] = HIGHLIGHT
        _ink(marked, text, corners, HIGHLIGHTED_INK)
        _ink(page, text, corners)
        share = cover[:, :, None].astype(np.float32) / 255
        page[:] = np.rint(page * (1 - share) + marked * share).astype(np.uint8)
        found.append(DrawnText(text, corners))
    return _noisy(page, rng), found


def face_scene(rng: np.random.Generator, people: tuple[int, ...]) -> NDArray[np.uint8]:
    """A dull scene with one or two faces, from left to right: patterns of their own with marks at their landmarks."""
    scene = _dull(rng)
    for i, person in enumerate(people):
        scale, angle = rng.uniform(0.8, 0.95), rng.uniform(-0.25, 0.25)
        turn = scale * np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
        middle = np.array((SCENE / len(people) * (i + 0.5), rng.uniform(90, SCENE - 90)))
        landmarks = (TEMPLATE - 56) @ turn.T + middle
        matrix = np.concatenate((turn, (middle - turn @ (56.0, 56.0))[:, None]), axis=1)
        pattern = np.random.default_rng(person).uniform(50, 200, (7, 7)).astype(np.float32)
        face = cv2.resize(pattern, (112, 112), interpolation=cv2.INTER_CUBIC)
        cover = cv2.warpAffine(np.ones((112, 112), np.float32), matrix, (SCENE, SCENE))
        warped = cv2.warpAffine(face, matrix, (SCENE, SCENE), borderMode=cv2.BORDER_REPLICATE)
        scene[:] = np.rint(scene * (1 - cover[:, :, None]) + (warped * cover)[:, :, None]).clip(0, 255).astype(np.uint8)
        for color, (x, y) in zip(FACE_MARKS, landmarks.tolist(), strict=True):
            _blend(scene, _disk(x, y), color)
    return _noisy(scene, rng)


def _corners(rng: np.random.Generator, middle_y: float, warp_px: float) -> NDArray[np.float32]:
    """Corners of the cells of a sign somewhere around a height: turned, scaled, each moved by up to `warp_px`."""
    half = np.array((64.0, 16.0)) * rng.uniform(0.9, 1.1)
    angle = rng.uniform(-0.12, 0.12)
    turn = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
    middle = np.array((rng.uniform(92, SCENE - 92), middle_y + rng.uniform(-4, 4)))
    corners = np.array(((-1, -1), (1, -1), (1, 1), (-1, 1))) * half @ turn.T + middle
    return np.asarray(corners + rng.uniform(-warp_px, warp_px, (4, 2)), np.float32)


def _dull(rng: np.random.Generator) -> NDArray[np.uint8]:
    gray = cv2.resize(rng.uniform(60, 190, (5, 5)).astype(np.float32), (SCENE, SCENE), interpolation=cv2.INTER_LINEAR)
    return np.clip(gray[:, :, None] + rng.uniform(-12, 12, 3), 0, 255).astype(np.uint8)


def _ink(
    scene: NDArray[np.uint8], text: str, corners: NDArray[np.float32], color: tuple[int, int, int] = (10, 10, 10)
) -> None:
    """Write a text in the cells that lie between the corners."""
    dots = np.concatenate([glyph(letter) for letter in text], axis=1)
    large = cv2.resize(dots, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_NEAREST)
    large = np.asarray(cv2.GaussianBlur(large, (0, 0), 3.0), np.float32)
    height, width = large.shape
    edges = np.array(((0, 0), (width, 0), (width, height), (0, height)), np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(edges.astype(np.float32), (corners - 0.5).astype(np.float32))
    _blend(scene, np.asarray(cv2.warpPerspective(large, matrix, (SCENE, SCENE)), np.float32), color)


def _disk(x: float, y: float) -> NDArray[np.float32]:
    """Cover of a mark, (256, 256), 0 to 1: its edge is one pixel wide."""
    rows, columns = np.mgrid[:SCENE, :SCENE] + 0.5
    return np.asarray(np.clip(MARK_PX + 0.5 - np.hypot(columns - x, rows - y), 0, 1), np.float32)


def _blend(scene: NDArray[np.uint8], share: NDArray[np.float32], color: tuple[int, int, int]) -> None:
    cover = share[:, :, None]
    scene[:] = np.rint(scene * (1 - cover) + np.array(color, np.float32) * cover).astype(np.uint8)


def _noisy(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(picture + rng.normal(0, 1.0, picture.shape), 0, 255).astype(np.uint8)

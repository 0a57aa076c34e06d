"""Pictures of several streams in one, in equal cells with their names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from rkdeploy.device.drawing.colors import INK, PAPER
from rkdeploy.device.drawing.pen import pen_for
from rkdeploy.device.drawing.text import fit_text, put_text, text_height, text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_GAP_PX: Final = 4
_GROUND: Final = (24, 20, 18)
_EMPTY: Final = (40, 34, 30)


@dataclass(frozen=True, slots=True, eq=False)
class MosaicCell:
    """One stream in the picture.

    Attributes:
        name: written into its corner.
        image: (H, W, 3) uint8 BGR; None before its first frame.
    """

    name: str
    image: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class MosaicLayout:
    """Places of the cells.

    Attributes:
        columns: cells in a row.
        rows: number of rows.
        cell_wh: width and height of a cell in pixels.
    """

    columns: int
    rows: int
    cell_wh: tuple[int, int]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the whole in pixels."""
        width, height = self.cell_wh
        return (
            self.columns * width + (self.columns - 1) * _GAP_PX,
            self.rows * height + (self.rows - 1) * _GAP_PX,
        )

    def corner(self, cell: int) -> tuple[int, int]:
        """X and y of a cell's upper left corner."""
        width, height = self.cell_wh
        return cell % self.columns * (width + _GAP_PX), cell // self.columns * (height + _GAP_PX)

    def cell_at(self, x: int, y: int) -> int:
        """The cell at a point; past the last one where there is none."""
        width, height = self.cell_wh
        return min(x // (width + _GAP_PX), self.columns - 1) + y // (height + _GAP_PX) * self.columns


def mosaic_layout(count: int, width_px: int) -> MosaicLayout:
    """Places of some cells of 16:9 in a picture of about that width, as nearly square as they can be laid."""
    columns = max(1, math.ceil(math.sqrt(count)))
    cell_w = max(32, (width_px - (columns - 1) * _GAP_PX) // columns)
    return MosaicLayout(columns, max(1, -(-count // columns)), (cell_w, max(18, round(cell_w * 9 / 16))))


def mosaic(cells: Sequence[MosaicCell], width_px: int) -> NDArray[np.uint8]:
    """All cells in one picture.

    Args:
        cells: at least one, row by row.
        width_px: about the width of the picture.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    layout = mosaic_layout(len(cells), width_px)
    width, height = layout.size_wh
    whole = np.full((height, width, 3), _GROUND, np.uint8)
    for number, cell in enumerate(cells):
        x, y = layout.corner(number)
        region = whole[y : y + layout.cell_wh[1], x : x + layout.cell_wh[0]]
        region[:] = _EMPTY
        if cell.image is not None:
            _place(region, cell.image)
        _write_name(region, cell)
    return whole


def _place(region: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    """Fit an image into a cell, in its middle."""
    (height, width), (high, wide) = region.shape[:2], image.shape[:2]
    scale = min(height / high, width / wide)
    fitted_wh = max(1, min(width, round(wide * scale))), max(1, min(height, round(high * scale)))
    fitted = cv2.resize(image, fitted_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (width - fitted_wh[0]) // 2, (height - fitted_wh[1]) // 2
    region[:] = _GROUND
    region[top : top + fitted_wh[1], left : left + fitted_wh[0]] = fitted


def _write_name(region: NDArray[np.uint8], cell: MosaicCell) -> None:
    """Write a cell's name on a plate in its upper left corner; a cell without a picture says so."""
    height, width = region.shape[:2]
    pen = pen_for(width * 3 // 2, height * 3 // 2)
    rest = "" if cell.image is not None else "(no frame yet)"
    text = fit_text(cell.name, rest, width - 4 * pen.pad_px, pen)
    high = text_height(pen) + 4 * pen.pad_px
    if not text or high > height:
        return
    wide = min(width, text_width(text, pen) + 4 * pen.pad_px)
    cv2.rectangle(region, (0, 0), (wide - 1, high - 1), INK, cv2.FILLED)
    put_text(region, text, (2 * pen.pad_px, high - 2 * pen.pad_px), PAPER, pen)

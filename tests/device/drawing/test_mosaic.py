"""Pictures of several streams in one."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.device.drawing.mosaic import MosaicCell, mosaic, mosaic_layout


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 2, 2), (5, 3, 2), (9, 3, 3), (64, 8, 8)]
)
def test_cells_are_laid_out_in_a_square(count: int, columns: int, rows: int) -> None:
    """Every cell is inside, none overlaps another, and each is found again by a point in it."""
    layout = mosaic_layout(count, 1280)
    assert (layout.columns, layout.rows) == (columns, rows)
    (width, height), (wide, high) = layout.cell_wh, layout.size_wh
    assert wide <= 1280
    for cell in range(count):
        x, y = layout.corner(cell)
        assert 0 <= x <= wide - width
        assert 0 <= y <= high - height
        assert layout.cell_at(x, y) == layout.cell_at(x + width - 1, y + height - 1) == cell


def test_each_picture_is_in_its_cell() -> None:
    """Wide and tall pictures keep their shape in the middle; a stream without one has a dark cell with its name."""
    wide, tall = np.full((90, 320, 3), 200, np.uint8), np.full((900, 300, 3), 120, np.uint8)
    whole = mosaic([MosaicCell("gate", wide), MosaicCell("yard", tall), MosaicCell("hall", None)], 1000)
    layout = mosaic_layout(3, 1000)
    width, height = layout.cell_wh
    assert whole.shape == (layout.size_wh[1], layout.size_wh[0], 3)

    def region(cell: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        x, y = layout.corner(cell)
        return whole[y : y + height, x : x + width]

    assert (region(0)[height // 2, [2, width - 3]] == 200).all()
    assert (region(0)[[height - 2], [width // 2]] < 60).all(), "a band below the wide picture"
    assert (region(1)[[2, height - 3], width // 2] == 120).all()
    assert (region(1)[height // 2, [2, width - 3]] < 60).all()
    assert region(2).max() > 200, "its name"
    assert (region(2)[height // 2 :] < 60).all()


def test_names_that_do_not_fit_are_left_out() -> None:
    """A tiny cell has no plate, and a name of any letters no error."""
    cells = [MosaicCell("\u87ba\u6bcd " * 40, np.full((9, 16, 3), 7, np.uint8))] * 64
    assert mosaic(cells, 64).shape[2] == 3

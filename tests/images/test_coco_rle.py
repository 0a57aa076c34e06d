"""Masks in COCO's string."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from rkdeploy.images.coco_rle import mask_of_rle, rle_counts


def decoded(counts: str, height: int, width: int) -> NDArray[np.bool_]:
    """The mask, read as maskApi.c's `rleFrString` and `rleDecode` do."""
    lengths: list[int] = []
    at = 0
    while at < len(counts):
        value = shift = 0
        more = True
        while more:
            code = ord(counts[at]) - 48
            value |= (code & 0x1F) << shift
            more = bool(code & 0x20)
            at += 1
            shift += 5
            if not more and code & 0x10:
                value |= -1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return values.reshape(width, height).T


# What pycocotools 2.0.11 says of these.
RING = (
    "VX19b12M4M2N2N2O0O2N2O0O2O0O2O0O2O0O2O0O2O000O2O000O2O00000O2O00000O2O00000O2O000000000O2O0000000000000O2"
    "O0000000000000000000000000000000000000000000000000000000000000000000000000001N100000000000001N10000000001"
    "N1000001N1000001N1000001N10001N10001N101N101N101N101N101N2N101N2N2N3L3NWZ2"
)


def test_strings_are_those_of_pycocotools() -> None:
    """A small mask with a hole and a run over the end of a column, and a large ellipse."""
    small = np.zeros((5, 6), np.bool_)
    small[1:5, 1:4] = True
    small[0, 3] = True
    small[2, 2] = False
    assert rle_counts(small, 0, 0, (5, 6)) == "641M069"
    row, column = np.mgrid[:60, :200]
    assert rle_counts(((column - 90) / 70) ** 2 + ((row - 30) / 25) ** 2 < 1, 0, 0, (60, 200)) == RING


@given(st.data())
def test_masks_come_back(data: st.DataObject) -> None:
    """Any part anywhere in any image, also of no pixels, decodes to the same pixels."""
    height, width = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 24))
    rows, columns = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    top, left = data.draw(st.integers(0, height - rows)), data.draw(st.integers(0, width - columns))
    pixels = data.draw(hnp.arrays(np.bool_, (rows, columns)))
    whole = np.zeros((height, width), np.bool_)
    whole[top : top + rows, left : left + columns] = pixels
    counts = rle_counts(pixels, left, top, (height, width))
    assert np.array_equal(decoded(counts, height, width), whole)
    assert counts == rle_counts(whole, 0, 0, (height, width))


@pytest.mark.parametrize("value", [False, True])
def test_runs_longer_than_16_bits(value: bool) -> None:
    """A whole 4K frame of one value is one or two numbers."""
    pixels = np.full((2160, 3840), value)
    counts = rle_counts(pixels, 0, 0, (2160, 3840))
    assert len(counts) <= 6
    assert np.array_equal(decoded(counts, 2160, 3840), pixels)


@given(st.data())
def test_written_masks_are_read_again(data: st.DataObject) -> None:
    """`mask_of_rle` gives back what `rle_counts` wrote, which pycocotools' own reading gives too."""
    height, width = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 24))
    pixels = data.draw(hnp.arrays(np.bool_, (height, width)))
    counts = rle_counts(pixels, 0, 0, (height, width))
    assert np.array_equal(mask_of_rle(counts, (height, width)), pixels)
    assert np.array_equal(mask_of_rle(RING, (60, 200)), decoded(RING, 60, 200))


@given(st.text(max_size=60), st.integers(1, 12), st.integers(1, 12))
def test_strangers_strings_are_no_more_than_a_mask(counts: str, height: int, width: int) -> None:
    """Whatever the text is, a mask of the image's size comes out."""
    assert mask_of_rle(counts, (height, width)).shape == (height, width)

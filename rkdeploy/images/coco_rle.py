r"""Masks in COCO's format: run lengths down the columns of the image, in a string.

`pycocotools.mask.decode({"size": [height, width], "counts": text})` returns the mask.  The format is that of
`rleToString` in its maskApi.c (https://github.com/cocodataset/cocoapi): lengths of alternating runs of background and
object, beginning with background; from the fourth length on the difference to the last but one; each number in groups
of five bits from the lowest, with a sixth bit if more follow, as the character of 48 + group.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GROUPS = 13  # groups of five bits in 64


def rle_counts(pixels: NDArray[np.bool_], left: int, top: int, image_hw: tuple[int, int]) -> str:
    """The `counts` of a mask.

    Args:
        pixels: (h, w) bool, the mask or the part of it that holds the object, inside the image.
        left: image column of the part's first column.
        top: image row of its first row.
        image_hw: height and width of the image.
    """
    height, width = image_hw
    return _text(_run_lengths(pixels, left, top, height, height * width))


def _run_lengths(pixels: NDArray[np.bool_], left: int, top: int, height: int, total: int) -> NDArray[np.int64]:
    """Lengths of the runs, background first."""
    rows, columns = pixels.shape
    # Column after column, each followed by a background pixel: a run begins or ends where neighbors differ.
    flat = np.zeros(1 + columns * (rows + 1), np.bool_)
    flat[1:].reshape(columns, rows + 1)[:, :rows] = pixels.T
    column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]).astype(np.int64), rows + 1)
    edges = (left + column) * height + top + row
    # A run that reaches the image's last row continues in the next column: its end is the next run's start.
    joined = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
    edges = np.delete(edges, np.concatenate((joined, joined + 1)))
    ends = np.append(edges, total) if not len(edges) or edges[-1] < total else edges
    return np.diff(ends, prepend=0)


def _text(counts: NDArray[np.int64]) -> str:
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    codes = np.zeros((len(rest), _GROUPS), np.uint8)
    used = np.zeros(codes.shape, np.bool_)
    more = np.ones(len(rest), np.bool_)
    for group in range(_GROUPS):
        bits = rest & 0x1F
        rest >>= 5
        used[:, group] = more
        done = np.where(bits & 0x10, rest == -1, rest == 0)
        codes[:, group] = bits + np.where(done, 0, 0x20) + 48
        more &= ~done
        if not more.any():
            break
    return codes[used].tobytes().decode("ascii")


def mask_of_rle(counts: str, image_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask from its `counts`, (H, W) bool.

    Args:
        counts: text, possibly from an untrusted file: run lengths beyond the image are cut off, and anything that is
            not a run length ends the mask.
        image_hw: height and width of the image.
    """
    height, width = image_hw
    flat = np.zeros(height * width, np.bool_)
    lengths: list[int] = []
    position, inside, at = 0, False, 0
    text = counts.encode("ascii", "replace")
    while position < len(text) and at < flat.size:
        value, shift, more = 0, 0, True
        while more and position < len(text) and shift < 5 * _GROUPS:
            group = text[position] - 48
            if not 0 <= group < 64:
                return flat.reshape(width, height).T
            value |= (group & 0x1F) << shift
            more = bool(group & 0x20)
            position, shift = position + 1, shift + 5
            if not more and group & 0x10:
                value -= 1 << shift
        if len(lengths) > 2:
            value += lengths[-2]
        if value < 0:
            break
        lengths.append(value)
        if inside:
            flat[at : at + value] = True
        at += value
        inside = not inside
    return flat.reshape(width, height).T

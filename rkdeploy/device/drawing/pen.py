"""Sizes of lines, dots and letters."""

from __future__ import annotations

from dataclasses import dataclass

_CAP_HEIGHT_AT_SCALE_1 = 21  # height in pixels of a capital letter in the Hershey font


@dataclass(frozen=True, slots=True)
class Pen:
    """Sizes for one image size.

    Attributes:
        line_px: width of a box's line.
        edge_px: width of the contrasting edge on either side of it.
        limb_px: largest width of a skeleton's lines; small objects get thinner ones.
        cap_px: height of a capital letter.
        font_scale: for the Hershey font.
        text_px: line width of the letters.
        pad_px: margin around a label's text.
    """

    line_px: int
    edge_px: int
    limb_px: int
    cap_px: int
    font_scale: float
    text_px: int
    pad_px: int


def pen_for(width: int, height: int) -> Pen:
    """Sizes that look the same on a screen, whatever the image size."""
    size = (width * height) ** 0.5
    cap_px = max(7.0, size / 60)
    scale = cap_px / _CAP_HEIGHT_AT_SCALE_1
    return Pen(
        line_px=max(2, round(size / 320)) if size > 160 else 1,
        edge_px=max(1, round(size / 1300)),
        limb_px=max(2, round(size / 220)),
        cap_px=round(cap_px),
        font_scale=scale,
        text_px=max(1, round(scale * 1.9)),
        pad_px=max(2, round(cap_px * 0.35)),
    )

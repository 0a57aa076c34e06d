"""Depth: a color per pixel, near ones light, and a scale that says what the colors mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import INK, PAPER
from rkdeploy.device.drawing.fills import shade
from rkdeploy.device.drawing.pen import Pen
from rkdeploy.device.drawing.text import put_text, text_height, text_width
from rkdeploy.device.postprocess.detections import FoundDepth

_OPACITY: Final = 0.75
_GROUND: Final = 0.72
_COLORS: Final = cv2.COLORMAP_INFERNO
_SAMPLE_PIXELS: Final = 1 << 14
"""Pixels that the range of the colors is taken from."""
_ENDS: Final = (2.0, 98.0)
"""Percentiles of nearness that the ends of the scale stand for: a few wild values would take all colors."""
_BAR_LETTERS: Final = 12
_LEAST_DEPTH: Final = 1e-6


@dataclass(frozen=True, slots=True)
class DepthScale:
    """Range of the colors, in nearness: 1 / depth, or relative inverse depth itself.

    Attributes:
        far, near: nearness of the darkest and of the lightest color.
    """

    far: float
    near: float


def depth_scale(found: FoundDepth) -> DepthScale:
    """The range of the colors for one image; (0, 1) if no value is finite."""
    step = max(1, round((found.values.size / _SAMPLE_PIXELS) ** 0.5))
    near = nearness(found.values[::step, ::step], found.kind)
    near = near[np.isfinite(near)]
    if not near.size:
        return DepthScale(0.0, 1.0)
    low, high = (float(end) for end in np.percentile(near, _ENDS))
    return DepthScale(low, high if high > low else low + max(abs(low), 1.0) * 1e-3)


def nearness(values: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Nearness of depths, of their shape, float32."""
    if kind == "inverse":
        return values
    near: NDArray[np.float32] = np.float32(1.0) / np.maximum(values, np.float32(_LEAST_DEPTH))
    return near


def draw_depth(drawn: NDArray[np.uint8], found: FoundDepth, scale: DepthScale) -> None:
    """Color every pixel by its nearness, in place.

    Args:
        drawn: (H, W, 3) uint8 BGR.
        found: of the same size.
        scale: range of the colors.
    """
    shades = (nearness(found.values, found.kind) - np.float32(scale.far)) * np.float32(255 / (scale.near - scale.far))
    np.nan_to_num(shades, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    np.clip(shades, 0.0, 255.0, out=shades)
    colors = cv2.applyColorMap(shades.astype(np.uint8), _COLORS)
    cv2.addWeighted(drawn, 1.0 - _OPACITY, colors, _OPACITY, 0.0, dst=drawn)


def draw_depth_scale(
    drawn: NDArray[np.uint8], kind: str, scale: DepthScale, pen: Pen, top: int = 0
) -> NDArray[np.int32]:
    """Draw the scale of the colors with the depths at its ends, in place.

    Returns:
        (1, 4) int32 x1, y1, x2, y2 of the panel; (0, 4) if the image is too small for one.
    """
    height, width = drawn.shape[:2]
    margin, pad, letters = pen.pad_px, 2 * pen.pad_px, text_height(pen)
    near, far = (_depth_text(end, kind, name) for end, name in ((scale.near, "near"), (scale.far, "far")))
    space = text_width("0", pen)
    length = max(_BAR_LETTERS * letters, text_width(near, pen) + 2 * space + text_width(far, pen))
    left, first = margin + pad, top + margin + pad
    panel = (margin, top + margin, left + length + pad, first + 2 * letters + pen.pad_px + pad)
    if panel[2] > width - margin or panel[3] > height - margin:
        return np.zeros((0, 4), np.int32)
    shade(drawn[panel[1] : panel[3], panel[0] : panel[2]], INK, _GROUND)
    ramp = np.linspace(255, 0, length).astype(np.uint8)[None].repeat(letters, axis=0)
    drawn[first : first + letters, left : left + length] = cv2.applyColorMap(ramp, _COLORS)
    foot = first + 2 * letters + pen.pad_px
    put_text(drawn, near, (left, foot), PAPER, pen)
    put_text(drawn, far, (left + length - text_width(far, pen), foot), PAPER, pen)
    return np.array([panel], np.int32)


def _depth_text(end: float, kind: str, name: str) -> str:
    """`near 1.5 m`; only the name where there is no unit."""
    if kind != "metric" or end <= 0:
        return name
    return f"{name} {1 / end:.3g} m"

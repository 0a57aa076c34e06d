"""Colors that color-blind people can distinguish, and text colors readable on them."""

from __future__ import annotations

Bgr = tuple[int, int, int]
Rgb = tuple[int, int, int]

PALETTE_RGB: tuple[Rgb, ...] = (
    (0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73), (0xCC, 0x79, 0xA7), (0xF0, 0xE4, 0x42),
    (0xD5, 0x5E, 0x00), (0x56, 0xB4, 0xE9), (0x88, 0x22, 0x55), (0xBB, 0xCC, 0x33), (0x33, 0x22, 0x88),
    (0xFF, 0xAA, 0xBB), (0x11, 0x77, 0x33), (0x99, 0xDD, 0xFF), (0x66, 0x33, 0x00), (0xAA, 0x44, 0x99),
    (0x44, 0xBB, 0x99), (0x88, 0x88, 0x88), (0xEE, 0x88, 0x66), (0xDD, 0xDD, 0xDD), (0x66, 0x11, 0x00),
)  # fmt: skip
"""Class colors, by class id modulo their number.

The first seven are Okabe and Ito's (https://jfly.uni-koeln.de/color/), the rest from Paul Tol's muted and light schemes
(https://sronpersonalpages.nl/~pault/), ordered so that neighbors also differ in lightness.
"""

INK: Bgr = (20, 20, 20)
PAPER: Bgr = (255, 255, 255)

_RAMP_RGB = ((0x4F, 0x6F, 0xC0), (0x21, 0x91, 0x8C), (0x5E, 0xC9, 0x62), (0xFD, 0xE7, 0x25))
"""Like viridis (https://bids.github.io/colormap/) without its dark end, ordered by lightness."""


def bgr(rgb: Rgb) -> Bgr:
    """Red, green, blue in OpenCV's order."""
    return rgb[2], rgb[1], rgb[0]


def class_color(class_id: int) -> Bgr:
    """The color of a class, the same in every image and run."""
    return bgr(PALETTE_RGB[class_id % len(PALETTE_RGB)])


def ramp_color(position: int, count: int) -> Bgr:
    """The color of item `position` of `count` ordered items, dark to light."""
    at = position / max(1, count - 1) * (len(_RAMP_RGB) - 1)
    low = min(int(at), len(_RAMP_RGB) - 2)
    red, green, blue = (
        round(a + (b - a) * (at - low)) for a, b in zip(_RAMP_RGB[low], _RAMP_RGB[low + 1], strict=True)
    )
    return blue, green, red


def text_color(background: Bgr) -> Bgr:
    """Black or white, whichever has the higher contrast (relative luminance, WCAG 2.2)."""
    linear = [(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) for v in (c / 255 for c in background)]
    luminance = 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]
    return INK if (luminance + 0.05) ** 2 > 1.05 * 0.05 else PAPER


def edge_color(color: Bgr) -> Bgr:
    """Edge color of a line: dark for light colors, a tint of the same color for dark ones, so it shows on any
    background.
    """
    if text_color(color) == INK:
        return INK
    blue, green, red = ((2 * 255 + 3 * channel) // 5 for channel in color)
    return blue, green, red

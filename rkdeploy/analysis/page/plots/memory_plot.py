"""The memory map: layers from left to right, addresses from bottom to top, a rectangle for each tensor's life."""

from __future__ import annotations

from collections.abc import Sequence

from rkdeploy.analysis.page.plots.scales import linear, short
from rkdeploy.analysis.page.plots.svg import NARROW_PX, WIDE_PX, Svg, shortened, text_width
from rkdeploy.analysis.report.memory_map import TensorLife

_RIGHT, _TOP, _BOTTOM = 12, 28, 46
_MIB = 1 << 20


def memory_plot(
    lives: Sequence[TensorLife], block_bytes: int, axis: str, vertical_label: str, width: int = WIDE_PX
) -> Svg:
    """All tensors in the block of internal memory.

    Args:
        lives: the tensors.
        block_bytes: size of the block.
        axis: label below.
        vertical_label: label above the vertical axis.
        width: of the drawing.
    """
    narrow = width <= NARROW_PX
    left, height = (40, 300) if narrow else (64, 380)
    svg = Svg(width, height)
    last = max((life.last_layer for life in lives), default=1)
    step = (width - left - _RIGHT) / (last + 1)
    y = linear([block_bytes / _MIB], height - _BOTTOM, _TOP)
    for tick in y.ticks():
        svg.line(left, y(tick), width - _RIGHT, y(tick), "grid" if tick else "axis")
        svg.text(left - 7, y(tick) + 4, short(tick), "soft", "end")
    svg.text(8, 14, vertical_label, "soft")
    for index, life in enumerate(sorted(lives, key=lambda one: (one.first_layer, one.start))):
        x1, x2 = left + life.first_layer * step, left + (life.last_layer + 1) * step
        top, bottom = y(life.end / _MIB), y(life.start / _MIB)
        size = (life.end - life.start) / _MIB
        title = f"{life.name}: {life.first_layer}-{life.last_layer}, {size:.2f} MiB"
        svg.rect(x1 + 0.5, top + 0.5, x2 - x1 - 1, max(bottom - top - 1, 1), f"tensor t{index % 3}", title)
        name = _short(life.name)
        if bottom - top > 15 and x2 - x1 > text_width(name[:4]) + 10:
            svg.text(x1 + 5, (top + bottom) / 2 + 4, shortened(name, x2 - x1 - 8), "on")
    for layer in range(0, last + 1, max(1, -(-last // (6 if narrow else 12)))):
        svg.text(left + (layer + 0.5) * step, height - _BOTTOM + 17, str(layer), "soft", "middle")
    svg.line(left, y(block_bytes / _MIB), width - _RIGHT, y(block_bytes / _MIB), "roof")
    svg.text(width - _RIGHT, height - 8, axis, "soft", "end")
    return svg


def _short(name: str) -> str:
    """A tensor's name without what all of them end with."""
    for ending in ("_output_0", "/Mul", "/Conv", ".act", "_int8"):
        name = name.removesuffix(ending)
    return name

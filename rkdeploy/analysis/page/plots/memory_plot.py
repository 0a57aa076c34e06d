"""The memory map: layers from left to right, addresses from bottom to top, a rectangle for each tensor's life."""

from __future__ import annotations

from collections.abc import Sequence

from rkdeploy.analysis.page.plots.scales import linear, short
from rkdeploy.analysis.page.plots.svg import Svg, shortened, text_width
from rkdeploy.analysis.report.memory_map import TensorLife

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 380, 64, 12, 28, 46
_MIB = 1 << 20


def memory_plot(lives: Sequence[TensorLife], block_bytes: int, axis: str, vertical_label: str) -> Svg:
    """All tensors in the block of internal memory.

    Args:
        lives: the tensors.
        block_bytes: size of the block.
        axis: label below.
        vertical_label: label above the vertical axis.
    """
    svg = Svg(_WIDTH, _HEIGHT)
    last = max((life.last_layer for life in lives), default=1)
    step = (_WIDTH - _LEFT - _RIGHT) / (last + 1)
    y = linear([block_bytes / _MIB], _HEIGHT - _BOTTOM, _TOP)
    for tick in y.ticks():
        svg.line(_LEFT, y(tick), _WIDTH - _RIGHT, y(tick), "grid" if tick else "axis")
        svg.text(_LEFT - 7, y(tick) + 4, short(tick), "soft", "end")
    svg.text(8, 14, vertical_label, "soft")
    for index, life in enumerate(sorted(lives, key=lambda one: (one.first_layer, one.start))):
        x1, x2 = _LEFT + life.first_layer * step, _LEFT + (life.last_layer + 1) * step
        top, bottom = y(life.end / _MIB), y(life.start / _MIB)
        size = (life.end - life.start) / _MIB
        title = f"{life.name}: {life.first_layer}-{life.last_layer}, {size:.2f} MiB"
        svg.rect(x1 + 0.5, top + 0.5, x2 - x1 - 1, max(bottom - top - 1, 1), f"tensor t{index % 3}", title)
        name = _short(life.name)
        if bottom - top > 15 and x2 - x1 > text_width(name[:4]) + 10:
            svg.text(x1 + 5, (top + bottom) / 2 + 4, shortened(name, x2 - x1 - 8), "on")
    for layer in range(0, last + 1, max(1, -(-last // 12))):
        svg.text(_LEFT + (layer + 0.5) * step, _HEIGHT - _BOTTOM + 17, str(layer), "soft", "middle")
    svg.line(_LEFT, y(block_bytes / _MIB), _WIDTH - _RIGHT, y(block_bytes / _MIB), "roof")
    svg.text(_WIDTH - _RIGHT, _HEIGHT - 8, axis, "soft", "end")
    return svg


def _short(name: str) -> str:
    """A tensor's name without what all of them end with."""
    for ending in ("_output_0", "/Mul", "/Conv", ".act", "_int8"):
        name = name.removesuffix(ending)
    return name

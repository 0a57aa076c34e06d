"""The network's input by RGA, the 2D engine of Rockchip's SoCs, from NV12 pictures of the hardware's video decoder.

RGA is asked for what its drivers and FFmpeg's filter take without falling back to RGA2, which cannot reach memory above
4 GB: NV12, an output whose rows are multiples of 16 pixels, factors from 1/8 to 8.  Its first picture of each kind is
compared with the CPU's, since a wrong stride or color matrix raises no error.  After a failure the CPU does everything.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from rkdeploy.device.stream.sources.fitting_graph import FittingGraph, rga_nodes
from rkdeploy.device.stream.sources.hardware_decoder import node_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rkdeploy.contract.spec import ColorOrder
    from rkdeploy.device.stream.sources.fitting_graph import FilterNode
    from rkdeploy.images.fit import Letterbox, Letterboxed

    Nodes = Callable[[tuple[int, int], ColorOrder], Sequence[FilterNode]]

RGA_VARIABLE: Final = "RKDEPLOY_RGA"
RGA_NODE: Final = "/dev/rga"
_FILTERS: Final = frozenset({"hwupload", "scale_rkrga", "hwdownload"})
_ROW_MULTIPLE: Final = 16  # pixels: RGB888 rows of RGA3
_SMALLEST: Final = 68  # pixels: side of RGA3
_LARGEST: Final = 8176
_MOST_FACTOR: Final = 8
_LIMITED_COLORS: Final = frozenset({1, 2, 5, 6})  # BT.709, unspecified and the two numbers of BT.601
_BLOCK: Final = 8
_MOST_DIFFERENCE: Final = 6.0
"""Mean difference of means over 8x8 pixels, of 255.  Another interpolation changes them by less than 1 on photographs,
BT.601 in place of BT.709 by 7 on saturated ones, exchanged channels or a wrong stride by more than 10."""


def open_rga(notify: Callable[[str], None]) -> RgaFit | None:
    """RGA through FFmpeg's filters; None where the package or the machine has none, or `RKDEPLOY_RGA` is `off`.

    The device node is tried first: librga crashes the process without it.
    """
    av = import_module("av")
    if os.environ.get(RGA_VARIABLE) == "off" or not set(av.filter.filters_available) >= _FILTERS:
        return None
    if not hasattr(av.codec.hwaccel, "HWDevice") or node_problem(RGA_NODE):
        return None
    try:
        return RgaFit(notify, av.codec.hwaccel.HWDevice("rkmpp"))
    except (av.error.FFmpegError, OSError, ValueError):
        return None


class RgaFit:
    """Makes the network's input of one stream by a filter graph.  From any thread.

    Args:
        notify: called with one sentence when RGA is given up.
        device: PyAV's `HWDevice`.
        nodes: the graph's filters for a size and color order.
    """

    def __init__(self, notify: Callable[[str], None], device: Any | None, nodes: Nodes = rga_nodes) -> None:
        self._notify, self._device, self._nodes = notify, device, nodes
        self._errors = (import_module("av").error.FFmpegError, OSError, ValueError)
        self._graphs: dict[tuple[Any, ...], FittingGraph] = {}
        self._working = True
        self._using = threading.Lock()

    def fitted(self, frame: Any, fit: Letterbox, bgr: Callable[[], NDArray[np.uint8]]) -> Letterboxed | None:
        """The network's input from a picture; None where the CPU has to make it.

        Args:
            frame: PyAV's, upright.
            fit: the letterbox.
            bgr: gives the whole picture in BGR; called for the first picture of each kind.
        """
        size_hw = (int(frame.height), int(frame.width))
        if not self._working or not is_suitable(frame, fit.resized_hw(size_hw)):
            return None
        with self._using:
            try:
                return self._through_graph(frame, size_hw, fit, bgr)
            except self._errors as error:
                self._give_up(str(error))
                return None

    def _through_graph(
        self, frame: Any, size_hw: tuple[int, int], fit: Letterbox, bgr: Callable[[], NDArray[np.uint8]]
    ) -> Letterboxed:
        kind = (size_hw, fit.resized_hw(size_hw), fit.color, int(frame.colorspace), int(frame.color_range))
        graph = self._graphs.get(kind)
        if graph is not None:
            return fit.fill(size_hw, partial(graph.write, frame))
        graph = FittingGraph(self._nodes(kind[1], fit.color), frame, self._device)
        found = fit.fill(size_hw, partial(graph.write, frame)).image.copy()
        expected = fit(bgr())
        difference = mean_difference(found[0], expected.image[0])
        if difference <= _MOST_DIFFERENCE:
            self._graphs[kind] = graph
        else:
            self._give_up(f"its first picture differs from the CPU's by {difference:.0f} of 255")
        return expected

    def _give_up(self, reason: str) -> None:
        self._working = False
        self._graphs.clear()
        self._notify(f"RGA is not used any more: {reason}. The CPU resizes the pictures.")


def is_suitable(frame: Any, resized_hw: tuple[int, int]) -> bool:
    """True if RGA3 takes a picture, and FFmpeg's filter gives RGA its color matrix.

    Args:
        frame: PyAV's.
        resized_hw: height and width that it gets.
    """
    sides = (int(frame.height), int(frame.width))
    factors = [old / new for old, new in zip(sides, resized_hw, strict=True)]
    return (
        frame.format.name == "nv12"
        and all(side % 2 == 0 and _SMALLEST <= side <= _LARGEST for side in sides)
        and resized_hw[1] % _ROW_MULTIPLE == 0
        and min(resized_hw) >= _SMALLEST
        and all(1 / _MOST_FACTOR <= factor <= _MOST_FACTOR for factor in factors)
        and int(frame.color_range) in (0, 1)
        and int(frame.colorspace) in _LIMITED_COLORS
    )


def mean_difference(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two pictures, (H, W, 3) uint8, after averaging blocks of 8x8 pixels."""
    small_wh = (max(1, found.shape[1] // _BLOCK), max(1, found.shape[0] // _BLOCK))
    means = [cv2.resize(one, small_wh, interpolation=cv2.INTER_AREA).astype(np.float32) for one in (found, expected)]
    return float(np.abs(means[0] - means[1]).mean())

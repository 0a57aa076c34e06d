"""An FFmpeg filter graph that resizes pictures and converts them to the network's color order."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rkdeploy.contract.spec import ColorOrder

_ANY_TIME_BASE: Final = Fraction(1, 1000)  # the graph passes time stamps on, and nothing reads them


@dataclass(frozen=True, slots=True)
class FilterNode:
    """A filter and its arguments as FFmpeg's command line has them."""

    name: str
    arguments: str = ""


def rga_nodes(resized_hw: tuple[int, int], color: ColorOrder) -> tuple[FilterNode, ...]:
    """Filters that upload a picture, resize and convert it by RGA, and bring it back to memory.

    The graph's source takes pictures in memory only: `pyav-rkmpp` 18.1.0.post2 gives it no frames of a device, without
    which FFmpeg refuses DRM_PRIME.
    """
    height, width = resized_hw
    pixels = f"{color}24"
    # async_depth=0: each picture is answered at once.  By default RGA would keep the aspect ratio once more.
    options = "async_depth=0:force_original_aspect_ratio=disable"
    return (
        FilterNode("hwupload"),
        FilterNode("scale_rkrga", f"w={width}:h={height}:format={pixels}:{options}"),
        FilterNode("hwdownload"),
        FilterNode("format", f"pix_fmts={pixels}"),
    )


class FittingGraph:
    """A configured graph for pictures of one format and size; used by one thread at a time.

    Args:
        nodes: between the source and the end; they give 3 bytes per pixel.
        like: a picture of the format and size, PyAV's.
        device: PyAV's `HWDevice` for filters that need one; None without.

    Raises:
        av.error.FFmpegError, ValueError: when FFmpeg refuses it.
    """

    def __init__(self, nodes: Sequence[FilterNode], like: Any, device: Any | None = None) -> None:
        new_graph = import_module("av").filter.Graph
        self._graph = new_graph() if device is None else new_graph(hw_device=device)
        source = self._graph.add_buffer(template=like, time_base=_ANY_TIME_BASE)
        between = [self._graph.add(node.name, node.arguments or None) for node in nodes]
        self._graph.link_nodes(source, *between, self._graph.add("buffersink")).configure()

    def write(self, frame: Any, region: NDArray[np.uint8]) -> None:
        """Resize and convert a picture into its place.

        Args:
            frame: PyAV's, of the format and size.
            region: (height, width, 3) uint8, of the size that the graph gives.

        Raises:
            av.error.FFmpegError, ValueError: when FFmpeg fails on it, or gives another size.
        """
        self._graph.push(frame)
        plane = self._graph.pull().planes[0]
        height, width, channels = region.shape
        if (plane.height, plane.width) != (height, width):
            raise ValueError(f"the filters gave {plane.width}x{plane.height}, expected {width}x{height}")
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        np.copyto(region, rows[:height, : width * channels].reshape(height, width, channels))

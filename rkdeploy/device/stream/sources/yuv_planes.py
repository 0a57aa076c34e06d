"""A network's input from the planes of a YUV picture, without converting the whole picture.

The letterbox resizes by bilinear interpolation without antialiasing, whose weights are at the centers of the pixels:
where a picture is an odd whole number of times as large as its place in the input, each pixel of the input is one pixel
of the picture (1920x1080 to 640x360: rows and columns 1, 4, 7, ...).  So those alone are read and converted, and
the result is that of converting everything, up to the rounding of the conversion.

With other factors the letterbox mixes pixels after their values were cut off at 0 and 255.  Mixing before the
conversion would be up to 10 of 255 off on photographs at a factor of 2, and more at edges in chroma otherwise.

The conversion is ITU-R BT.601 or BT.709 with 8 bits (H.273, tables 4 and 5).  FFmpeg's own for whole pictures is 0 to 3
below the exact value, by its fixed point; `_ROUNDED_DOWN` is subtracted so that both are within 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rkdeploy.contract.spec import ColorOrder

_ROUNDED_DOWN: Final = 0.75
_FULL_RANGE: Final = 2  # AVCOL_RANGE_JPEG
_LUMA_SHARES: Final = {
    1: (0.2126, 0.0722),  # AVCOL_SPC_BT709
    2: (0.299, 0.114),  # unspecified: FFmpeg takes BT.601
    5: (0.299, 0.114),  # AVCOL_SPC_BT470BG
    6: (0.299, 0.114),  # AVCOL_SPC_SMPTE170M
}
"""FFmpeg's number of a color space -> share of red and of blue in luma."""


@dataclass(frozen=True, slots=True)
class YuvLayout:
    """A pixel format with 8 bits and luma in a plane of its own.

    Attributes:
        chroma_rows, chroma_columns: pixels per chroma sample, downward and across.
        interleaved: True if both chroma components share a plane.
        full_range: True if values always go from 0 to 255.
    """

    chroma_rows: int
    chroma_columns: int
    interleaved: bool = False
    full_range: bool = False


_LAYOUTS: Final = {
    "yuv420p": YuvLayout(2, 2),
    "yuvj420p": YuvLayout(2, 2, full_range=True),
    "nv12": YuvLayout(2, 2, interleaved=True),
    "yuv422p": YuvLayout(1, 2),
    "yuvj422p": YuvLayout(1, 2, full_range=True),
}


def samples_exactly(frame: Any, resized_hw: tuple[int, int]) -> bool:
    """True if `write_sampled` gives the letterbox's pixels.

    Args:
        frame: PyAV's video frame.
        resized_hw: height and width that the picture gets.
    """
    factor, rest = divmod(frame.height, resized_hw[0])
    whole = rest == 0 and frame.width == factor * resized_hw[1] and factor % 2 == 1
    even = frame.height % 2 == 0 and frame.width % 2 == 0
    return whole and even and frame.format.name in _LAYOUTS and int(frame.colorspace) in _LUMA_SHARES


def write_sampled(frame: Any, color: ColorOrder, region: NDArray[np.uint8]) -> None:
    """Write the pixels of a picture that a letterbox would read into their place.

    Args:
        frame: PyAV's video frame, for which `samples_exactly` is true.
        color: order of the color channels.
        region: (height, width, 3) uint8, gets the resized picture.
    """
    layout = _LAYOUTS[frame.format.name]
    full_range = layout.full_range or int(frame.color_range) == _FULL_RANGE
    size_wh = (region.shape[1], region.shape[0])
    planes = [cv2.resize(plane, size_wh, interpolation=cv2.INTER_NEAREST_EXACT) for plane in _planes(frame, layout)]
    yuv = cv2.merge(planes)
    cv2.transform(yuv, _matrix(int(frame.colorspace), full_range, color), dst=region)


def _planes(frame: Any, layout: YuvLayout) -> list[NDArray[np.uint8]]:
    """Views of luma and chroma; interleaved chroma is one array of two channels."""
    height, width = int(frame.height), int(frame.width)
    rows, columns = height // layout.chroma_rows, width // layout.chroma_columns
    channels = 2 if layout.interleaved else 1
    luma, *chroma = (_view(plane) for plane in frame.planes)
    return [
        luma[:height, :width],
        *(plane[:rows, : columns * channels].reshape(rows, columns, channels) for plane in chroma),
    ]


def _view(plane: Any) -> NDArray[np.uint8]:
    """Rows of a plane, with the bytes that fill them up."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


@lru_cache(maxsize=16)
def _matrix(colorspace: int, full_range: bool, color: ColorOrder) -> NDArray[np.float32]:  # noqa: FBT001 - a cached key
    """(3, 4) float32: Y, U, V, 1 in 0 to 255 to the color channels."""
    red, blue = _LUMA_SHARES[colorspace]
    green = 1 - red - blue
    chroma = np.array(
        [
            [0, 2 * (1 - red)],
            [-2 * (1 - blue) * blue / green, -2 * (1 - red) * red / green],
            [2 * (1 - blue), 0],
        ]
    )
    luma_scale, chroma_scale, black = (1.0, 1.0, 0) if full_range else (255 / 219, 255 / 224, 16)
    factors = np.column_stack((np.full(3, luma_scale), chroma * chroma_scale))
    offset = -factors @ np.array([black, 128, 128]) - _ROUNDED_DOWN
    rgb = np.column_stack((factors, offset)).astype(np.float32)
    return rgb if color == "rgb" else np.ascontiguousarray(rgb[::-1])

"""A depth map as text in the examples of a bundle: a small 16-bit PNG, and the depths of its extreme values."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Final

import cv2
import numpy as np
from msgspec import Meta

from rkdeploy.contract.bounds import Figure
from rkdeploy.contract.formulas import DepthKind
from rkdeploy.device.postprocess.detections import FoundDepth
from rkdeploy.images.file import opencv_log_silenced
from rkdeploy.images.header import BrokenImageError, declared_size

_LONGEST_SIDE: Final = 128
_STEPS: Final = 65535
_MAX_TEXT: Final = 100_000


@dataclass(frozen=True, slots=True)
class KeptDepth:
    """A depth map.

    Attributes:
        low, high: the depths that 0 and 65,535 stand for.
        png: base64 of a 16-bit PNG of sides of at most 128 pixels.
    """

    low: Figure
    high: Figure
    png: Annotated[str, Meta(max_length=_MAX_TEXT)]


def kept_depth(found: FoundDepth) -> KeptDepth:
    """A depth in the form of the file; values that are not finite become the lowest."""
    height, width = found.values.shape
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    small_wh = max(1, round(width * scale)), max(1, round(height * scale))
    values = np.asarray(cv2.resize(found.values, small_wh, interpolation=cv2.INTER_NEAREST), np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    spread = high - low if high > low else 1.0
    shares = np.clip(np.nan_to_num((values - low) / spread, nan=0.0, posinf=0.0, neginf=0.0), 0, 1)
    done, encoded = cv2.imencode(".png", np.rint(shares * _STEPS).astype(np.uint16))
    assert done, "OpenCV writes 16-bit PNG files"
    return KeptDepth(low, high, base64.b64encode(encoded.tobytes()).decode("ascii"))


def found_depth(kept: KeptDepth, kind: DepthKind, hw: tuple[int, int]) -> FoundDepth:
    """A kept depth at the size of its picture.

    Raises:
        ValueError: when the text is not such a picture.
    """
    try:
        data = base64.b64decode(kept.png, validate=True)
        _, width, height = declared_size(data)
    except (binascii.Error, ValueError, BrokenImageError) as error:
        raise ValueError("a depth that is not a picture") from error
    if not (0 < width <= _LONGEST_SIDE and 0 < height <= _LONGEST_SIDE):
        raise ValueError("a depth of another size")
    with opencv_log_silenced():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.dtype != np.uint16:
        raise ValueError("a depth that is not a 16-bit picture")
    small = np.asarray(image, np.float32) / np.float32(_STEPS) * np.float32(kept.high - kept.low) + np.float32(kept.low)
    whole = cv2.resize(small, (hw[1], hw[0]), interpolation=cv2.INTER_LINEAR)
    return FoundDepth(np.asarray(whole, np.float32), kind)

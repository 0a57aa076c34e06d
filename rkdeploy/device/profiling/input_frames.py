"""Input frames of a profile: a user's own, or seeded noise.  Loaded into memory before the measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from rkdeploy.device.profiling.profile_document import InputFrames
from rkdeploy.device.stream.sources import open_sources
from rkdeploy.device.stream.sources.stream_address import is_stream_address
from rkdeploy.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_NOISE_FRAMES = 4
_SEED = 20240501
_MAX_FRAMES = 64
_MAX_BYTES = 128 << 20

Images = tuple["NDArray[np.uint8]", ...]


def noise(width: int, height: int) -> tuple[Images, InputFrames]:
    """Seeded noise, (H, W, 3) uint8 BGR: large soft shades and fine grain, at a camera's size, without objects."""
    rng = np.random.default_rng(_SEED)
    images = []
    for _ in range(_NOISE_FRAMES):
        shades = rng.integers(64, 160, (5, 8, 3), np.uint8)
        grain = rng.integers(0, 32, (height, width, 3), np.uint8)
        images.append(np.ascontiguousarray(cv2.resize(shades, (width, height)) + grain, np.uint8))
    return tuple(images), InputFrames("seeded noise", len(images), width, height, is_noise=True)


def of_sources(texts: Sequence[str]) -> tuple[Images, InputFrames]:
    """The first frames of image files, folders, patterns, lists or videos: at most 64, at most 128 MiB, at least one.

    Raises:
        SourceError: when it cannot be read, holds no frame, or is a stream, whose own rate would be measured.
    """
    if any(is_stream_address(text) for text in texts):
        raise SourceError(
            "A profile needs frames that are available at once, but a stream delivers them at its own rate.",
            "Give images or a video file.",
        )
    source = open_sources(texts)
    with source as frames:
        images = _taken(frame.image for frame in frames)
    if not images:
        raise SourceError(f'Source "{source.text}" holds no frame.')
    height, width = images[0].shape[:2]
    return images, InputFrames(source.text, len(images), width, height, is_noise=False)


def _taken(images: Iterable[NDArray[np.uint8]]) -> Images:
    kept: list[NDArray[np.uint8]] = []
    size = 0
    for image in images:
        size += image.nbytes
        if kept and size > _MAX_BYTES:
            break
        kept.append(image)
        if len(kept) == _MAX_FRAMES:
            break
    return tuple(kept)

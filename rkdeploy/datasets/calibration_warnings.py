"""Warnings about a readable calibration set: too small, all alike, flat, of very mixed sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FEW_IMAGES = 20
THUMBNAIL_SIDE = 32
FLAT_STD = 2.0
"""Standard deviation in gray levels of the thumbnail below which a picture counts as one flat color."""
BLACK_LEVEL = 16.0
"""Mean gray level below which a flat picture counts as black."""
REPEATED = 3
"""Number of copies per different picture from which a set counts as a few pictures repeated."""
NEAR_DUPLICATE = 0.98
"""Thumbnail correlation above which two pictures of about the same brightness count as near-duplicates."""
ALIKE = 0.9
"""Median thumbnail correlation of all pairs above which the whole set counts as one scene."""
BRIGHTNESS_STEP = 8.0
SIZE_RATIO = 6.0
_COMPARED_AT_MOST = 1000  # the number of pairs grows quadratically
_NAMED_AT_MOST = 5


def named(names: Sequence[str]) -> str:
    """Up to five of the names, then the number of further ones."""
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f", and {more} more" if more > 0 else "")


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A small gray version for comparing: (H, W, 3) uint8 BGR -> (THUMBNAIL_SIDE ** 2,) float32, levels 0..255."""
    small = cv2.resize(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32).reshape(-1)


def content_warnings(sizes: Sequence[tuple[str, int, int]], thumbnails: NDArray[np.float32]) -> list[str]:
    """Warnings about the set, one text each.

    Args:
        sizes: (path, width, height) of every image.
        thumbnails: (len(sizes), THUMBNAIL_SIDE ** 2) float32, in the same order.
    """
    if not sizes:
        return []
    warnings: list[str] = []
    if len(sizes) < FEW_IMAGES:
        warnings.append(
            f"{len(sizes)} calibration images are few. INT8 takes every tensor's range from them: what they do not "
            "show (bright light, dark, large and small objects, every class) is clipped later, and the figures of the "
            "build say less. 20 to 40 from the place of use are enough."
        )
    names = [path for path, _, _ in sizes]
    flat = thumbnails.std(axis=1) < FLAT_STD
    if flat.any():
        brightness = [(names[i], float(thumbnails[i].mean())) for i in np.flatnonzero(flat)]
        black = sum(mean < BLACK_LEVEL for _, mean in brightness)
        listed = named([name for name, _ in brightness])
        of_them = f" ({black} of them black)" if black else ""
        warnings.append(
            f"{len(brightness)} of {len(names)} images are one flat color{of_them}: {listed}."
            " They add nothing to calibration; a camera that was covered or not ready makes such pictures."
        )
    warnings.extend(_alike([name for name, skip in zip(names, flat, strict=True) if not skip], thumbnails[~flat]))
    warnings.extend(_sizes(sizes))
    return warnings


def content_faults(thumbnails: NDArray[np.float32], duplicates: int) -> list[str]:
    """Faults that make a set worthless, whatever a build on it measures; one text each.

    Args:
        thumbnails: (n, THUMBNAIL_SIDE ** 2) float32 of the different images.
        duplicates: further files with the pixels of one of them.
    """
    faults: list[str] = []
    different = len(thumbnails)
    if different and duplicates >= REPEATED * different:
        pictures = "are the same picture" if different == 1 else f"are only {different} different pictures"
        faults.append(f"{different + duplicates} calibration files {pictures}: every range rests on what it shows.")
    flat = int((thumbnails.std(axis=1) < FLAT_STD).sum()) if different else 0
    if flat * 2 > different:
        black = int(((thumbnails.std(axis=1) < FLAT_STD) & (thumbnails.mean(axis=1) < BLACK_LEVEL)).sum())
        faults.append(
            f"{flat} of {different} calibration images are one flat color"
            + (f", {black} of them black." if black else ".")
        )
    return faults


def _alike(names: Sequence[str], thumbnails: NDArray[np.float32]) -> list[str]:
    names, thumbnails = names[:_COMPARED_AT_MOST], thumbnails[:_COMPARED_AT_MOST]
    n = len(names)
    if n < 2:
        return []
    brightness = thumbnails.mean(axis=1)
    centered = thumbnails - brightness[:, None]
    centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    correlation = centered @ centered.T
    near = np.abs(brightness[:, None] - brightness[None, :]) < BRIGHTNESS_STEP
    pairs = np.triu_indices(n, 1)
    median = float(np.median(correlation[pairs]))
    if median > ALIKE and float(near[pairs].mean()) > 0.5:
        text = (
            f"The {n} images are all alike (median correlation {median:.2f}), like frames of one video or one fixed "
            "camera. INT8 ranges will fit this scene only; take images from different times, light and contents."
        )
        return [text]
    twins = np.triu((correlation > NEAR_DUPLICATE) & near, 1).any(axis=0)
    if twins.sum() * 10 > n:
        listed = named([names[i] for i in np.flatnonzero(twins)])
        text = (
            f"{int(twins.sum())} of {n} images are nearly the same as another one: {listed}. They make the set smaller "
            "than it looks; take frames that are further apart."
        )
        return [text]
    return []


def _sizes(sizes: Sequence[tuple[str, int, int]]) -> list[str]:
    smallest = min(sizes, key=lambda size: size[1] * size[2])
    largest = max(sizes, key=lambda size: size[1] * size[2])
    ratio = float(np.sqrt(largest[1] * largest[2] / (smallest[1] * smallest[2])))
    if ratio <= SIZE_RATIO:
        return []
    text = (
        f"Image sizes are very mixed: from {smallest[1]}x{smallest[2]} ({smallest[0]}) to {largest[1]}x{largest[2]} "
        f"({largest[0]}). Scaled to the network's input they differ in sharpness; thumbnails and crops among "
        "camera pictures are not what the model will see."
    )
    return [text]

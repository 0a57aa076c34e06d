"""Calibration images as the toolkit reads them: a list of `.npy` files, by names without spaces."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rkdeploy.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_dataset(calibration: Iterable[Path | NDArray[np.uint8]], folder: Path) -> Path:
    """Write the calibration files and their list.

    Args:
        calibration: images as `Toolkit.build` takes them, or `.npy` files of (1, 3, H, W).
        folder: made anew for them.

    Returns:
        The list, one `.npy` of (1, 3, H, W) per line.

    Raises:
        CalibrationError: no images, or one of another kind.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    files = []
    for index, item in enumerate(calibration):
        file = folder / f"{index:05d}.npy"
        if isinstance(item, Path):
            if item.suffix != ".npy" or not item.is_file():
                raise CalibrationError(
                    f'The calibration file "{item}" is not an existing .npy file.',
                    "The toolkit stretches images instead of letterboxing them: give arrays.",
                )
            file.symlink_to(item.absolute())
        else:
            np.save(file, _nchw(item, index))
        files.append(file)
    if not files:
        raise CalibrationError("There are no calibration images; a quantized build needs them.")
    dataset = folder / "dataset.txt"
    dataset.write_text("".join(f"{file}\n" for file in files))
    return dataset


def _nchw(image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """One calibration image as (1, 3, H, W)."""
    plane = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    first, last = plane.shape[0] == 3, plane.shape[-1] == 3
    if image.dtype != np.uint8 or plane.ndim != 3 or first == last:
        raise CalibrationError(
            f"Calibration image {index} is {image.dtype} {image.shape}, expected uint8 (H, W, 3) or (3, H, W)."
        )
    return np.ascontiguousarray((plane if first else plane.transpose(2, 0, 1))[None])

"""A calibration sample as an input set: those to calibrate on, and those that the built model is compared on.

calibration.npy  proof.npy  sample.json
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from rkdeploy.analysis.tune.mapped_pixels import mapped_pixels, read_pixels
from rkdeploy.images.fit import LetterboxTransform, image_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.contract.spec import InputSpec
    from rkdeploy.datasets.calibration import CalibrationImage

_CALIBRATION: Final = "calibration.npy"
_PROOF: Final = "proof.npy"
_INDEX: Final = "sample.json"


class _SampleIndex(msgspec.Struct, frozen=True):
    calibration: tuple[str, ...]
    proof: tuple[str, ...]
    transforms: tuple[LetterboxTransform, ...]
    source: str


@dataclass(frozen=True, slots=True)
class CalibrationSample:
    """An input set of a calibration sample, open.

    Attributes:
        calibration: (N, H, W, 3) uint8, network inputs; a memory-mapped file.
        proof: (M, H, W, 3) uint8, network inputs; a memory-mapped file.
        transforms: of the proof images.
        source: origin of the proof images.
    """

    calibration: NDArray[np.uint8]
    proof: NDArray[np.uint8]
    transforms: tuple[LetterboxTransform, ...]
    source: str

    def calibration_nchw(self) -> Iterator[NDArray[np.uint8]]:
        """One image after the other, (1, 3, H, W)."""
        for image in self.calibration:
            yield np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def write_sample(
    folder: Path,
    spec: InputSpec,
    calibration: Sequence[CalibrationImage],
    proof: Sequence[CalibrationImage],
    source: str,
) -> None:
    """Fit the images and write the input set.

    Args:
        folder: to fill.
        spec: the network's input.
        calibration: to calibrate on, in their order.
        proof: to compare on.
        source: where those come from.
    """
    _fitted(folder / _CALIBRATION, spec, calibration)
    transforms = _fitted(folder / _PROOF, spec, proof)
    index = _SampleIndex(tuple(i.path for i in calibration), tuple(i.path for i in proof), transforms, source)
    (folder / _INDEX).write_bytes(msgspec.json.encode(index))


def read_sample(folder: Path) -> CalibrationSample:
    """Open the input set."""
    index = msgspec.json.decode((folder / _INDEX).read_bytes(), type=_SampleIndex)
    return CalibrationSample(
        read_pixels(folder / _CALIBRATION), read_pixels(folder / _PROOF), index.transforms, index.source
    )


def _fitted(file: Path, spec: InputSpec, images: Sequence[CalibrationImage]) -> tuple[LetterboxTransform, ...]:
    fit = image_fit(spec)
    pixels = mapped_pixels(file, (len(images), spec.height, spec.width, 3))
    transforms = []
    for row, image in zip(pixels, images, strict=True):
        fitted = fit(image.read())
        row[:] = fitted.image[0]
        transforms.append(fitted.transform)
    return tuple(transforms)

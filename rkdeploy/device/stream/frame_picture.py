"""Pictures of frames, converted when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rkdeploy.images.fit import ImageFit, Letterboxed


class FramePicture(Protocol):
    """The picture of a frame in whatever form its source has it."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels, known without a conversion."""
        ...

    def bgr(self) -> NDArray[np.uint8]:
        """The whole picture, (H, W, 3) uint8 BGR.  Converted at the first call; from any thread."""
        ...

    def fitted(self, fit: ImageFit) -> Letterboxed:
        """The network's input from this picture, within 2 of 255 of `fit(self.bgr())`.

        Raises:
            SourceError: when the picture cannot be fitted.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPicture:
    """A picture that is an array already.

    Attributes:
        pixels: (H, W, 3) uint8 BGR.
    """

    pixels: NDArray[np.uint8]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    def bgr(self) -> NDArray[np.uint8]:
        """The array itself."""
        return self.pixels

    def fitted(self, fit: ImageFit) -> Letterboxed:
        """The network's input; see `FramePicture`."""
        return fit(self.pixels)


def picture_of(content: NDArray[np.uint8] | FramePicture) -> FramePicture:
    """An array or a picture as a picture."""
    return ArrayPicture(content) if isinstance(content, np.ndarray) else content

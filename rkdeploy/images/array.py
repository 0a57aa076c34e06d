"""Images that a program passes as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import SourceError

_HINTS = {
    2: "Convert it: cv2.cvtColor(image, cv2.COLOR_GRAY2BGR).",
    4: "Convert it: cv2.cvtColor(image, cv2.COLOR_BGRA2BGR).",
}


def bgr_image(image: object) -> NDArray[np.uint8]:
    """Check that an object is an image as OpenCV has it.

    Args:
        image: expected (H, W, 3) uint8 BGR.

    Returns:
        The same array, not copied.

    Raises:
        SourceError: when it is anything else; for None, which `cv2.imread` gives for a file that it cannot read, with
            that explanation.
    """
    if image is None:
        raise SourceError(
            "The image is None, expected an array.",
            "cv2.imread returns None when a file is missing or damaged; give the path instead to learn the reason.",
        )
    if not isinstance(image, np.ndarray):
        raise SourceError(
            f"The image is of type {type(image).__name__}, expected an array (H, W, 3) uint8 BGR or a path.",
            "For an RGB image of PIL: numpy.asarray(image.convert('RGB'))[..., ::-1].",
        )
    array: NDArray[Any] = image
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        hint = _HINTS.get(2 if array.ndim == 2 else array.shape[-1] if array.ndim == 3 else 0, "")
        raise SourceError(
            f"The image has the shape {array.shape} and the type {array.dtype}, expected (H, W, 3) uint8 BGR.", hint
        )
    return array

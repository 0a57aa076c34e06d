"""Lines of text at the network's height."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.contract.spec import InputSpec
from rkdeploy.images.fit import Line, image_fit

SPEC = InputSpec("x", 4, 12, color="bgr", fit="line", pad_value=127)


@pytest.mark.parametrize(("hw", "wide"), [((8, 12), 6), ((8, 13), 7), ((4, 40), 12), ((4, 1), 1)])
def test_padding_on_the_right(hw: tuple[int, int], wide: int) -> None:
    """A narrow line keeps its shape, its width rounded up; a wide one is stretched."""
    fit = image_fit(SPEC)
    assert isinstance(fit, Line)
    fitted = fit(np.full((*hw, 3), 50, np.uint8))
    assert (fitted.image[0, :, :wide] == 50).all()
    assert (fitted.image[0, :, wide:] == 127).all()
    transform = fitted.transform
    assert (transform.scale_x, transform.scale_y) == (wide / hw[1], 4 / hw[0])
    assert (transform.pad_x, transform.pad_y) == (0, 0)


def test_colors_and_gray() -> None:
    """Channels are in the network's order; the buffer has no rest of the image before."""
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 9
    fit = image_fit(InputSpec("x", 4, 12, fit="line", pad_value=1))
    fit(np.full((4, 12), 200, np.uint8))
    assert fit(image).image[0, 0].tolist() == [[0, 0, 9]] * 4 + [[1, 1, 1]] * 8

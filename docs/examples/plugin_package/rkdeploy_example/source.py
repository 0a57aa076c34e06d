"""A source: `color://NUMBER` gives that many images of one color each."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.stream.sources.arrays import Arrays


def open_color(text: str, notify: Callable[[str], None] | None) -> Arrays:
    """Make the source of an address of the scheme, not yet entered."""
    count = int(text.removeprefix("color://"))

    def images() -> Iterator[NDArray[np.uint8]]:
        for value in range(count):
            yield np.full((240, 320, 3), value, np.uint8)

    return Arrays(images(), text)

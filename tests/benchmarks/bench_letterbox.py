"""Cost of the letterbox compared with cv2.resize alone and with the usual letterbox.

Prints one table: for each source size, the median time of cv2.resize into a given buffer, of ours, and of the usual
sequence (resize, copyMakeBorder, cvtColor, each with a new array), run in turns on the same image.

    python -m tests.benchmarks.bench_letterbox --repeats 200
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import InputSpec
from rkdeploy.images.fit import Letterbox

SOURCES_HW = ((480, 640), (720, 1280), (1080, 1920), (1920, 1080), (2160, 3840))


def usual_letterbox(image: NDArray[Any], size: int) -> NDArray[Any]:
    """The usual sequence, at a fixed square size."""
    height, width = image.shape[:2]
    ratio = min(size / height, size / width)
    new_width, new_height = round(width * ratio), round(height * ratio)
    dw, dh = (size - new_width) / 2, (size - new_height) / 2
    if (new_height, new_width) != (height, width):
        image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=640, help="input width and height in pixels")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--threads", type=int, default=0, help="OpenCV threads; 0 leaves OpenCV's default")
    arguments = parser.parse_args()
    if arguments.threads:
        cv2.setNumThreads(arguments.threads)
    rng = np.random.default_rng(0)
    letterbox = Letterbox(InputSpec("images", arguments.size, arguments.size))
    print(f"{'source':>10} {'resize ms':>10} {'ours ms':>8} {'ratio':>6} {'usual ms':>9} {'ratio':>6}")
    for height, width in SOURCES_HW:
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        ratio = min(arguments.size / height, arguments.size / width)
        new_wh = (round(width * ratio), round(height * ratio))
        target = np.empty((new_wh[1], new_wh[0], 3), np.uint8)
        np.testing.assert_array_equal(letterbox(image).image[0], usual_letterbox(image, arguments.size))
        times: list[list[float]] = [[], [], []]
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            cv2.resize(image, new_wh, dst=target, interpolation=cv2.INTER_LINEAR)
            resized = time.perf_counter()
            letterbox(image)
            ours = time.perf_counter()
            usual_letterbox(image, arguments.size)
            usual = time.perf_counter()
            for spent, milliseconds in zip(times, (resized - start, ours - resized, usual - ours), strict=True):
                spent.append(milliseconds * 1e3)
        resize_ms, our_ms, usual_ms = (statistics.median(spent) for spent in times)
        print(
            f"{width:>5}x{height:<4} {resize_ms:10.3f} {our_ms:8.3f} {our_ms / resize_ms:6.2f} "
            f"{usual_ms:9.3f} {usual_ms / resize_ms:6.2f}"
        )


if __name__ == "__main__":
    main()

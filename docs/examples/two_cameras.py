"""Two cameras or streams side by side in one picture, written to a video.

    python two_cameras.py BUNDLE /dev/video0 rtsp://10.0.0.7/cam1 OUT.avi 300

Both are read at the same time and share the NPU's cores; the newest frame of each is shown.
"""

import sys

import cv2
import numpy as np

import rkdeploy

HEIGHT, WIDTH = 360, 640  # of each half


def main(bundle: str, left: str, right: str, output: str, frames: str) -> None:
    """Write a picture for every result, and print how many came from each camera."""
    halves = {name: np.zeros((HEIGHT, WIDTH, 3), np.uint8) for name in ("left", "right")}
    counts = dict.fromkeys(halves, 0)
    writer = cv2.VideoWriter(output, cv2.VideoWriter.fourcc(*"MJPG"), 15, (2 * WIDTH, HEIGHT))
    with rkdeploy.load(bundle) as model, model.stream(left, right, max_frames=int(frames)) as stream:
        for result in stream:
            name = "left" if result.origin == 0 else "right"
            halves[name] = np.asarray(cv2.resize(result.plot(), (WIDTH, HEIGHT)), np.uint8)
            counts[name] += 1
            writer.write(np.hstack(list(halves.values())))
    writer.release()
    print(counts)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Record the detections of the sample model in the made video: of 420 frames, those with scores above 0.1.

    python -m tests.benchmarks.conveyor belt.mp4
    rkdeploy run BUNDLE belt.mp4 --conf 0.1 -o belt.jsonl
    python tests/data/tracking/make_belt.py belt.jsonl

`belt.npz` has for each detection its frame, its box in eighths of a pixel, its score in ten-thousandths, and its class.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def main(path: Path) -> None:
    """Write `belt.npz`."""
    found = [
        (frame, one)
        for frame, line in enumerate(path.read_text().splitlines())
        for one in json.loads(line)["detections"]
    ]
    np.savez_compressed(
        HERE / "belt.npz",
        frames=np.array([frame for frame, _ in found], np.uint16),
        eighths=np.round(np.array([one["xyxy"] for _, one in found]) * 8).astype(np.int16),
        scores=np.round(np.array([one["confidence"] for _, one in found]) * 1e4).astype(np.uint16),
        class_ids=np.array([one["class_id"] for _, one in found], np.uint8),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

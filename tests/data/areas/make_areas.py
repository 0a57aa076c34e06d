"""Make maps of probabilities with the areas of text that a real package finds in them, and networks with DB's head.

`maps.json` has 8-bit maps (PNG in base64; probability = value / 255) and for each the corners and scores of RapidOCR's
`DBPostProcess`, which is PaddleOCR's.  It rounds corners to whole source pixels, so it is told that the source is 64
times as large: then they are good to 1/128 pixel of the map.

`db_*.onnx` are networks with the head of PaddleOCR (ppocr/modeling/heads/det_db_head.py) in tiny widths with seeded
random weights, exported by torch: `db_head` ends in a sigmoid, `db_mean` in the mean of two, as the head of the
server's detectors (PFHeadLocal), `db_training` in the three maps of training.

    pip install rapidocr-onnxruntime==1.4.4 opencv-python-headless==4.11.0.86 numpy
    python -m tests.data.areas.make_areas --maps
    pip install torch==2.14.1 onnx==1.23.2
    python -m tests.data.areas.make_areas --networks
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
HW = (160, 192)
FINER = 64
"""Source pixels per pixel of the map."""


def drawn_map(seed: int) -> NDArray[np.uint8]:
    """Areas as a detector draws them: rectangles at any angle with soft edges, rings, faint ones."""
    rng = np.random.default_rng(seed)
    plane = np.zeros(HW, np.float32)
    for _ in range(11):
        center = (float(rng.uniform(30, HW[1] - 30)), float(rng.uniform(30, HW[0] - 30)))
        size = (float(rng.uniform(8, 46)), float(rng.uniform(5, 16)))
        angle = float(rng.choice([0.0, 0.0, 90.0, rng.uniform(-90, 90)]))
        corners = cv2.boxPoints((center, size, angle))
        cv2.fillPoly(plane, [corners.astype(np.int32)], float(rng.uniform(0.6, 1.0)))
    if seed % 2:
        cv2.circle(plane, (int(rng.integers(50, 140)), int(rng.integers(50, 110))), 18, 0.95, 9)
    soft = cv2.GaussianBlur(plane, (5, 5), 1.2)
    return np.asarray(np.clip(soft * 255, 0, 255).round(), np.uint8)


def make_maps() -> None:
    """Write `maps.json`."""
    from rapidocr_onnxruntime.ch_ppocr_det.utils import DBPostProcess

    cases: list[dict[str, Any]] = []
    for seed in range(6):
        plane = drawn_map(seed)
        find = DBPostProcess(thresh=0.3, box_thresh=0.6, max_candidates=1000, unclip_ratio=1.5)
        probabilities = plane.astype(np.float32)[None, None] / np.float32(255)
        boxes, scores = find(probabilities, (HW[0] * FINER, HW[1] * FINER))
        stored = cv2.imencode(".png", plane, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
        corners = [[[x / FINER, y / FINER] for x, y in box] for box in boxes.tolist()]
        cases.append({
            "map": base64.b64encode(stored.tobytes()).decode("ascii"),
            "corners": corners,
            "scores": [float(score) for score in scores],
        })  # fmt: skip
    (HERE / "maps.json").write_text(json.dumps({"package": "rapidocr-onnxruntime 1.4.4", "cases": cases}) + "\n")


def make_networks() -> None:
    """Write `db_*.onnx`."""
    import torch
    from torch import nn

    def branch() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(16, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            nn.ConvTranspose2d(4, 4, 2, 2), nn.BatchNorm2d(4), nn.ReLU(),
            nn.ConvTranspose2d(4, 1, 2, 2), nn.Sigmoid(),
        )  # fmt: skip

    class Network(nn.Module):
        def __init__(self, end: str) -> None:
            super().__init__()
            self.neck = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
            self.binarize, self.thresh, self.end = branch(), branch(), end

        def forward(self, image: Any) -> Any:
            features = self.neck(image)
            shrunken, limit = self.binarize(features), self.thresh(features)
            if self.end == "head":
                return shrunken
            if self.end == "mean":
                return 0.5 * (shrunken + limit)
            return torch.cat([shrunken, limit, 1 / (1 + torch.exp(-50 * (shrunken - limit)))], 1)

    for end in ("head", "mean", "training"):
        torch.manual_seed(0)
        network = Network(end).eval()
        axes = {"x": {0: "n", 2: "h", 3: "w"}, "maps": {0: "n", 2: "h", 3: "w"}} if end == "head" else None
        file = HERE / f"db_{end}.onnx"
        image = torch.zeros(1, 3, 64, 96)
        torch.onnx.export(
            network, (image,), str(file), input_names=["x"], output_names=["maps"], dynamic_axes=axes,
            opset_version=14, dynamo=False,
        )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", action="store_true")
    parser.add_argument("--networks", action="store_true")
    arguments = parser.parse_args()
    if arguments.maps:
        make_maps()
    if arguments.networks:
        make_networks()

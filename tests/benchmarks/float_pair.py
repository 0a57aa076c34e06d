"""Float detections of two files of one model: a checkpoint and an ONNX file that some exporter made of it.

Each is read as a build reads it, cut, run by onnxruntime and decoded as on the board.  Prints how many detections of
the first have a match of the same class at IoU 0.99 in the second, and the largest differences of those.  Boxes that
the image's edge clips to less than a pixel are left out.  Options of `rkdeploy build` follow each file.

    python -m tests.benchmarks.float_pair --images photos -- yolov8n.pt -- yolov8n.onnx --weights yolov8n.pt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.host.building.given_anchors import read_anchors
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input
from rkdeploy.images.fit import image_fit
from tests.benchmarks.plain_decode import overlaps

CONFIDENCE, IOU, LEAST = 0.25, 0.45, 0.99


@dataclass(frozen=True, slots=True)
class FloatModel:
    """The cut graph of a file and its contract."""

    spec: ModelSpec
    session: Session

    def detections(self, image: NDArray[np.uint8]) -> Detections:
        """Decode the float outputs as the board does, in source pixels; `image` is (H, W, 3) BGR."""
        fitted = image_fit(self.spec.input)(image)
        raw = self.session.run({self.spec.input.name: network_input(fitted.image, self.spec)})
        processor = Postprocessor(self.spec, Thresholds(confidence=CONFIDENCE, iou=IOU))
        found = processor([HeadTensor(raw[output.name]) for output in self.spec.outputs], fitted.transform)
        return found.where((found.xyxy[:, 2:] - found.xyxy[:, :2]).min(axis=1, initial=np.inf) >= 1)


def opened(words: Sequence[str]) -> FloatModel:
    """The model of a file and options of `rkdeploy build`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--anchors")
    parser.add_argument("--preset")
    parser.add_argument("--imgsz", type=int)
    parser.add_argument("--names", type=Path)
    given = parser.parse_args(words)
    size = None if given.imgsz is None else (given.imgsz, given.imgsz)
    anchors = None if given.anchors is None else read_anchors(given.anchors)
    network = open_network(given.model, given.weights, size, anchors=anchors)
    network = with_choice(network, InputChoice(preset=given.preset, names=given.names))
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    return FloatModel(network.contract(outputs), Session(graph))


def pairs(first: Detections, second: Detections) -> list[tuple[int, int]]:
    """Indices of detections of the same class and box."""
    free, found = list(range(len(second))), []
    others = second.xyxy.astype(np.float64)
    for i, box in enumerate(first.xyxy.astype(np.float64)):
        alike = [k for k in free if second.class_ids[k] == first.class_ids[i]]
        alike = [k for k in alike if overlaps(box, others[k : k + 1])[0] >= LEAST]
        if alike:
            free.remove(alike[0])
            found.append((i, alike[0]))
    return found


def differences(first: Detections, second: Detections, matched: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Largest difference of each kind of value that both have, over matched detections."""
    one, other = [i for i, _ in matched], [k for _, k in matched]
    kinds = {"score": (first.scores, second.scores), "px": (first.xyxy, second.xyxy)}
    if first.keypoints is not None and second.keypoints is not None:
        kinds["keypoint px"] = (first.keypoints[..., :2], second.keypoints[..., :2])
    if first.rotated is not None and second.rotated is not None:
        kinds["angle"] = (first.rotated[:, 4], second.rotated[:, 4])
    return {name: float(np.abs(a[one] - b[other]).max(initial=0.0)) for name, (a, b) in kinds.items()}


def main() -> None:
    """Run and print the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20, help="number of images")
    words = sys.argv[1:]
    first_at = words.index("--")
    second_at = words.index("--", first_at + 1)
    arguments = parser.parse_args(words[:first_at])
    first, second = opened(words[first_at + 1 : second_at]), opened(words[second_at + 1 :])
    total, extra, same = 0, 0, 0
    largest: dict[str, float] = {}
    files = sorted(p for p in arguments.images.iterdir() if p.suffix.lower() in (".jpg", ".png"))
    for path in files[: arguments.count]:
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        one, other = first.detections(image), second.detections(image)
        matched = pairs(one, other)
        total, extra, same = total + len(one), extra + len(other) - len(one), same + len(matched)
        for name, value in differences(one, other, matched).items():
            largest[name] = max(largest.get(name, 0.0), value)
    apart = ", ".join(f"{name} {value:.2g}" for name, value in largest.items())
    share = 100 * same / max(total, 1)
    counts = f"{same} of {total} matched at IoU {LEAST} ({share:.1f} %), {extra:+d} detections"
    print(f"{words[second_at + 1]}: {counts}; largest: {apart}")


if __name__ == "__main__":
    main()

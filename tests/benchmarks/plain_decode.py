"""Detections of a float bundle against a straightforward decode of the ONNX file that it was built from.

The straightforward side knows nothing of rkdeploy's decode: it runs the original file, applies the formulas of the
trainer's demo to every row, and suppresses.  Both see the same pixels.  Prints how many detections have a match of the
same class at IoU 0.99.

    python -m tests.benchmarks.plain_decode yolox_nano.onnx --preset yolox --images photos
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input
from rkdeploy.images.fit import image_fit

CONFIDENCE, IOU = 0.25, 0.45
Rows = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Corners (n, 4) in input pixels and scores (n, nc)."""
Found = tuple[NDArray[np.float64], NDArray[np.intp]]
"""Corners (n, 4) and classes (n,)."""
Outputs = list[NDArray[np.float32]]


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over everything."""
    return np.asarray(1 / (1 + np.exp(-x)))


def grid(hw: tuple[int, int], strides: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows of all cells, (n, 2), and their stride, (n, 1)."""
    cells, sizes = [], []
    for stride in strides:
        height, width = -(-hw[0] // stride), -(-hw[1] // stride)
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        cells.append(np.stack((x.ravel(), y.ravel()), axis=1))
        sizes.append(np.full((height * width, 1), stride))
    return np.concatenate(cells).astype(np.float64), np.concatenate(sizes).astype(np.float64)


def corners(center: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners of boxes given by center and size."""
    return np.concatenate((center - size / 2, center + size / 2), axis=1)


def yolox(outputs: Outputs, hw: tuple[int, int]) -> Rows:
    """One table of all cells: raw, or with its sigmoids.  yolox_nano.onnx has maps in the shape of rows."""
    values = outputs[0].astype(np.float64)
    cells, stride = grid(hw, (8, 16, 32))
    levels = np.split(values.ravel(), np.cumsum([hw[0] // s * (hw[1] // s) for s in (8, 16)]) * values.shape[2])
    table = np.concatenate([level.reshape(values.shape[2], -1).T for level in levels])
    box, rest = table[:, :4], sigmoid(table[:, 4:])
    return corners((box[:, :2] + cells) * stride, np.exp(box[:, 2:]) * stride), rest[:, :1] * rest[:, 1:]


def yunet(outputs: Outputs, hw: tuple[int, int]) -> Rows:
    """Probabilities, boxes and landmarks of each level."""
    cells, stride = grid(hw, (8, 16, 32))
    classes, objectness, box = (
        np.concatenate([outputs[3 * kind + level][0] for level in range(3)]).astype(np.float64) for kind in range(3)
    )
    return corners((box[:, :2] + cells) * stride, np.exp(box[:, 2:]) * stride), np.sqrt(classes * objectness)


def nanodet(outputs: Outputs, hw: tuple[int, int]) -> Rows:
    """Probabilities and distributions of each level."""
    cells, stride = grid(hw, (8, 16, 32))
    scores, bins = (np.concatenate([o[0] for o in outputs if o.shape[2] == n]) for n in (80, 32))
    shares = np.exp(bins.reshape(-1, 4, 8).astype(np.float64))
    distances = (shares / shares.sum(axis=2, keepdims=True)) @ np.arange(8) * stride
    center = (cells + 0.5) * stride
    xyxy = np.concatenate((center - distances[:, :2], center + distances[:, 2:]), axis=1)
    return xyxy, scores.astype(np.float64)


def own_tables(outputs: Outputs, _: tuple[int, int]) -> Rows:
    """Corners, (1, rows, 4), and scores, (1, nc, rows) or (1, rows, nc), as the graph itself decodes them."""
    boxes, scores = (table[0].astype(np.float64) for table in outputs)
    return boxes, scores if len(scores) == len(boxes) else scores.T


DECODES: dict[str, Callable[[Outputs, tuple[int, int]], Rows]] = {
    "yolox": yolox, "yunet": yunet, "nanodet": nanodet, "picodet": own_tables, "ppyoloe": own_tables,
    "yolo-nas": own_tables, "damo-yolo": own_tables, "rtmdet": own_tables,
}  # fmt: skip


def original_session(path: Path) -> onnxruntime.InferenceSession:
    """The original file; of one with suppression inside, what goes into it: boxes and scores."""
    model = onnx.load(str(path))
    suppression = next((node for node in model.graph.node if node.op_type == "NonMaxSuppression"), None)
    if suppression is not None:
        del model.graph.output[:]
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in suppression.input[:2])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def fed(session: onnxruntime.InferenceSession, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The image for its input of four axes, and 1 for a scale of the image."""
    ones = np.ones((1, 2), np.float32)
    return {one.name: pixels if len(one.shape) == 4 else ones for one in session.get_inputs()}


def overlaps(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of a box with others."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    inner = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(others[:, 2:] - others[:, :2], axis=1)
    return np.asarray(inner / (np.prod(one[2:] - one[:2]) + area - inner + 1e-9))


def suppressed(rows: Rows) -> Found:
    """Boxes and classes that stay: the best class of each row, suppression by class, best first."""
    xyxy, scores = rows
    classes, best = scores.argmax(axis=1), scores.max(axis=1)
    order = [i for i in np.argsort(-best, kind="stable") if best[i] > CONFIDENCE]
    kept: list[int] = []
    for i in order:
        rivals = [k for k in kept if classes[k] == classes[i]]
        if not rivals or overlaps(xyxy[i], xyxy[rivals]).max() <= IOU:
            kept.append(int(i))
    return xyxy[kept], classes[kept]


def matched(ours: Found, theirs: Found, least: float) -> int:
    """Number of `theirs` (boxes, classes) that have a box of the same class in `ours`."""
    free = list(range(len(ours[0])))
    found = 0
    for box, class_id in zip(*theirs, strict=True):
        alike = [i for i in free if ours[1][i] == class_id and overlaps(box, ours[0][i : i + 1])[0] >= least]
        if alike:
            free.remove(alike[0])
            found += 1
    return found


def main() -> None:
    """Run and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--images", type=Path, required=True)
    arguments = parser.parse_args()
    network = with_choice(open_network(arguments.model), InputChoice(preset=arguments.preset))
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec: ModelSpec = network.contract(outputs)
    session, fit = Session(graph), image_fit(spec.input)
    processor = Postprocessor(spec, Thresholds(confidence=CONFIDENCE, iou=IOU))
    original = original_session(arguments.model)
    decode = DECODES[network.family]
    total, same, extra = 0, 0, 0
    for path in sorted(p for p in arguments.images.iterdir() if p.suffix.lower() in (".jpg", ".png")):
        fitted = fit(np.asarray(cv2.imread(str(path)), np.uint8))
        pixels = network_input(fitted.image, spec)
        theirs = suppressed(decode(original.run(None, fed(original, pixels)), network.input_hw))
        raw = session.run({spec.input.name: pixels})
        found = processor([HeadTensor(raw[output.name]) for output in spec.outputs], fitted.transform)
        boxes = fitted.transform.boxes_to_source(theirs[0].astype(np.float32)).astype(np.float64)
        total += len(boxes)
        extra += len(found) - len(boxes)
        same += matched((found.xyxy.astype(np.float64), found.class_ids.astype(np.intp)), (boxes, theirs[1]), 0.99)
    share = 100 * same / max(total, 1)
    print(f"{arguments.model.name}: {same} of {total} matched at IoU 0.99 ({share:.1f} %), {extra:+d} detections")


if __name__ == "__main__":
    main()

"""Detections of a float bundle against a straightforward decode of the ONNX file that it was built from.

The straightforward side knows nothing of rkdeploy's decode: it runs the original file, applies the formulas of the
trainer's demo to every row, and suppresses.  Both see the same pixels.  Prints how many detections have a match of the
same class at IoU 0.99, and of those with landmarks how far they are apart.

    python -m tests.benchmarks.plain_decode yolox_nano.onnx --preset yolox --images photos
    python -m tests.benchmarks.plain_decode yolov8n.onnx --images photos  # decoded in the graph
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
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
Rows = tuple[NDArray[np.float64], ...]
"""Corners (n, 4) in input pixels, scores (n, nc) and perhaps landmarks (n, k, 2) in input pixels."""
Found = tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]
"""Corners (n, 4), classes (n,) and landmarks (n, k, 2)."""
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
    points = np.concatenate([outputs[9 + level][0] for level in range(3)]).astype(np.float64).reshape(-1, 5, 2)
    xyxy = corners((box[:, :2] + cells) * stride, np.exp(box[:, 2:]) * stride)
    return xyxy, np.sqrt(classes * objectness), (points + cells[:, None]) * stride[:, None]


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


def ssd(outputs: Outputs, hw: tuple[int, int]) -> Rows:
    """UltraFace and pytorch-ssd: shares of a softmax, and corners as shares of the image."""
    boxes = next(o[0] for o in outputs if o.shape[2] == 4).astype(np.float64)
    scores = next(o[0] for o in outputs if o.shape[2] != 4).astype(np.float64)
    return boxes * (hw[1], hw[0], hw[1], hw[0]), scores[:, 1:]


def retinaface(
    outputs: Outputs, hw: tuple[int, int], sides: tuple[tuple[float, ...], ...] = ((16, 32), (64, 128), (256, 512))
) -> Rows:
    """Raw boxes and landmarks relative to square anchors of each stride, and shares of a softmax."""
    boxes, landmarks, scores = (next(o[0] for o in outputs if o.shape[2] == n).astype(np.float64) for n in (4, 10, 2))
    centers, lengths = [], []
    for step, of_level in zip((8, 16, 32, 64), sides, strict=False):
        cells, stride = grid(hw, (step,))
        centers.append(np.repeat((cells + 0.5) * stride, len(of_level), axis=0))
        lengths.append(np.tile(np.array(of_level, np.float64)[:, None], (len(cells), 1)))
    center, side = np.concatenate(centers), np.concatenate(lengths)
    points = center[:, None] + landmarks.reshape(-1, 5, 2) * 0.1 * side[:, None]
    xyxy = corners(center + boxes[:, :2] * 0.1 * side, np.exp(boxes[:, 2:] * 0.2) * side)
    return xyxy, scores[:, 1:], points


def scrfd(outputs: Outputs, hw: tuple[int, int]) -> Rows:
    """Probabilities, distances and landmarks in cells, two per cell, from the cells' corners."""
    flat = [o.reshape(-1, o.shape[-1]).astype(np.float64) for o in outputs]
    scores, distances, landmarks = (
        np.concatenate([o for o in flat if o.shape[1] == n] or [flat[0][:0]]) for n in (1, 4, 10)
    )
    cells, stride = grid(hw, (8, 16, 32))
    point, size = np.repeat(cells * stride, 2, axis=0), np.repeat(stride, 2, axis=0)
    xyxy = np.concatenate((point - distances[:, :2] * size, point + distances[:, 2:] * size), axis=1)
    if landmarks.shape[1] != 10:
        return xyxy, scores
    return xyxy, scores, point[:, None] + landmarks.reshape(-1, 5, 2) * size[:, None]


def yolo_fastestv2(outputs: Outputs, hw: tuple[int, int]) -> Rows:
    """Boxes and objectness of three anchors, and the classes that they share: six maps of logits, or by a sigmoid and a
    softmax, side by side, as a table of each level or of both.
    """
    if len(outputs) == 6:
        rows = [output[0].reshape(output.shape[1], -1).T.astype(np.float64) for output in outputs]
        powers = [np.exp(logits) for logits in rows[2::3]]
        tables = [
            np.concatenate((sigmoid(box), sigmoid(objectness), power / power.sum(axis=1, keepdims=True)), axis=1)
            for box, objectness, power in zip(rows[::3], rows[1::3], powers, strict=True)
        ]
    else:
        both = np.concatenate([output.reshape(-1, output.shape[-1]) for output in outputs]).astype(np.float64)
        tables = np.split(both, [hw[0] * hw[1] // 16**2])
    xyxy, scores = [], []
    sizes = np.array(
        [[12.64, 19.39, 37.88, 51.48, 55.71, 138.31], [126.91, 78.23, 131.57, 214.55, 279.92, 258.87]]
    ).reshape(2, 3, 2)  # of the repository's coco.data
    for values, stride, anchors in zip(tables, (16, 32), sizes, strict=True):
        cells, _ = grid(hw, (stride,))
        box, objectness, classes = values[:, :12].reshape(-1, 3, 4), values[:, 12:15], values[:, 15:]
        center = (box[..., :2] * 2 - 0.5 + cells[:, None]) * stride
        size = (box[..., 2:] * 2) ** 2 * anchors
        xyxy.append(corners(center.reshape(-1, 2), size.reshape(-1, 2)))
        scores.append((objectness[..., None] * classes[:, None]).reshape(-1, classes.shape[1]))
    return np.concatenate(xyxy), np.concatenate(scores)


def fastestdet(outputs: Outputs, hw: tuple[int, int]) -> Rows:
    """Objectness, box and shares of the classes of each cell, (1, 5 + classes, H, W)."""
    values = outputs[0][0].reshape(outputs[0].shape[1], -1).T.astype(np.float64)
    cells, stride = grid(hw, (hw[0] // outputs[0].shape[2],))
    center, size = (np.tanh(values[:, 1:3]) + cells) * stride, sigmoid(values[:, 3:5]) * (hw[1], hw[0])
    return corners(center, size), values[:, :1] ** 0.6 * values[:, 5:] ** 0.4


def yolov8(outputs: Outputs, _: tuple[int, int]) -> Rows:
    """The graph's own center, size and probabilities, (1, 4 + nc, rows)."""
    values = outputs[0][0].T.astype(np.float64)
    return corners(values[:, :2], values[:, 2:4]), values[:, 4:]


def yolov5_face(outputs: Outputs, _: tuple[int, int], classes: int = 2) -> Rows:
    """The graph's own center, size, objectness, landmarks and probabilities, (1, rows, 5 + 2 k + nc)."""
    values = outputs[0][0].astype(np.float64)
    points = values[:, 5:-classes].reshape(len(values), -1, 2)
    return corners(values[:, :2], values[:, 2:4]), values[:, 4:5] * values[:, -classes:], points


DECODES: dict[str, Callable[[Outputs, tuple[int, int]], Rows]] = {
    "yolox": yolox, "yunet": yunet, "nanodet": nanodet, "picodet": own_tables, "ppyoloe": own_tables,
    "yolo-nas": own_tables, "damo-yolo": own_tables, "rtmdet": own_tables, "ssd": ssd, "ultraface": ssd,
    "retinaface": retinaface, "retinaface-1mb": partial(retinaface, sides=((10, 20), (32, 64), (128, 256))),
    "scrfd": scrfd, "yolo-fastestv2": yolo_fastestv2, "fastestdet": fastestdet,
    "ultralytics": yolov8, "yolov5-face": yolov5_face,
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


def suppressed(rows: Rows, confidence: float = CONFIDENCE) -> Found:
    """Boxes and classes that stay: the best class of each row, suppression by class, best first."""
    xyxy, scores = rows[:2]
    landmarks = rows[2] if len(rows) > 2 else np.zeros((len(xyxy), 0, 2))
    classes, best = scores.argmax(axis=1), scores.max(axis=1)
    order = [i for i in np.argsort(-best, kind="stable") if best[i] > confidence]
    kept: list[int] = []
    for i in order:
        rivals = [k for k in kept if classes[k] == classes[i]]
        if not rivals or overlaps(xyxy[i], xyxy[rivals]).max() <= IOU:
            kept.append(int(i))
    return xyxy[kept], classes[kept], landmarks[kept]


def matched(ours: Found, theirs: Found, least: float) -> list[float]:
    """For each of `theirs` that has a box of the same class in `ours`, how far their landmarks are apart at most."""
    free = list(range(len(ours[0])))
    found = []
    for box, class_id, points in zip(*theirs, strict=True):
        alike = [i for i in free if ours[1][i] == class_id and overlaps(box, ours[0][i : i + 1])[0] >= least]
        if alike:
            free.remove(alike[0])
            found.append(float(np.abs(ours[2][alike[0]] - points).max(initial=0.0)))
    return found


def main() -> None:
    """Run and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--preset", help="as the build takes it; none where the graph decodes all of it")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--imgsz", type=int, default=0, help="side of the input where the graph leaves it free")
    parser.add_argument("--confidence", type=float, default=CONFIDENCE)
    arguments = parser.parse_args()
    size = (arguments.imgsz, arguments.imgsz) if arguments.imgsz else None
    network = with_choice(open_network(arguments.model, imgsz=size), InputChoice(preset=arguments.preset))
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec: ModelSpec = network.contract(outputs)
    session, fit = Session(graph), image_fit(spec.input)
    processor = Postprocessor(spec, Thresholds(confidence=arguments.confidence, iou=IOU))
    original = original_session(arguments.model)
    decode = DECODES[arguments.preset if arguments.preset in DECODES else network.family]
    total, extra = 0, 0
    same: list[float] = []
    for path in sorted(p for p in arguments.images.iterdir() if p.suffix.lower() in (".jpg", ".png")):
        fitted = fit(np.asarray(cv2.imread(str(path)), np.uint8))
        pixels = network_input(fitted.image, spec)
        boxes, class_ids, points = suppressed(
            decode(original.run(None, fed(original, pixels)), network.input_hw), arguments.confidence
        )
        raw = session.run({spec.input.name: pixels})
        found = processor([HeadTensor(raw[output.name]) for output in spec.outputs], fitted.transform)
        theirs = (
            fitted.transform.boxes_to_source(boxes.astype(np.float32)).astype(np.float64),
            class_ids,
            fitted.transform.points_to_source(points.astype(np.float32)).astype(np.float64),
        )
        landmarks = np.zeros((len(found), 0, 2)) if found.keypoints is None else found.keypoints[:, :, :2]
        ours = (found.xyxy.astype(np.float64), found.class_ids.astype(np.intp), landmarks.astype(np.float64))
        total += len(boxes)
        extra += len(found) - len(boxes)
        same += matched(ours, theirs, 0.99)
    share = 100 * len(same) / max(total, 1)
    apart = f", landmarks at most {max(same):.2g} px apart" if spec.keypoints is not None and same else ""
    counts = f"{len(same)} of {total} matched at IoU 0.99 ({share:.1f} %), {extra:+d} detections"
    print(f"{arguments.model.name}: {counts}{apart}")


if __name__ == "__main__":
    main()

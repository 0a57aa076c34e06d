"""Speed of the post-processing of each kind of head compared with the usual dense numpy code.

Prints one line per head and dtype: the median time from head tensors to results in the pixels of a 1920x1080 source,
ours and the dense side's, and their ratio.  Both are run in interleaved pairs on the same tensors, and must find the
same before anything is timed.  `ours` is timed in calls that follow one of its own, `cold` in the first call after the
dense side, which leaves the caches full of its own arrays.  `nhwc` and `nc1hwc2` are ours on the same tensors as an NPU
lays them out in memory.  All of these are by the C library, if there is one; `numpy` is ours without it.
`bench_decode.py` does this for anchor heads.

The dense side does the work of typical deployment examples: dequantize, softmax and sigmoid over everything, decode
every row, filter, suppress; combine whole prototypes and resize every mask to the whole image; resize every plane of a
class map.  It is numpy but for the resizing of masks and class maps, which is OpenCV's; for depth, where nothing else
is to be done, both ways are timed.

The dense side of a small head is a third faster in a process that has run large ones: glibc then keeps its arrays'
memory instead of returning it to the system.  With `--only` YuNet's takes 1.3 ms, in the whole table 0.8 ms.

    python -m tests.benchmarks.bench_decode_heads --repeats 30
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.accuracy.depth_errors import depth_errors
from rkdeploy.contract.formulas import (
    AngleFormula,
    ClassMapSpec,
    DepthFormula,
    EmbeddingFormula,
    KeypointLayout,
    PointFormula,
    PriorFormula,
)
from rkdeploy.contract.roles import OutputRole
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.native.decode_library import decode_choice
from rkdeploy.device.postprocess.nms import nms
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.rotated import probiou, regularized
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.images.fit import LetterboxTransform
from tests.benchmarks.bench_decode import as_nc1hwc2, as_nhwc, by_numpy, median_ms

STRIDES = (8, 16, 32)
ANCHOR_CELLS = (2.0, 4.0)
"""Sides of the anchors of a level in its cells, as RetinaFace has them."""
REG_MAX = 16
CONFIDENCE, IOU, MAX_DET = 0.25, 0.45, 300
SOURCE_HW = (1080, 1920)
ANGLE = AngleFormula(sigmoid=True, gain=float(np.pi), offset=float(-np.pi / 4))
Fields = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Kind:
    """One kind of head."""

    class_count: int
    end_to_end: bool = False
    keypoint_count: int = 0
    coefficient_count: int = 0
    rotated: bool = False
    map_planes: int = 0
    depth: bool = False
    embedding: int = 0
    has_objects: bool = True
    points: PointFormula | None = None
    priors: PriorFormula | None = None
    bins: int = REG_MAX
    boxes: OutputRole = "dfl_boxes"
    objectness: bool = False
    queries: int = 0
    channels: dict[OutputRole, int] = field(init=False)
    """Per box of a cell."""

    @property
    def several(self) -> int:
        """Boxes per cell where there are several, else 0."""
        if self.priors is not None:
            return 2
        return self.points.per_cell if self.points is not None and self.points.per_cell > 1 else 0

    def __post_init__(self) -> None:
        channels: dict[OutputRole, int] = {self.boxes: 4 * self.bins if self.boxes == "dfl_boxes" else 4}
        if self.objectness:
            channels["objectness"] = 1
        channels["scores"] = self.class_count
        if self.keypoint_count:
            channels["keypoint_xy"] = 2 * self.keypoint_count
        if self.keypoint_count and self.points is None and not self.several:
            channels["keypoint_scores"] = self.keypoint_count
        if self.coefficient_count:
            channels["mask_coefficients"] = self.coefficient_count
        if self.rotated:
            channels["angles"] = 1
        if self.queries:
            channels = {"query_boxes": 4, "query_scores": self.class_count}
        object.__setattr__(self, "channels", channels if self.has_objects else {})


KINDS = {
    "detect, 80 classes": Kind(80),
    "detect, 1 class": Kind(1),
    "end to end, 80": Kind(80, end_to_end=True, boxes="ltrb_boxes"),
    "pose, 17 points": Kind(1, keypoint_count=17),
    "segment, 80": Kind(80, coefficient_count=32),
    "rotated, 15": Kind(15, rotated=True),
    "YOLOX, 80 classes": Kind(80, points=PointFormula(0.0), boxes="center_boxes", objectness=True),
    "YuNet, 5 points": Kind(
        1, keypoint_count=5, points=PointFormula(0.0, "root"), boxes="center_boxes", objectness=True
    ),
    "RetinaFace, 5 points": Kind(1, keypoint_count=5, priors=PriorFormula(), boxes="prior_boxes"),
    "SSD, 20 classes": Kind(20, points=PointFormula(score="softmax"), priors=PriorFormula(), boxes="prior_boxes"),
    "SCRFD, 5 points": Kind(1, keypoint_count=5, points=PointFormula(0.0, per_cell=2), boxes="ltrb_boxes"),
    "8 bins, 80 (NanoDet)": Kind(80, bins=8),
    "8 bins, PicoDet": Kind(80, bins=8, points=PointFormula(0.5, "root"), objectness=True),
    "17 bins, PP-YOLOE": Kind(80, bins=17),
    "17 bins, DAMO-YOLO": Kind(80, bins=17, points=PointFormula(0.0)),
    "RTMDet, pixels": Kind(80, points=PointFormula(0.0, distance="pixels"), boxes="ltrb_boxes"),
    "RTMDet, exp": Kind(80, points=PointFormula(0.0, distance="exp"), boxes="ltrb_boxes"),
    "300 queries, 80 (RT-DETR)": Kind(80, end_to_end=True, queries=300),
    "class map, 2": Kind(1, map_planes=2, has_objects=False),
    "class map, 19": Kind(1, map_planes=19, has_objects=False),
    "depth": Kind(1, depth=True, has_objects=False),
    "embedding, 512": Kind(1, embedding=512, has_objects=False),
}
DEPTH = DepthFormula("metric", exponential=True, gain=0.9, offset=0.2, low=-4.0, high=5.0)


def object_fields(
    kind: Kind, size: int, objects: int, rng: np.random.Generator
) -> list[dict[str, NDArray[np.float32]]]:
    """Tensors of every level by role, (C, H, W): background as a trained model gives it, and some cells an object."""
    levels: list[dict[str, NDArray[np.float32]]] = []
    for stride in STRIDES:
        cells = size // stride
        level = {
            str(role): rng.normal(0.0, 1.0, (count * (kind.several or 1), cells, cells)).astype(np.float32)
            for role, count in kind.channels.items()
        }
        level["scores"] = rng.normal(-9.5, 1.5, level["scores"].shape).astype(np.float32)
        if kind.objectness:
            level["objectness"] = rng.normal(-9.5, 1.5, level["objectness"].shape).astype(np.float32)
        levels.append(level)
    for _ in range(objects):
        class_id, side = int(rng.integers(kind.class_count)), np.exp(rng.uniform(np.log(12.0), np.log(size / 3)))
        box_wh = side * np.exp(rng.normal(0, 0.3, 2))
        center = rng.uniform((0.1 * size, 0.3 * size), (0.9 * size, 0.7 * size))  # not in the letterbox's padding
        level_number = int(np.clip(np.log2(side / 32), 0, 2))
        angle = rng.normal(0, 1)
        for _ in range(7):  # the cells that task alignment trains
            cell = np.floor((center + rng.normal(0, 0.15, 2) * box_wh) / STRIDES[level_number]).astype(int)
            cell = np.clip(cell, 0, size // STRIDES[level_number] - 1)
            answer(levels[level_number], kind, cell, center, box_wh, STRIDES[level_number], rng)
            levels[level_number]["scores"][class_id, cell[1], cell[0]] = rng.normal(0.3, 1.2)
            if kind.objectness:
                levels[level_number]["objectness"][0, cell[1], cell[0]] = rng.normal(1.5, 1.2)
            if kind.rotated:
                levels[level_number]["angles"][0, cell[1], cell[0]] = angle + rng.normal(0, 0.05)
    return levels


def query_fields(kind: Kind, objects: int, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Tensors by role, (C, 1, queries): background as a trained model gives it, and one query for each object."""
    boxes = rng.uniform(0.02, 0.98, (4, 1, kind.queries)).astype(np.float32)
    boxes[2:] *= np.float32(0.4)
    scores = rng.normal(-6.5, 1.0, (kind.class_count, 1, kind.queries)).astype(np.float32)
    chosen = rng.choice(kind.queries, objects, replace=False)
    boxes[:2, 0, chosen] = rng.uniform(0.35, 0.65, (2, objects))  # not in the letterbox's padding
    scores[rng.integers(kind.class_count, size=objects), 0, chosen] = rng.normal(0.3, 1.2, objects)
    return {"query_boxes": boxes, "query_scores": scores}


def answer(
    level: dict[str, NDArray[np.float32]],
    kind: Kind,
    cell: NDArray[Any],
    center_px: NDArray[Any],
    box_wh_px: NDArray[Any],
    stride: int,
    rng: np.random.Generator,
) -> None:
    """Let one cell answer for a box."""
    (x, y), center, box_wh = cell, center_px / stride, box_wh_px / stride
    formula = kind.points or PointFormula()
    if kind.priors is not None:
        anchor = ANCHOR_CELLS[0]
        xy, wh = (center - cell - 0.5) / anchor, np.log(box_wh / anchor)
        raw = np.concatenate((xy / kind.priors.center_gain, wh / kind.priors.size_gain))
        level["prior_boxes"][:4, y, x] = raw + rng.normal(0, 0.02, 4)
        return
    if kind.boxes == "center_boxes":
        level["center_boxes"][:, y, x] = np.concatenate((center - cell, np.log(box_wh))) + rng.normal(0, 0.02, 4)
        return
    point = cell + formula.offset
    distances = np.concatenate((point - center + box_wh / 2, center + box_wh / 2 - point))
    distances = np.clip(distances + rng.normal(0, 0.05, 4), 0.05, kind.bins - 1.01)
    if kind.boxes == "ltrb_boxes":
        factor = stride if formula.distance == "pixels" else 1
        level["ltrb_boxes"][:4, y, x] = np.log(distances) if formula.distance == "exp" else distances * factor
        return
    bins = -4.0 * np.abs(np.arange(kind.bins) - distances[:, None])
    level["dfl_boxes"][:, y, x] = (bins + rng.normal(0, 0.2, bins.shape)).ravel()


def quantized(values: NDArray[np.float32], dtype: str) -> HeadTensor:
    """The tensor in the given dtype."""
    values = np.ascontiguousarray(values[None])
    if dtype != "int8":
        return HeadTensor(values.astype(dtype))
    low, high = float(values.min()), float(values.max())
    scale = (high - low) / 255
    zero_point = round(-128 - low / scale)
    return HeadTensor(np.clip(np.round(values / scale) + zero_point, -128, 127).astype(np.int8), scale, zero_point)


def smooth(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Planes that vary as prototypes and score maps do, (C, H, W)."""
    coarse = rng.normal(0, 1, (shape[0], shape[1] // 16, shape[2] // 16)).astype(np.float32)
    return np.stack([cv2.resize(plane, shape[:0:-1], interpolation=cv2.INTER_CUBIC) for plane in coarse])


def head(kind: Kind, size: int, objects: int, dtype: str, seed: int) -> tuple[ModelSpec, list[HeadTensor]]:
    """The contract and the tensors."""
    rng = np.random.default_rng(seed)
    outputs: list[HeadOutput] = []
    tensors: list[HeadTensor] = []

    def add(role: OutputRole, level: int, stride: int, values: NDArray[np.float32]) -> None:
        channels, height, width = values.shape
        outputs.append(HeadOutput(f"{role}.{level}", role, level, stride, (1, channels, height, width)))
        tensors.append(quantized(values, dtype))

    if kind.queries:
        for role, values in query_fields(kind, objects, rng).items():
            add("query_boxes" if role == "query_boxes" else "query_scores", 0, size, values)
    elif kind.has_objects:
        for number, level in enumerate(object_fields(kind, size, objects, rng)):
            for role in kind.channels:
                add(role, number, STRIDES[number], level[role])
    if kind.coefficient_count:
        add("prototypes", 0, 4, smooth((kind.coefficient_count, size // 4, size // 4), rng))
    maps: tuple[ClassMapSpec, ...] = ()
    if kind.depth:
        add("depth_map", 0, 4, smooth((1, size // 4, size // 4), rng))
    if kind.embedding:
        add("embedding", 0, size, rng.normal(0, 1, (kind.embedding, 1, 1)).astype(np.float32))
    if kind.map_planes:
        stride = 1 if kind.map_planes == 2 else 8
        add("class_map", 0, stride, smooth((kind.map_planes, size // stride, size // stride), rng))
        maps = (ClassMapSpec("class_map.0", tuple(str(number) for number in range(kind.map_planes))),)
    spec = ModelSpec(
        family="yolov8",
        task="detect",
        class_names=tuple(f"class {number}" for number in range(kind.class_count)),
        input=InputSpec("images", size, size),
        outputs=tuple(outputs),
        end_to_end=kind.end_to_end,
        keypoints=keypoint_layout(kind),
        anchors=Anchors(tuple(tuple((n * s, n * s) for n in ANCHOR_CELLS) for s in STRIDES)) if kind.priors else None,
        prior_formula=kind.priors,
        angle=ANGLE if kind.rotated else None,
        points=kind.points,
        class_maps=maps,
        depth=DEPTH if kind.depth else None,
        embedding=EmbeddingFormula() if kind.embedding else None,
    )
    return spec, tensors


def keypoint_layout(kind: Kind) -> KeypointLayout | None:
    """The formula of its keypoints."""
    if not kind.keypoint_count:
        return None
    if kind.priors is not None:
        return KeypointLayout(kind.keypoint_count, False, kind.priors.center_gain, 0.5, by_anchor=True)
    return KeypointLayout(kind.keypoint_count, scored=kind.points is None)


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over everything."""
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def several_rows(kind: Kind, spec: ModelSpec, tensors: list[HeadTensor]) -> dict[str, NDArray[np.float32]]:
    """Every row of a head with several boxes per cell, decoded: (N, n) by field."""
    levels: list[dict[str, NDArray[np.float32]]] = []
    for number, stride in enumerate(STRIDES):
        raw = {
            output.role: np.ascontiguousarray(tensor.dequantized()[0].transpose(1, 2, 0)).reshape(
                -1, kind.channels[output.role]
            )
            for output, tensor in zip(spec.outputs, tensors, strict=True)
            if output.level == number
        }
        side = spec.input.width // stride
        cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(np.float32)
        cells = np.repeat(cells, kind.several, axis=0)
        rows: dict[str, NDArray[np.float32]] = {}
        if kind.class_count > 1:
            powers = np.exp(raw["scores"])
            rows["scores"] = powers / (1 + powers.sum(axis=1, keepdims=True))
        else:
            rows["scores"] = sigmoid(raw["scores"])
        if kind.priors is not None:
            size = np.tile(np.array(ANCHOR_CELLS, np.float32)[:, None] * stride, (side * side, 1))
            middle = (cells + np.float32(0.5)) * stride
            boxes = raw["prior_boxes"]
            rows["xy"] = boxes[:, :2] * np.float32(kind.priors.center_gain) * size + middle
            rows["wh"] = np.exp(boxes[:, 2:] * np.float32(kind.priors.size_gain)) * size
        else:
            low, high = cells - raw["ltrb_boxes"][:, :2], cells + raw["ltrb_boxes"][:, 2:]
            rows["xy"], rows["wh"] = (low + high) / 2 * stride, (high - low) * stride
        if kind.keypoint_count:
            pairs = raw["keypoint_xy"].reshape(-1, kind.keypoint_count, 2)
            if kind.priors is not None:
                pairs = pairs * np.float32(kind.priors.center_gain) * size[:, None] + middle[:, None]
            else:
                pairs = (pairs * 2 + cells[:, None]) * stride
            ones = np.ones((*pairs.shape[:2], 1), np.float32)
            rows["keypoints"] = np.concatenate((pairs, ones), axis=2).reshape(len(cells), -1)
        levels.append(rows)
    return {name: np.concatenate([level[name] for level in levels]) for name in levels[0]}


def dense_rows(kind: Kind, spec: ModelSpec, tensors: list[HeadTensor]) -> dict[str, NDArray[np.float32]]:
    """Every row, decoded: (N, n) by field."""
    levels: list[dict[str, NDArray[np.float32]]] = []
    for number, stride in enumerate(STRIDES):
        raw = {
            output.role: tensor.dequantized()[0].reshape(output.shape[1], -1).T
            for output, tensor in zip(spec.outputs, tensors, strict=True)
            if output.level == number and output.role in kind.channels
        }
        side = spec.input.width // stride
        cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(np.float32)
        formula = kind.points or PointFormula()
        point = cells + np.float32(formula.offset)
        if kind.boxes != "dfl_boxes":
            distances = raw[kind.boxes]
            distances = np.exp(distances) if formula.distance == "exp" else distances
            distances = distances / stride if formula.distance == "pixels" else distances
        else:
            bins = raw["dfl_boxes"].reshape(-1, 4, kind.bins)
            shares = np.exp(bins - bins.max(axis=2, keepdims=True))
            shares /= shares.sum(axis=2, keepdims=True)
            distances = shares @ np.arange(kind.bins, dtype=np.float32)
        rows = {"scores": sigmoid(raw["scores"])}
        if kind.objectness:
            joined = rows["scores"] * sigmoid(raw["objectness"])
            rows["scores"] = joined if formula.score == "product" else np.sqrt(joined)
        if kind.boxes == "center_boxes":
            rows["xy"], rows["wh"] = (distances[:, :2] + cells) * stride, np.exp(distances[:, 2:]) * stride
        elif kind.rotated:
            angle = (sigmoid(raw["angles"]) - np.float32(0.25)) * np.float32(np.pi)
            x, y = (distances[:, 2:] - distances[:, :2]).T / 2
            cos, sin = np.cos(angle[:, 0]), np.sin(angle[:, 0])
            turned = np.stack((x * cos - y * sin, x * sin + y * cos), axis=1)
            rows["xy"] = (cells + np.float32(0.5) + turned) * stride
            rows["wh"] = (distances[:, :2] + distances[:, 2:]) * stride
            rows["angle"] = angle
        else:
            low, high = point - distances[:, :2], point + distances[:, 2:]
            rows["xy"], rows["wh"] = (low + high) / 2 * stride, (high - low) * stride
        if kind.keypoint_count:
            pairs = raw["keypoint_xy"].reshape(-1, kind.keypoint_count, 2)
            pairs = (pairs * 2 + cells[:, None]) * stride
            visible = raw.get("keypoint_scores", np.full((len(cells), kind.keypoint_count), np.inf, np.float32))
            scores = sigmoid(visible)[:, :, None]
            rows["keypoints"] = np.concatenate((pairs, scores), axis=2).reshape(len(cells), -1)
        if kind.coefficient_count:
            rows["coefficients"] = raw["mask_coefficients"]
        levels.append(rows)
    return {name: np.concatenate([level[name] for level in levels]) for name in levels[0]}


def dense_nms_rotated(
    rotated: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[np.int32]
) -> NDArray[np.intp]:
    """Every pair of boxes."""
    order = (-scores).argsort(kind="stable")
    boxes = rotated[order].T.copy()
    boxes[:2] += class_ids[order] * np.float32(7680)
    count = len(order)
    first, second = np.indices((count, count)).reshape(2, -1)
    overlaps = np.triu(probiou(boxes[:, first], boxes[:, second]).reshape(count, count), 1)
    return np.asarray(order[(overlaps > IOU).sum(axis=0) == 0][:MAX_DET])


def dense_queries(
    kind: Kind, spec: ModelSpec, tensors: list[HeadTensor], transform: LetterboxTransform
) -> dict[str, Any]:
    """All probabilities sorted, the best 300 gathered, then the threshold: as the packages' post-processors do."""
    boxes, logits = (tensor.dequantized()[0, :, 0].T for tensor in tensors)
    flat = sigmoid(logits).ravel()
    best = (-flat).argsort(kind="stable")[:MAX_DET]
    queries, class_ids, scores = best // kind.class_count, best % kind.class_count, flat[best]
    xywh = boxes[queries] * np.array([spec.input.width, spec.input.height] * 2, np.float32)
    xyxy = np.concatenate((xywh[:, :2] - xywh[:, 2:] / 2, xywh[:, :2] + xywh[:, 2:] / 2), axis=1)
    kept = scores > CONFIDENCE
    return {
        "scores": scores[kept],
        "class_ids": class_ids[kept],
        "xyxy": transform.boxes_to_source(xyxy[kept]),
    }


def dense(kind: Kind, spec: ModelSpec, tensors: list[HeadTensor], transform: LetterboxTransform) -> dict[str, Any]:
    """Decode as in typical deployment examples."""
    if kind.depth:
        return {"depth": dense_depth(tensors[-1], spec.outputs[-1].stride, transform)}
    if kind.embedding:
        vector = tensors[-1].dequantized().ravel()
        return {"embedding": vector / np.linalg.norm(vector)}
    if kind.map_planes:
        return {"class_ids": dense_map(tensors[-1], spec.outputs[-1].stride, transform)}
    if kind.queries:
        return dense_queries(kind, spec, tensors, transform)
    rows = several_rows(kind, spec, tensors) if kind.several else dense_rows(kind, spec, tensors)
    if kind.end_to_end:
        best_rows = np.sort(rows["scores"].max(axis=1).argpartition(-MAX_DET)[-MAX_DET:])
        pairs = rows["scores"][best_rows].ravel()
        best = (-pairs).argsort(kind="stable")[:MAX_DET]
        best = best[pairs[best] > CONFIDENCE]
        kept, class_ids, scores = best_rows[best // kind.class_count], best % kind.class_count, pairs[best]
    else:
        class_ids, scores = rows["scores"].argmax(axis=1), rows["scores"].max(axis=1)
        kept = np.flatnonzero(scores > CONFIDENCE)
        class_ids, scores = class_ids[kept].astype(np.int32), scores[kept]
    half = rows["wh"][kept] / 2
    xyxy = np.concatenate((rows["xy"][kept] - half, rows["xy"][kept] + half), axis=1)
    found: dict[str, Any] = {}
    if kind.rotated:
        rotated = np.concatenate((rows["xy"][kept], rows["wh"][kept], rows["angle"][kept]), axis=1)
        chosen = dense_nms_rotated(rotated, scores, class_ids.astype(np.int32))
        found["rotated"] = regularized(transform.rotated_to_source(rotated[chosen]))
    elif kind.end_to_end:
        chosen = np.arange(len(kept))
    else:
        chosen = nms(xyxy, scores, class_ids.astype(np.int32), iou=IOU, max_det=MAX_DET, max_nms=30_000)
    found |= {"scores": scores[chosen], "class_ids": class_ids[chosen]}
    if not kind.rotated:
        found["xyxy"] = transform.boxes_to_source(xyxy[chosen])
    if kind.keypoint_count:
        keypoints = rows["keypoints"][kept[chosen]].reshape(-1, kind.keypoint_count, 3)
        keypoints[:, :, :2] = transform.points_to_source(keypoints[:, :, :2])
        found["keypoints"] = keypoints
    if kind.coefficient_count:
        found["masks"] = dense_masks(tensors[-1], rows["coefficients"][kept[chosen]], found["xyxy"], transform)
    return found


def content(transform: LetterboxTransform, stride: int) -> tuple[slice, slice]:
    """Rows and columns of a plane that the image lies on; whole cells for the size that is benchmarked."""
    placed = transform.placed
    (height, width), (x, y) = transform.source_hw, (round(placed.pad_x), round(placed.pad_y))
    bottom, right = y + round(height * placed.scale_y), x + round(width * placed.scale_x)
    return slice(y // stride, -(-bottom // stride)), slice(x // stride, -(-right // stride))


def dense_masks(
    tensor: HeadTensor, weights: NDArray[np.float32], xyxy: NDArray[np.float32], transform: LetterboxTransform
) -> list[NDArray[np.bool_]]:
    """Whole planes, resized to the whole image one by one, then cropped."""
    prototypes = tensor.dequantized()[0]
    count, height, width = prototypes.shape
    planes = (weights @ prototypes.reshape(count, -1)).reshape(-1, height, width)
    masks = []
    for plane, (x1, y1, x2, y2) in zip(planes, np.ceil(xyxy).astype(int).tolist(), strict=True):
        logits = cv2.resize(np.ascontiguousarray(plane[content(transform, 4)]), transform.source_hw[::-1])
        masks.append(np.asarray(logits > 0)[y1:y2, x1:x2])
    return masks


def dense_map(tensor: HeadTensor, stride: int, transform: LetterboxTransform) -> NDArray[np.uint8]:
    """Every plane resized to the whole image, then the greatest."""
    scores = tensor.dequantized()[0]
    if stride > 1:  # the letterbox's padding does not end on a whole cell
        scores = np.stack([cv2.resize(plane, None, fx=stride, fy=stride) for plane in scores])
    part = content(transform, 1)
    planes = [cv2.resize(np.ascontiguousarray(plane[part]), transform.source_hw[::-1]) for plane in scores]
    class_ids: NDArray[np.intp] = np.stack(planes).argmax(axis=0)
    return class_ids.astype(np.uint8)


def dense_depth(tensor: HeadTensor, stride: int, transform: LetterboxTransform) -> NDArray[np.float32]:
    """The plane dequantized, through the formula, and interpolated at the pixels of the whole image, by numpy."""
    depths = real_depths(tensor)
    places = [
        ((np.arange(pixels) + 0.5) * scale + pad) / stride - 0.5
        for pixels, scale, pad in zip(
            transform.source_hw,
            (transform.placed.scale_y, transform.placed.scale_x),
            (transform.placed.pad_y, transform.placed.pad_x),
            strict=True,
        )
    ]
    y, x = (place.clip(0, size - 1) for place, size in zip(places, depths.shape, strict=True))
    top, left = y.astype(int), x.astype(int)
    bottom, right = np.minimum(top + 1, depths.shape[0] - 1), np.minimum(left + 1, depths.shape[1] - 1)
    down, across = (y - top).astype(np.float32)[:, None], (x - left).astype(np.float32)
    upper = depths[np.ix_(top, left)] * (1 - across) + depths[np.ix_(top, right)] * across
    lower = depths[np.ix_(bottom, left)] * (1 - across) + depths[np.ix_(bottom, right)] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


def depth_by_opencv(tensor: HeadTensor, stride: int, transform: LetterboxTransform) -> NDArray[np.float32]:
    """The same, resized by OpenCV to the input and then to the whole image: its vectorized C++ instead of numpy."""
    whole = cv2.resize(real_depths(tensor), None, fx=stride, fy=stride)
    part = np.ascontiguousarray(whole[content(transform, 1)])
    return np.asarray(cv2.resize(part, transform.source_hw[::-1]), np.float32)


def real_depths(tensor: HeadTensor) -> NDArray[np.float32]:
    """The plane dequantized and through the formula."""
    raw = tensor.dequantized()[0, 0]
    return np.asarray(np.exp(DEPTH.gain * np.clip(raw, DEPTH.low, DEPTH.high) + DEPTH.offset), np.float32)


def require_same(found: Detections, expected: Mapping[str, Any]) -> None:
    """Fail unless both sides found the same; masks and maps may differ at edges by the interpolation's rounding."""
    if found.depth is not None:
        errors = depth_errors(expected["depth"], found.depth.values, "metric")
        assert errors is not None
        assert errors.abs_rel < 2e-3  # the dense side interpolates twice
        return
    if found.embedding is not None:
        np.testing.assert_allclose(found.embedding, expected["embedding"], atol=1e-6)
        return
    if found.class_maps:
        assert (found.class_maps[0].class_ids != expected["class_ids"]).mean() < 2e-3
        return
    np.testing.assert_array_equal(found.class_ids, expected["class_ids"])
    np.testing.assert_allclose(found.scores, expected["scores"], rtol=1e-5)
    if found.rotated is not None:
        np.testing.assert_allclose(found.rotated, expected["rotated"], atol=2e-2)
    else:
        np.testing.assert_allclose(found.xyxy, expected["xyxy"], atol=2e-2)
    if found.keypoints is not None:
        np.testing.assert_allclose(found.keypoints, expected["keypoints"], atol=2e-2)
    for mask, other in zip(found.masks or (), expected.get("masks", ()), strict=True):
        assert mask.pixels.shape == other.shape
        assert mask.pixels.size == 0 or (mask.pixels != other).mean() < 2e-2


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=640, help="input width and height in pixels")
    parser.add_argument("--objects", type=int, default=70)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only heads whose name has this in it")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    scale = arguments.size / max(SOURCE_HW)
    pad = (arguments.size - SOURCE_HW[0] * scale) / 2
    transform = LetterboxTransform(scale, scale, 0.0, pad, SOURCE_HW)
    thresholds = Thresholds(confidence=CONFIDENCE, iou=IOU, max_det=MAX_DET)
    print(f"ours: {decode_choice().why if decode_choice().library else f'numpy, {decode_choice().why}'}")
    print(
        f"{'head':20} {'dtype':8} {'kept':>5} {'dense ms':>9} {'ours ms':>8} {'ratio':>6} {'cold ms':>8} "
        f"{'cold ratio':>10} {'nhwc ms':>8} {'nc1hwc2 ms':>10} {'numpy ms':>8}"
    )
    for name, kind in KINDS.items():
        if arguments.only not in name:
            continue
        for dtype in ("int8", "float32"):
            spec, tensors = head(kind, arguments.size, arguments.objects, dtype, arguments.seed)
            processor = Postprocessor(spec, thresholds)

            def run(tensors: list[HeadTensor], processor: Postprocessor = processor) -> Callable[[], Detections]:
                return lambda: processor(tensors, transform)

            def dense_side(
                kind: Kind = kind, spec: ModelSpec = spec, tensors: list[HeadTensor] = tensors
            ) -> dict[str, Any]:
                return dense(kind, spec, tensors, transform)

            ours = run(tensors)
            found, expected = ours(), dense_side()
            require_same(found, expected)
            laid_out = [run([lay(tensor) for tensor in tensors]) for lay in (as_nhwc, as_nc1hwc2)]
            for other in laid_out:
                require_same(other(), expected)
            nhwc_side, packed_side = median_ms(list(laid_out), arguments.repeats)
            with by_numpy():
                numpy_ms = median_ms([run(tensors, Postprocessor(spec, thresholds))], arguments.repeats)[0][1]
            theirs, our_side = median_ms([dense_side, ours], max(5, arguments.repeats // 3))
            if kind.depth:
                resize = partial(depth_by_opencv, tensors[-1], spec.outputs[-1].stride, transform)
                print(f"depth resized by OpenCV: {median_ms([resize], arguments.repeats)[0][1]:.2f} ms")
            print(
                f"{name:20} {dtype:8} {len(found):5} {theirs[1]:9.2f} {our_side[1]:8.3f} "
                f"{theirs[1] / our_side[1]:6.0f} {our_side[0]:8.3f} {theirs[0] / our_side[0]:10.0f} "
                f"{nhwc_side[1]:8.3f} {packed_side[1]:10.3f} {numpy_ms:8.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()

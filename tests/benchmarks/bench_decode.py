"""Speed of the decode in the quantized domain compared with a dense one.

Prints one table: for each layout and dtype of the head, the median time of both (decode and NMS), and their ratio.
Both are run in interleaved pairs on the same tensors, and must find the same boxes before anything is timed.
`ours` is timed in calls that follow one of its own, `cold` in the first call after the dense side, which leaves the
caches full of its own 50 MB.  `NMS` is the part of it that both sides share.  `nhwc` and `nc1hwc2` are ours on the
same tensors as an NPU lays them out in memory.  All of these are by the C library, if there is one; `numpy` is ours
without it.
The dense side is the usual numpy code: dequantize, sigmoid over everything, xywh to xyxy, filter, then the same NMS.

    python -m tests.benchmarks.bench_decode --repeats 40
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AnchorFormula, KeypointLayout, SizeBins
from rkdeploy.contract.roles import OutputRole
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.postprocess.decoder import Candidates
from rkdeploy.device.postprocess.native.decode_library import DECODE_VARIABLE, decode_choice
from rkdeploy.device.postprocess.nms import nms
from rkdeploy.device.runtime.protocol import HeadTensor

ANCHORS = Anchors(
    (
        ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
        ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
        ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
    )
)
STRIDES = (8, 16, 32)
BINS = SizeBins(tuple((k + 0.5) * 4 / 21 for k in range(21)), 4 / 21, 0.0, 4.0)
"""Those of YOLOv7's IBin."""


@dataclass(frozen=True)
class Layout:
    """One form of head.

    Attributes:
        roles: the tensors of each level.
        formula: of the boxes; None for YOLOv5's.
        points: landmarks per object, which YOLOv5-face has.
        classes: number of classes where the head has its own, as faces do.
    """

    roles: tuple[OutputRole, ...]
    formula: AnchorFormula | None = None
    points: int = 0
    classes: int | None = None

    @property
    def keypoints(self) -> KeypointLayout | None:
        """The formula of the landmarks."""
        return KeypointLayout(self.points, scored=False, gain=1.0, offset=0.0, by_anchor=True) if self.points else None


LAYOUTS = {
    "map": Layout(("anchor_map",)),
    "boxes+scores": Layout(("anchor_boxes", "anchor_scores")),
    "xy+wh+scores": Layout(("anchor_xy", "anchor_wh", "anchor_scores")),
    "darknet": Layout(("anchor_xy", "anchor_wh", "anchor_scores"), AnchorFormula((1.2, 1.1, 1.05), "exp")),
    "5 landmarks": Layout(("anchor_map", "anchor_keypoint_xy"), points=5, classes=1),
    "softmax": Layout(("anchor_boxes", "anchor_scores"), AnchorFormula(classes="softmax")),
    "powers": Layout(("anchor_boxes", "anchor_scores"), AnchorFormula(classes="softmax", powers=(0.6, 0.4))),
    "21 bins": Layout(("anchor_map", "anchor_size_bins"), AnchorFormula(bins=BINS)),
}
CONFIDENCE = 0.25
NMS_LIMITS: dict[str, Any] = {"iou": 0.45, "max_det": 1000, "max_nms": 30_000}


def field_span(role: OutputRole, class_count: int) -> slice:
    """Fields of x, y, w, h, objectness, class 0, ... that a tensor of this role holds."""
    return {
        "anchor_map": slice(0, 5 + class_count),
        "anchor_boxes": slice(0, 4),
        "anchor_xy": slice(0, 2),
        "anchor_wh": slice(2, 4),
        "anchor_scores": slice(4, 5 + class_count),
        "anchor_keypoint_xy": slice(5 + class_count, None),
        "anchor_size_bins": slice(5 + class_count, None),
    }[role]


def head_logits(size: int, class_count: int, objects: int, rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """Logits of every level, (3, 5 + nc, H, W): background as a trained model gives it, and a cluster an object."""
    levels = []
    for stride in STRIDES:
        cells = size // stride
        logits = rng.normal(0.0, 1.0, (3, 5 + class_count, cells, cells)).astype(np.float32)
        logits[:, 4] = rng.normal(-8.0, 1.6, (3, cells, cells))
        logits[:, 5:] = rng.normal(-5.0, 1.2, (3, class_count, cells, cells))
        levels.append(logits)
    for _ in range(objects):
        class_id = int(rng.integers(class_count))
        box_wh = np.exp(rng.uniform(np.log(12.0), np.log(size / 3), 2))
        center = rng.uniform(0.02 * size, 0.98 * size, 2)
        for logits, stride, anchors_px in zip(levels, STRIDES, ANCHORS.levels_px, strict=True):
            for anchor, anchor_wh in enumerate(anchors_px):
                share = box_wh / np.array(anchor_wh)
                if max(*share, *(1 / share)) < 2.2:  # the anchors that upstream's assignment trains (it takes 4)
                    answer(logits[anchor], center / stride, share, class_id, rng)
    return levels


def answer(
    logits: NDArray[np.float32], center: NDArray[Any], share: NDArray[Any], class_id: int, rng: np.random.Generator
) -> None:
    """Let the three cells of one anchor that upstream trains for an object answer for it, within a pixel or two.

    Args:
        logits: (5 + nc, H, W) of the anchor, written to.
        center: x, y in cells.
        share: width and height as parts of the anchor's.
        class_id: of the object.
        rng: source of the noise.
    """
    cell = np.floor(center).astype(int)
    inside = np.clip(cell, 0, np.array(logits.shape[:0:-1]) - 1)
    step = np.where(center - cell < 0.5, -1, 1)
    for dx, dy in ((0, 0), (step[0], 0), (0, step[1])):
        x, y = int(inside[0] + dx), int(inside[1] + dy)
        if not (0 <= x < logits.shape[2] and 0 <= y < logits.shape[1]):
            continue
        s = np.concatenate(((center - (x, y) + 0.5) / 2, np.sqrt(share) / 2))
        s = np.clip(s + rng.normal(0.0, 0.01, 4), 0.02, 0.98)
        logits[:4, y, x] = np.log(s / (1 - s))
        logits[4, y, x] = rng.normal(1.5, 1.0)
        logits[5 + class_id, y, x] = rng.normal(2.5, 0.7)


def of_layout(levels: list[NDArray[np.float32]], layout: Layout, rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """The fields of a layout, with the same boxes: what its formula reads them from, and landmarks behind them."""
    if layout.points:
        return [
            np.concatenate((fields, rng.normal(0, 0.3, (3, 2 * layout.points, *fields.shape[2:]))), axis=1, dtype="f4")
            for fields in levels
        ]
    if layout.formula is None:
        return levels
    return [with_bins(f) for f in levels] if layout.formula.bins is not None else as_read_by(levels, layout.formula)


def with_bins(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same sizes, at most 4 anchors, as bins behind the classes and places within them."""
    sizes = (2 / (1 + np.exp(-logits[:, 2:4]))) ** 2
    distances = sizes[:, :, None] - np.array(BINS.centers, np.float32)[:, None, None]
    nearest = np.take_along_axis(distances, np.abs(distances).argmin(axis=2)[:, :, None], axis=2)[:, :, 0]
    s = np.clip((nearest / BINS.reach + 1) / 2, 0.02, 0.98)
    bins = (-10.0 * np.abs(distances)).reshape(3, -1, *logits.shape[2:])
    return np.concatenate((logits[:, :2], np.log(s / (1 - s)), logits[:, 4:], bins), axis=1, dtype=np.float32)


def as_read_by(levels: list[NDArray[np.float32]], formula: AnchorFormula) -> list[NDArray[np.float32]]:
    """The same boxes for a formula with exponents, up to centers near the border of a cell."""
    read = []
    for number, logits in enumerate(levels):
        gain, s = formula.center_gain(number), 1 / (1 + np.exp(-logits[:, :4]))
        centers = np.clip((2 * s[:, :2] - 0.5 + (gain - 1) / 2) / gain, 0.02, 0.98)
        boxes = np.concatenate((np.log(centers / (1 - centers)), 2 * np.log(2 * s[:, 2:])), axis=1)
        read.append(np.concatenate((boxes, logits[:, 4:]), axis=1).astype(np.float32))
    return read


def head(
    levels: list[NDArray[np.float32]], size: int, class_count: int, layout: Layout, dtype: str
) -> tuple[ModelSpec, list[HeadTensor]]:
    """The contract and the tensors of one layout and dtype."""
    outputs, tensors = [], []
    levels = of_layout(levels, layout, np.random.default_rng(0))
    for level, (logits, stride) in enumerate(zip(levels, STRIDES, strict=True)):
        for role in layout.roles:
            fields = logits[:, field_span(role, class_count)]
            shape = (1, fields.shape[0] * fields.shape[1], fields.shape[2], fields.shape[3])
            values = fields.reshape(shape)
            outputs.append(HeadOutput(f"{role}.{level}", role, level, stride, shape))
            if dtype == "int8":
                low, high = float(values.min()), float(values.max())
                scale = (high - low) / 255
                zero_point = round(-128 - low / scale)
                quantized = np.clip(np.round(values / scale) + zero_point, -128, 127).astype(np.int8)
                tensors.append(HeadTensor(quantized, scale, zero_point))
            else:
                tensors.append(HeadTensor(np.ascontiguousarray(values)))
    spec = ModelSpec(
        family="yolov5",
        task="detect",
        class_names=tuple(f"class {number}" for number in range(class_count)),
        input=InputSpec("images", size, size),
        outputs=tuple(outputs),
        anchors=ANCHORS,
        anchor_formula=layout.formula,
        keypoints=layout.keypoints,
    )
    return spec, tensors


def as_nhwc(tensor: HeadTensor) -> HeadTensor:
    """The same tensor, in memory as NHWC."""
    values = np.ascontiguousarray(tensor.values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return HeadTensor(values, tensor.scale, tensor.zero_point)


def as_nc1hwc2(tensor: HeadTensor) -> HeadTensor:
    """The same tensor, in memory as an NPU's NC1HWC2 of 16 bytes."""
    _, channels, height, width = tensor.values.shape
    lanes = 16 // tensor.values.itemsize
    blocks = -(-channels // (2 * lanes)) * 2
    padded = np.zeros((1, blocks * lanes, height, width), tensor.values.dtype)
    padded[:, :channels] = tensor.values
    packed = padded.reshape(1, blocks, lanes, height, width).transpose(0, 1, 3, 4, 2)
    return HeadTensor(np.ascontiguousarray(packed), tensor.scale, tensor.zero_point, channels)


def dense_candidates(
    spec: ModelSpec, tensors: list[HeadTensor], grids: list[NDArray[np.float32]]
) -> tuple[Candidates, NDArray[np.float32]]:
    """The usual numpy decode: everything dequantized, activated and decoded, then filtered.

    Returns:
        The candidates, and the landmarks of every row.
    """
    class_count = len(spec.class_names)
    levels = []
    for level, stride in enumerate(STRIDES):
        parts = [
            tensor.dequantized().reshape(3, -1, *output.shape[2:])
            for tensor, output in zip(tensors, spec.outputs, strict=True)
            if output.level == level
        ]
        logits = (np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]).transpose(0, 2, 3, 1)
        s = 1 / (1 + np.exp(-logits))
        formula = spec.anchor_formula or AnchorFormula()
        if formula.classes == "softmax":
            powers = np.exp(logits[..., 5:] - logits[..., 5:].max(axis=-1, keepdims=True))
            s[..., 5:] = powers / powers.sum(axis=-1, keepdims=True)
        if formula.powers != (1.0, 1.0):
            s[..., 4], s[..., 5:] = s[..., 4] ** formula.powers[0], s[..., 5:] ** formula.powers[1]
        gain = np.float32(formula.center_gain(level))
        s[..., 0:2] = (s[..., 0:2] * gain - (gain - 1) / 2 + grids[level]) * stride
        anchors_px = np.array(ANCHORS.levels_px[level], np.float32)[:, None, None]
        if formula.bins is not None:
            every = s[..., 5 + class_count :].reshape(*s.shape[:-1], 2, -1)
            middles = np.array(formula.bins.centers, np.float32)[every.argmax(axis=-1)]
            factors = middles + (s[..., 2:4] * 2 - 1) * np.float32(formula.bins.reach)
            factors = np.clip(factors, formula.bins.low, formula.bins.high)
        else:
            factors = np.exp(logits[..., 2:4]) if formula.size == "exp" else (s[..., 2:4] * 2) ** 2
        s[..., 2:4] = factors * anchors_px
        if spec.keypoints is not None:
            pairs = logits[..., 5 + class_count :].reshape(*s.shape[:-1], -1, 2)
            pairs = pairs * anchors_px[:, :, :, None] + grids[level][:, :, None] * stride
            s[..., 5 + class_count :] = pairs.reshape(*s.shape[:-1], -1)
        levels.append(s.reshape(-1, s.shape[-1]))
    rows = np.concatenate(levels)
    rows, points = rows[:, : 5 + class_count], rows[:, 5 + class_count :]
    xyxy = np.concatenate((rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2), axis=1)
    scores = rows[:, 4:5] * rows[:, 5:]
    class_ids = scores.argmax(axis=1)
    best = scores.max(axis=1)
    kept = (rows[:, 4] > CONFIDENCE) & (best > CONFIDENCE)
    return Candidates(xyxy[kept], best[kept], class_ids[kept].astype(np.int32), kept.nonzero()[0]), points


@contextmanager
def by_numpy() -> Iterator[None]:
    """Decoders that are made inside, and NMS that is done inside, are numpy's."""
    before = os.environ.get(DECODE_VARIABLE, "")
    os.environ[DECODE_VARIABLE] = "numpy"
    decode_choice.cache_clear()
    try:
        yield
    finally:
        os.environ[DECODE_VARIABLE] = before
        decode_choice.cache_clear()


def median_ms(sides: list[Callable[[], object]], repeats: int) -> list[tuple[float, float]]:
    """Median milliseconds of each side, in turns of five calls: (the first call, the four that follow)."""
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in sides]
    for _ in range(repeats):
        for side, spent in zip(sides, times, strict=True):
            first, following = spent
            for run in (first, following, following, following, following):
                start = time.perf_counter()
                side()
                run.append((time.perf_counter() - start) * 1e3)
    return [(statistics.median(first), statistics.median(second)) for first, second in times]


def suppressed(found: Candidates) -> NDArray[np.intp]:
    """Suppression, which both sides share."""
    return nms(found.xyxy, found.scores, found.class_ids, **NMS_LIMITS)


@dataclass(frozen=True)
class Case:
    """One head with its tensors.

    Attributes:
        spec: the contract.
        tensors: of the head.
        grids: x and y of each level's cells.
    """

    spec: ModelSpec
    tensors: list[HeadTensor]
    grids: list[NDArray[np.float32]]

    def ours(self, tensors: list[HeadTensor] | None = None) -> Callable[[], tuple[Candidates, Any, Any]]:
        """Our decode of these tensors, or of the same ones in another layout."""
        decoder, thresholds = AnchorDecoder(self.spec), np.full(len(self.spec.class_names), CONFIDENCE, np.float32)
        given = self.tensors if tensors is None else tensors

        def run() -> tuple[Candidates, Any, Any]:
            found = decoder.candidates(given, thresholds)
            kept = suppressed(found)
            return found, kept, decoder.details(given, found.rows[kept]).keypoints

        return run

    def dense(self) -> tuple[Candidates, Any, Any]:
        """The dense decode."""
        found, points = dense_candidates(self.spec, self.tensors, self.grids)
        kept = suppressed(found)
        return found, kept, points[found.rows[kept]]

    def require_same(self, run: Callable[[], tuple[Candidates, Any, Any]]) -> None:
        """Check that both sides find the same."""
        (found, kept, points), (expected, expected_kept, expected_points) = run(), self.dense()
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.class_ids, expected.class_ids)
        np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=1e-3)
        np.testing.assert_array_equal(kept, expected_kept)
        if points is not None:
            np.testing.assert_allclose(points[:, :, :2].reshape(len(points), -1), expected_points, atol=1e-3)


def measured(case: Case, repeats: int) -> str:
    """The figures of one row of the table, of which both sides found the same."""
    ours = case.ours()
    case.require_same(ours)
    layouts = [case.ours([lay(tensor) for tensor in case.tensors]) for lay in (as_nhwc, as_nc1hwc2)]
    for run in layouts:
        case.require_same(run)
    found, kept, _ = ours()
    nhwc_side, packed_side = median_ms(list(layouts), repeats)
    dense_side, our_side = median_ms([case.dense, ours], repeats)
    nms_ms = median_ms([lambda: suppressed(found)], repeats)[0][1]
    with by_numpy():
        numpy_ms = median_ms([case.ours()], repeats)[0][1]
    return (
        f"{len(found.scores):5} {len(kept):5} {dense_side[1]:9.2f} {our_side[1]:8.3f} "
        f"{nms_ms:7.3f} {dense_side[1] / our_side[1]:6.0f} {our_side[0]:8.3f} "
        f"{dense_side[0] / our_side[0]:10.0f} {nhwc_side[1]:8.3f} {packed_side[1]:10.3f} "
        f"{numpy_ms:8.3f}"
    )


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=640, help="input width and height in pixels")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--objects", type=int, default=70)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only heads whose name has this in it")
    arguments = parser.parse_args()
    grids = [
        np.stack(np.meshgrid(np.arange(arguments.size // stride), np.arange(arguments.size // stride)), axis=-1).astype(
            np.float32
        )
        for stride in STRIDES
    ]
    print(f"ours: {decode_choice().why if decode_choice().library else f'numpy, {decode_choice().why}'}")
    print(
        f"{'head':14} {'dtype':8} {'found':>5} {'kept':>5} {'dense ms':>9} {'ours ms':>8} {'NMS ms':>7} {'ratio':>6} "
        f"{'cold ms':>8} {'cold ratio':>10} {'nhwc ms':>8} {'nc1hwc2 ms':>10} {'numpy ms':>8}"
    )
    for name, layout in LAYOUTS.items():
        if arguments.only not in name:
            continue
        classes = layout.classes or arguments.classes
        levels = head_logits(arguments.size, classes, arguments.objects, np.random.default_rng(arguments.seed))
        for dtype in ("int8", "float32"):
            case = Case(*head(levels, arguments.size, classes, layout, dtype), grids)
            print(f"{name:14} {dtype:8} {measured(case, arguments.repeats)}", flush=True)


if __name__ == "__main__":
    main()

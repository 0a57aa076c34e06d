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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import AnchorFormula, Anchors, HeadOutput, InputSpec, ModelSpec, OutputRole
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
LAYOUTS: dict[str, tuple[OutputRole, ...]] = {
    "map": ("anchor_map",),
    "boxes+scores": ("anchor_boxes", "anchor_scores"),
    "xy+wh+scores": ("anchor_xy", "anchor_wh", "anchor_scores"),
    "darknet": ("anchor_xy", "anchor_wh", "anchor_scores"),
}
FORMULAS = {"darknet": AnchorFormula((1.2, 1.1, 1.05), "exp")}
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
    levels: list[NDArray[np.float32]],
    size: int,
    class_count: int,
    roles: tuple[OutputRole, ...],
    dtype: str,
    formula: AnchorFormula | None = None,
) -> tuple[ModelSpec, list[HeadTensor]]:
    """The contract and the tensors of one layout and dtype."""
    outputs, tensors = [], []
    levels = levels if formula is None else as_read_by(levels, formula)
    for level, (logits, stride) in enumerate(zip(levels, STRIDES, strict=True)):
        for role in roles:
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
        anchor_formula=formula,
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


def dense_candidates(spec: ModelSpec, tensors: list[HeadTensor], grids: list[NDArray[np.float32]]) -> Candidates:
    """The usual numpy decode: everything dequantized, activated and decoded, then filtered."""
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
        gain = np.float32(formula.center_gain(level))
        s[..., 0:2] = (s[..., 0:2] * gain - (gain - 1) / 2 + grids[level]) * stride
        factors = np.exp(logits[..., 2:4]) if formula.size == "exp" else (s[..., 2:4] * 2) ** 2
        s[..., 2:4] = factors * np.array(ANCHORS.levels_px[level], np.float32)[:, None, None]
        levels.append(s.reshape(-1, 5 + class_count))
    rows = np.concatenate(levels)
    xyxy = np.concatenate((rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2), axis=1)
    scores = rows[:, 4:5] * rows[:, 5:]
    class_ids = scores.argmax(axis=1)
    best = scores.max(axis=1)
    kept = (rows[:, 4] > CONFIDENCE) & (best > CONFIDENCE)
    return Candidates(xyxy[kept], best[kept], class_ids[kept].astype(np.int32), kept.nonzero()[0])


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


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=640, help="input width and height in pixels")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--objects", type=int, default=70)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    levels = head_logits(arguments.size, arguments.classes, arguments.objects, np.random.default_rng(arguments.seed))
    grids = [
        np.stack(np.meshgrid(np.arange(arguments.size // stride), np.arange(arguments.size // stride)), axis=-1).astype(
            np.float32
        )
        for stride in STRIDES
    ]
    thresholds = np.full(arguments.classes, CONFIDENCE, np.float32)
    print(f"ours: {decode_choice().why if decode_choice().library else f'numpy, {decode_choice().why}'}")
    print(
        f"{'head':14} {'dtype':8} {'found':>5} {'kept':>5} {'dense ms':>9} {'ours ms':>8} {'NMS ms':>7} {'ratio':>6} "
        f"{'cold ms':>8} {'cold ratio':>10} {'nhwc ms':>8} {'nc1hwc2 ms':>10} {'numpy ms':>8}"
    )
    for layout, roles in LAYOUTS.items():
        for dtype in ("int8", "float32"):
            spec, tensors = head(levels, arguments.size, arguments.classes, roles, dtype, FORMULAS.get(layout))
            decoder = AnchorDecoder(spec)

            def suppressed(found: Candidates) -> NDArray[np.intp]:
                return nms(found.xyxy, found.scores, found.class_ids, **NMS_LIMITS)

            def ours(decoder: AnchorDecoder = decoder, tensors: list[HeadTensor] = tensors) -> tuple[Candidates, Any]:
                found = decoder.candidates(tensors, thresholds)
                return found, suppressed(found)

            def dense(spec: ModelSpec = spec, tensors: list[HeadTensor] = tensors) -> tuple[Candidates, Any]:
                found = dense_candidates(spec, tensors, grids)
                return found, suppressed(found)

            found, kept = ours()
            expected, expected_kept = dense()
            np.testing.assert_array_equal(found.rows, expected.rows)
            np.testing.assert_array_equal(found.class_ids, expected.class_ids)
            np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=1e-3)
            np.testing.assert_array_equal(kept, expected_kept)

            def nms_alone(found: Candidates = found) -> NDArray[np.intp]:
                return suppressed(found)

            def of_layout(others: list[HeadTensor], decoder: AnchorDecoder = decoder) -> Callable[[], object]:
                return lambda: suppressed(decoder.candidates(others, thresholds))

            laid_out = [[lay(tensor) for tensor in tensors] for lay in (as_nhwc, as_nc1hwc2)]
            for others in laid_out:
                np.testing.assert_array_equal(decoder.candidates(others, thresholds).xyxy, found.xyxy)
            layouts = [of_layout(others) for others in laid_out]
            nhwc_side, packed_side = median_ms(layouts, arguments.repeats)
            dense_side, our_side = median_ms([dense, ours], arguments.repeats)
            nms_ms = median_ms([nms_alone], arguments.repeats)[0][1]
            with by_numpy():
                numpy_ms = median_ms([of_layout(tensors, AnchorDecoder(spec))], arguments.repeats)[0][1]
            print(
                f"{layout:14} {dtype:8} {len(found.scores):5} {len(kept):5} {dense_side[1]:9.2f} {our_side[1]:8.3f} "
                f"{nms_ms:7.3f} {dense_side[1] / our_side[1]:6.0f} {our_side[0]:8.3f} "
                f"{dense_side[0] / our_side[0]:10.0f} {nhwc_side[1]:8.3f} {packed_side[1]:10.3f} "
                f"{numpy_ms:8.3f}"
            )


if __name__ == "__main__":
    main()

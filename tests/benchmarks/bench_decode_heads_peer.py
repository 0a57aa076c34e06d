"""Our decode of anchor-free heads against PyPI's `edgefirst-decoder` (Apache-2.0, Rust), on the same int8 tensors.

`dfl`: 4 x 16 bins per cell, as in YOLOv8 and 11; `ltrb`: the four distances, as in YOLO26; class logits in a tensor
next to either.  The peer reads them level by level (its schema version 2 with per-scale outputs), NHWC, with the scale
and zero point of each; it gets its own Tensor objects, filled before anything is timed.  Class-aware NMS on both sides,
and the peer's limits before and after it are lifted, as ours are.  `bench_decode_peer.py` does this for anchor heads.

Both must find the same objects before anything is timed; a box whose score or overlap lies at the threshold may be
found by one alone.  Ours is by the C library, if there is one; `numpy` is ours without it, on NHWC.  `first` is the
call after the other side's turn, the others follow one of their own.

    pip install edgefirst-decoder
    python -m tests.benchmarks.bench_decode_heads_peer --repeats 100
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.roles import OutputRole
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.nms import nms
from rkdeploy.device.postprocess.point_decode import PointDecoder
from rkdeploy.device.runtime.protocol import HeadTensor
from tests.benchmarks.bench_decode import CONFIDENCE, NMS_LIMITS, STRIDES, as_nhwc, by_numpy, median_ms
from tests.benchmarks.bench_decode_peer import Found, matched

REG_MAX = 16
CELLS_AN_OBJECT = 10  # upstream's assigner trains the ten best of those inside the box
Level = dict[str, NDArray[np.float32]]


def head_values(size: int, class_count: int, objects: int, rng: np.random.Generator) -> list[Level]:
    """Of every level the distances (4, H, W) in cells and score logits (nc, H, W): background, and objects' cells."""
    levels: list[Level] = []
    for stride in STRIDES:
        cells = size // stride
        distances = rng.uniform(0.5, 6.0, (4, cells, cells)).astype(np.float32)
        levels.append({"ltrb": distances, "scores": rng.normal(-8.0, 1.3, (class_count, cells, cells)).astype("f4")})
    for _ in range(objects):
        class_id = int(rng.integers(class_count))
        wh = np.exp(rng.uniform(np.log(16.0), np.log(size / 3), 2))
        center = rng.uniform(0.1 * size, 0.9 * size, 2)
        level = next(n for n, stride in enumerate(STRIDES) if wh.max() < REG_MAX / 2 * stride)
        stride, scores = STRIDES[level], levels[level]["scores"]
        y, x = np.indices(scores.shape[1:]) + 0.5
        low, high = (center - wh / 2) / stride, (center + wh / 2) / stride
        apart = (x - center[0] / stride) ** 2 + (y - center[1] / stride) ** 2
        apart[(x < low[0]) | (x > high[0]) | (y < low[1]) | (y > high[1])] = np.inf
        for place in apart.argsort(axis=None)[: min(CELLS_AN_OBJECT, np.isfinite(apart).sum())]:
            row, column = divmod(int(place), scores.shape[2])
            middle = np.array((column + 0.5, row + 0.5))
            sides = np.concatenate((middle - low, high - middle)) + rng.normal(0.0, 0.05, 4)
            levels[level]["ltrb"][:, row, column] = np.clip(sides, 0.05, REG_MAX - 1.05)
            scores[class_id, row, column] = rng.normal(1.0, 0.8)
    return levels


def as_bins(distances: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """(4, H, W) distances to (4 * reg_max, H, W) logits whose expectation they are, two bins apart at most."""
    low = np.floor(distances).astype(int)
    share = distances - low
    bins = np.arange(REG_MAX)[None, :, None, None]
    logits = rng.normal(-6.0, 0.5, (4, REG_MAX, *distances.shape[1:]))
    for place, weight in ((low, 1 - share), (low + 1, share)):
        logits = np.where(bins == place[:, None], 3.0 + np.log(np.maximum(weight[:, None], 1e-3)), logits)
    return logits.reshape(4 * REG_MAX, *distances.shape[1:]).astype(np.float32)


def quantized(values: NDArray[np.float32]) -> HeadTensor:
    """(1, C, H, W) as int8 over its own range."""
    low, high = float(values.min()), float(values.max())
    scale = (high - low) / 255
    zero_point = round(-128 - low / scale)
    return HeadTensor(np.clip(np.round(values / scale) + zero_point, -128, 127).astype(np.int8), scale, zero_point)


def head(levels: list[Level], kind: OutputRole, size: int) -> tuple[ModelSpec, list[HeadTensor]]:
    """The contract and the int8 tensors of one kind of head."""
    rng = np.random.default_rng(1)
    outputs: list[HeadOutput] = []
    tensors: list[HeadTensor] = []
    roles: tuple[OutputRole, OutputRole] = (kind, "scores")
    for level, (found, stride) in enumerate(zip(levels, STRIDES, strict=True)):
        boxes = as_bins(found["ltrb"], rng) if kind == "dfl_boxes" else found["ltrb"]
        for role, values in zip(roles, (boxes, found["scores"]), strict=True):
            _, height, width = values.shape
            outputs.append(HeadOutput(f"{role}.{level}", role, level, stride, (1, len(values), height, width)))
            tensors.append(quantized(values[None]))
    classes = tuple(f"class {number}" for number in range(len(levels[0]["scores"])))
    return ModelSpec("yolov8", "detect", classes, InputSpec("images", size, size), tuple(outputs)), tensors


def peer_schema(spec: ModelSpec, tensors: list[HeadTensor]) -> dict[str, Any]:
    """The head as the peer describes it."""
    size, rows = spec.input.width, sum(output.shape[2] * output.shape[3] for output in spec.outputs[::2])
    box_axis = {"dfl_boxes": "num_features", "ltrb_boxes": "box_coords"}[spec.outputs[0].role]

    def levels(first: int, kind: str, axis: str, more: dict[str, str]) -> list[dict[str, Any]]:
        found = []
        for output, tensor in zip(spec.outputs[first::2], tensors[first::2], strict=True):
            _, channels, height, width = output.shape
            found.append(
                {
                    "name": output.name, "type": kind, "stride": output.stride, "scale_index": output.level,
                    "shape": [1, height, width, channels],
                    "dshape": [{"batch": 1}, {"height": height}, {"width": width}, {axis: channels}],
                    "dtype": "int8",
                    "quantization": {"scale": tensor.scale, "zero_point": tensor.zero_point, "dtype": "int8"},
                    **more,
                }
            )  # fmt: skip
        return found

    classes = len(spec.class_names)
    return {
        "schema_version": 2,
        "nms": "class_aware",
        "input": {
            "shape": [1, size, size, 3],
            "dshape": [{"batch": 1}, {"height": size}, {"width": size}, {"num_features": 3}],
            "cameraadaptor": "rgb",
        },
        "outputs": [
            {
                "name": "boxes", "type": "boxes", "shape": [1, 4, rows],
                "dshape": [{"batch": 1}, {"box_coords": 4}, {"num_boxes": rows}],
                "encoding": spec.outputs[0].role.removesuffix("_boxes"), "decoder": "ultralytics", "normalized": True,
                "outputs": levels(0, "boxes", box_axis, {}),
            },
            {
                "name": "scores", "type": "scores", "shape": [1, classes, rows],
                "dshape": [{"batch": 1}, {"num_classes": classes}, {"num_boxes": rows}],
                "score_format": "per_class", "decoder": "ultralytics",
                "outputs": levels(1, "scores", "num_classes", {"activation_required": "sigmoid"}),
            },
        ],
    }  # fmt: skip


def peer_side(peer: Any, spec: ModelSpec, tensors: list[HeadTensor]) -> Callable[[], Found]:
    """The peer, ready to decode."""
    decoder = peer.Decoder.new_from_json_str(
        json.dumps(peer_schema(spec, tensors)), CONFIDENCE, NMS_LIMITS["iou"], peer.Nms.ClassAware
    )
    decoder.max_det = NMS_LIMITS["max_det"]
    decoder.pre_nms_top_k = 0
    inputs = []
    for tensor in tensors:
        values = np.ascontiguousarray(tensor.values.transpose(0, 2, 3, 1))
        given = peer.Tensor(values.shape, "int8")
        given.from_numpy(values)
        given.set_quantization_per_tensor(tensor.scale, tensor.zero_point)
        inputs.append(given)

    def decode() -> Found:
        boxes, scores, class_ids, *_ = decoder.decode(inputs, NMS_LIMITS["max_det"])
        return boxes, scores, class_ids

    return decode


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=640, help="input width and height in pixels")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--objects", type=int, default=70)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        peer: Any = importlib.import_module("edgefirst.decoder")
    except ImportError:
        raise SystemExit("The peer is missing: pip install edgefirst-decoder") from None
    rng = np.random.default_rng(arguments.seed)
    levels = head_values(arguments.size, arguments.classes, arguments.objects, rng)
    thresholds = np.full(arguments.classes, CONFIDENCE, np.float32)
    print(f"edgefirst-decoder {importlib.metadata.version('edgefirst-decoder')}; score > {CONFIDENCE}, class-aware")
    kinds: tuple[OutputRole, ...] = ("dfl_boxes", "ltrb_boxes")
    for kind in kinds:
        spec, tensors = head(levels, kind, arguments.size)
        nhwc = [as_nhwc(tensor) for tensor in tensors]
        decoder = PointDecoder(spec)

        def ours(tensors: list[HeadTensor], decoder: PointDecoder = decoder) -> Found:
            found = decoder.candidates(tensors, thresholds)
            kept = nms(found.xyxy, found.scores, found.class_ids, **NMS_LIMITS)
            return found.xyxy[kept], found.scores[kept], found.class_ids[kept]

        def ours_nhwc(tensors: list[HeadTensor] = nhwc, ours: Callable[..., Found] = ours) -> Found:
            return ours(tensors)

        def ours_nchw(tensors: list[HeadTensor] = tensors, ours: Callable[..., Found] = ours) -> Found:
            return ours(tensors)

        theirs = peer_side(peer, spec, nhwc)
        mine, (boxes, scores, class_ids) = ours_nhwc(), theirs()
        in_pixels = boxes * np.float32(arguments.size)
        pairs, pixels, score = matched(mine, (in_pixels, scores, class_ids))
        print(
            f"{kind.removesuffix('_boxes')}: objects: ours {len(mine[1])}, theirs {len(boxes)}, the same {pairs} "
            f"(at most {pixels:.2f} px and {score:.4f} of score apart)"
        )
        if pairs < 0.95 * max(len(mine[1]), len(boxes)):
            raise SystemExit("The two don't find the same objects: nothing is timed.")
        sides: list[Callable[[], object]] = [theirs, ours_nhwc, theirs, ours_nchw]
        theirs_ms, nhwc_ms, _, nchw_ms = median_ms(sides, arguments.repeats)
        with by_numpy():
            without = PointDecoder(spec)

            def ours_numpy(
                tensors: list[HeadTensor] = nhwc, ours: Callable[..., Found] = ours, decoder: PointDecoder = without
            ) -> Found:
                return ours(tensors, decoder)

            _, numpy_ms = median_ms([theirs, ours_numpy], arguments.repeats)
        print(f"  {'side':18} median ms  ratio  first ms  ratio")
        rows = {
            "edgefirst-decoder": theirs_ms, "ours, same memory": nhwc_ms, "ours, nchw": nchw_ms,
            "ours, numpy": numpy_ms,
        }  # fmt: skip
        for name, (first, median) in rows.items():
            print(f"  {name:18} {median:9.3f} {theirs_ms[1] / median:6.1f} {first:9.3f} {theirs_ms[0] / first:6.1f}")


if __name__ == "__main__":
    main()

"""Our decode against PyPI's `edgefirst-decoder` (Apache-2.0, Rust), on the same int8 head, in one run.

The peer's anchor decode is its `ModelPack` split detection, the only one it has that takes anchors: one tensor per
level, (1, H, W, anchors * (5 + nc)) int8 with scale and zero point, sigmoid, YOLOv5's formula, objectness * class,
class-aware NMS; `score_threshold` 0.25, `iou_threshold` 0.45.  Its `Ultralytics` detection takes (1, 4 + nc, boxes)
without objectness and anchors: it cannot read this head.  Its limits before and after NMS (300 each) are lifted, as
ours are.  It gets its own Tensor objects, filled before anything is timed, and returns boxes as fractions of the input.

Both must find the same objects before anything is timed.  The peer's sigmoid is an approximation: boxes may differ
slightly, and a box whose score or overlap lies at the threshold may be found by one alone; the script counts both.
`same memory` is ours on NHWC, the very bytes that the peer reads; `nchw` is ours on the layout of an ONNX export.  Both
are by the C library, if there is one; `numpy` is ours without it, on NHWC.

    pip install edgefirst-decoder
    python -m tests.benchmarks.bench_decode_peer --repeats 100
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.postprocess.nms import nms
from rkdeploy.device.runtime.protocol import HeadTensor
from tests.benchmarks.bench_decode import (
    ANCHORS,
    CONFIDENCE,
    LAYOUTS,
    NMS_LIMITS,
    STRIDES,
    as_nhwc,
    by_numpy,
    head,
    head_logits,
    median_ms,
)

Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]
"""xyxy in pixels, scores, class ids."""


def peer_decoder(peer: Any, tensors: list[HeadTensor], size: int) -> tuple[Any, list[Any]]:
    """The peer's decoder and its tensors, configured for our head.

    Args:
        peer: the module `edgefirst.decoder`.
        tensors: one per level, NHWC in memory.
        size: input width and height in pixels.
    """
    outputs, inputs = [], []
    for tensor, anchors_px in zip(tensors, ANCHORS.levels_px, strict=True):
        values = np.ascontiguousarray(tensor.values.transpose(0, 2, 3, 1))
        names = (peer.DimName.Batch, peer.DimName.Height, peer.DimName.Width, peer.DimName.NumAnchorsXFeatures)
        output = peer.Output.detection(
            dshape=list(zip(names, values.shape, strict=True)), decoder=peer.DecoderType.ModelPack
        )
        output = output.with_anchors([(width / size, height / size) for width, height in anchors_px])
        outputs.append(output.with_quantization(tensor.scale, tensor.zero_point))
        inputs.append(peer.Tensor(values.shape, "int8"))
        inputs[-1].from_numpy(values)
    decoder = peer.Decoder.new_from_outputs(
        outputs, score_threshold=CONFIDENCE, iou_threshold=NMS_LIMITS["iou"], nms=peer.Nms.ClassAware
    )
    decoder.max_det = NMS_LIMITS["max_det"]
    decoder.pre_nms_top_k = 0
    return decoder, inputs


def matched(ours: Found, theirs: Found) -> tuple[int, float, float]:
    """Boxes that have a partner of the same class with an IoU above 0.95: (pairs, largest px apart, largest score)."""
    corners, others = ours[0][:, None], theirs[0][None]
    sides = np.minimum(corners[..., 2:], others[..., 2:]) - np.maximum(corners[..., :2], others[..., :2])
    overlap = np.maximum(sides, 0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (corners, others)]
    iou = overlap / (areas[0] + areas[1] - overlap) * (ours[2][:, None] == theirs[2][None])
    first = np.flatnonzero(iou.max(axis=1) > 0.95)
    second = iou[first].argmax(axis=1)
    pixels = float(np.abs(ours[0][first] - theirs[0][second]).max())
    return len(set(second.tolist())), pixels, float(np.abs(ours[1][first] - theirs[1][second]).max())


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

    levels = head_logits(arguments.size, arguments.classes, arguments.objects, np.random.default_rng(arguments.seed))
    spec, tensors = head(levels, arguments.size, arguments.classes, LAYOUTS["map"], "int8")
    nhwc = [as_nhwc(tensor) for tensor in tensors]
    thresholds = np.full(arguments.classes, CONFIDENCE, np.float32)
    decoder = AnchorDecoder(spec)
    rival, inputs = peer_decoder(peer, nhwc, arguments.size)

    def ours(tensors: list[HeadTensor], decoder: AnchorDecoder = decoder) -> Found:
        found = decoder.candidates(tensors, thresholds)
        kept = nms(found.xyxy, found.scores, found.class_ids, **NMS_LIMITS)
        return found.xyxy[kept], found.scores[kept], found.class_ids[kept]

    def theirs() -> Found:
        boxes, scores, class_ids, *_ = rival.decode(inputs, NMS_LIMITS["max_det"])
        return boxes, scores, class_ids

    boxes, scores, class_ids = theirs()
    our_found, their_found = ours(nhwc), (boxes * np.float32(arguments.size), scores, class_ids)
    pairs, pixels, score = matched(our_found, their_found)
    version = importlib.metadata.version("edgefirst-decoder")
    print(
        f"{arguments.size}x{arguments.size}, {arguments.classes} classes, strides {STRIDES}, int8; "
        f"score > {CONFIDENCE}, IoU {NMS_LIMITS['iou']}, class-aware; edgefirst-decoder {version}: ModelPack split "
        "detection with anchors, NHWC"
    )
    print(
        f"objects: ours {len(our_found[1])}, theirs {len(boxes)}, the same {pairs} "
        f"(at most {pixels:.2f} px and {score:.4f} of score apart)"
    )
    if pairs < 0.95 * max(len(our_found[1]), len(boxes)):
        raise SystemExit("The two don't find the same objects: nothing is timed.")
    # `first` is the call after the other side's turn, the others follow one of their own.
    theirs_ms, nhwc_ms, _, nchw_ms = median_ms(
        [theirs, lambda: ours(nhwc), theirs, lambda: ours(tensors)], arguments.repeats
    )
    with by_numpy():
        without = AnchorDecoder(spec)
        _, numpy_ms = median_ms([theirs, lambda: ours(nhwc, without)], arguments.repeats)
    print(f"{'side':22} {'median ms':>9} {'ratio':>6} {'first ms':>9} {'ratio':>6}")
    rows = {
        "edgefirst-decoder": theirs_ms, "ours, same memory": nhwc_ms, "ours, nchw": nchw_ms, "ours, numpy": numpy_ms
    }  # fmt: skip
    for name, (first, following) in rows.items():
        print(f"{name:22} {following:9.3f} {theirs_ms[1] / following:6.1f} {first:9.3f} {theirs_ms[0] / first:6.1f}")


if __name__ == "__main__":
    main()

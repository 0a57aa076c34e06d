"""Class-aware non-maximum suppression in numpy, equal in result to YOLOv5's.

Upstream (v7.0, utils/general.py) sorts the candidates by score, separates the classes by adding class * 7680 to the
coordinates, and calls `torchvision.ops.nms`, which takes the boxes in descending order of score and drops each one
that overlaps a kept box by more than the threshold.  Upstream computes in float32; so does this file, in the same
order of operations, so borderline overlaps are decided alike.

OpenCV's `dnn.NMSBoxesBatched` was measured too: it rounds the overlap differently, and from Python it takes boxes
and scores as sequences of numbers, which costs more than the suppression itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.native.decode_library import library as native_library
from rkdeploy.device.postprocess.native.nms import native_nms
from rkdeploy.device.postprocess.sweep_and_prune import class_offsets, pairs_in_runs

_MAX_PAIRS = 1 << 19
"""Largest number of pairs that are compared at once: about 50 MB of working memory."""


def nms(
    xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    *,
    iou: float,
    max_det: int,
    max_nms: int,
) -> NDArray[np.intp]:
    """Indices of the candidates that stay, best score first.

    Args:
        xyxy: (N, 4) float32 boxes, any frame; coordinates of no more than a few thousand pixels.
        scores: (N,) float32.  Among equal scores the earlier candidate comes first.
        class_ids: (N,) int32; boxes of different classes never suppress one another.
        iou: a box is dropped when its IoU with a kept box of its class is greater than this.
        max_det: largest number of indices returned.
        max_nms: number of best candidates that are considered.

    Returns:
        (K,) intp indices into the candidates, K <= max_det.
    """
    order = (-scores).argsort(kind="stable")[:max_nms]
    count = len(order)
    if count < 2:
        return order[:max_det]
    library = native_library()
    if library is not None:
        return native_nms(library, xyxy, class_ids, order, iou=iou, max_det=max_det)
    corners = np.empty((5, count), np.float32)  # x1, y1, x2, y2 and the area, best first
    np.add(xyxy.take(order, axis=0).T, class_offsets(class_ids).take(order), out=corners[:4])
    width, height = corners[2:4] - corners[:2]
    np.multiply(width, height, out=corners[4])

    # Only boxes that overlap along x can suppress one another, and boxes of different classes never do.  In the order
    # of their left edges, the partners of a box are the run of boxes that begin before it ends.
    by_left = corners[0].argsort()
    from_left = corners.take(by_left, axis=1)
    run_lengths = from_left[0].searchsorted(from_left[2]) - np.arange(1, count + 1)
    np.maximum(run_lengths, 0, out=run_lengths)  # a box without width ends before its own run begins
    if int(run_lengths.sum()) > _MAX_PAIRS:
        kept = _suppress_by_kept_box(corners, _float32_below(iou), max_det)
    else:
        kept = _suppress_by_pair(from_left, _float32_below(iou), by_left, run_lengths)
    return order.take(kept[:max_det])


def _suppress_by_pair(
    from_left: NDArray[np.float32],
    iou: np.float32,
    by_left: NDArray[np.intp],
    run_lengths: NDArray[np.intp],
) -> NDArray[np.intp]:
    """Ranks that stay, from all pairs that overlap along x at once.

    Args:
        from_left: (5, N) corners and areas in the order of the left edges.
        iou: a box is dropped above it.
        by_left: (N,) rank by score of each box.
        run_lengths: (N,) number of following boxes that begin before each box ends.
    """
    count = len(by_left)
    first, second = pairs_in_runs(run_lengths)
    box, partner = from_left.repeat(run_lengths, axis=1), from_left.take(second, axis=1)
    width = np.minimum(box[2], partner[2]) - partner[0]  # the partner's left edge is the further right
    height = np.minimum(box[3], partner[3]) - np.maximum(box[1], partner[1])
    overlap = np.maximum(width, 0, out=width) * np.maximum(height, 0, out=height)
    with np.errstate(invalid="ignore"):  # two boxes without area: 0 / 0 compares as "does not overlap"
        above = (overlap / (box[4] + partner[4] - overlap) > iou).nonzero()[0]
    first, second = by_left.take(first.take(above)), by_left.take(second.take(above))
    better, worse = np.minimum(first, second), np.maximum(first, second)

    # The greedy result in a few passes: a box that no undecided better box can suppress stays, and the boxes
    # that it overlaps go.  A pass decides at least the best undecided box, and in practice most of them.
    stays = np.ones(count, np.bool_)
    while len(better):
        undecided = np.zeros(count, np.bool_)
        undecided[worse] = True
        dropped = worse[~undecided.take(better)]
        stays[dropped] = False
        undecided[dropped] = False
        still_open = (undecided.take(better) & undecided.take(worse)).nonzero()[0]
        better, worse = better.take(still_open), worse.take(still_open)
    return stays.nonzero()[0]


def _suppress_by_kept_box(
    corners: NDArray[np.float32],
    iou: np.float32,
    max_det: int,
) -> NDArray[np.intp]:
    """Ranks that stay, comparing one kept box at a time with all remaining ones: for crowds, in memory linear in N.

    Args:
        corners: (5, N) corners and areas, best first.
        iou: a box is dropped above it.
        max_det: largest number of boxes kept.
    """
    x1, y1, x2, y2, areas = corners
    kept: list[int] = []
    ranks = np.arange(len(x1))
    while len(ranks) and len(kept) < max_det:
        best = ranks[0]
        kept.append(int(best))
        ranks = ranks[1:]
        width = np.minimum(x2[best], x2[ranks]) - np.maximum(x1[best], x1[ranks])
        height = np.minimum(y2[best], y2[ranks]) - np.maximum(y1[best], y1[ranks])
        overlap = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore"):
            ranks = ranks[~(overlap / (areas[best] + areas[ranks] - overlap) > iou)]
    return np.array(kept, np.intp)


def _float32_below(value: float) -> np.float32:
    """The largest float32 that is not greater than `value`.

    torchvision compares a float32 IoU with a double: an IoU of 3/5 (0.60000002 in float32) exceeds a threshold of 0.6.
    """
    rounded = np.float32(value)
    return np.nextafter(rounded, np.float32(-1.0)) if float(rounded) > value else rounded

"""Decode of anchor-free heads, those of YOLOv8 and its successors, YOLOX and similar ones, in the tensors' own domain.

Formula (ultralytics 8.4, nn/modules/head.py, `Detect`, and utils/tal.py), for the cell (x, y) of a level:

    distances l, t, r, b = expectation of softmax(raw) over 0 .. reg_max - 1 (`DFL`), or raw itself, in cells
    corners = (x + 0.5 - l, y + 0.5 - t), (x + 0.5 + r, y + 0.5 + b), times the stride        score = sigmoid(raw)

and for rotated boxes (`dist2rbox`), with the angle a and f = ((r - l) / 2, (b - t) / 2):

    center = (x + 0.5, y + 0.5) + (f_x cos a - f_y sin a, f_x sin a + f_y cos a)        size = (l + r, t + b)

A contract with a `PointFormula` measures from another point of the cell than its middle (x + offset), or gives four
distances otherwise (`point_geometry`).  Heads of YOLOX's
kind (Megvii YOLOX 0.3, models/yolo_head.py, `decode_outputs`) hold centers and sizes:

    center = (raw_x + x + offset, raw_y + y + offset) times the stride        size = exp(raw) times the stride

and their score is that of the class times the objectness, or the square root of it (`point_objectness`).  Those of SSD
(RetinaFace, UltraFace) hold centers and sizes relative to anchors (`PriorFormula`), and their scores are shares of a
softmax with the background, whose logit is subtracted from the classes' before: then exp(raw) / (1 + sum of exp(raw)),
which of one class is sigmoid(raw), and of several at most that.  So one threshold on raw values finds all rows that may
pass, whatever joins the scores.

The lowest class threshold is converted to the raw values of the scores (integers stay integers), which are searched
in memory order (the objectness, where there is one); only the few cells that pass are read further, dequantized and
decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import PointFormula
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.boxes import xyxy_from_xywh
from rkdeploy.device.postprocess.cell_values import read_rows
from rkdeploy.device.postprocess.decoder import Candidates, DenseField, RowDetails
from rkdeploy.device.postprocess.distances import (
    distances_of_logits,
    distances_of_weights,
    empty_weights,
    has_table,
    look_up,
)
from rkdeploy.device.postprocess.joined_scores import joined_scores, least_objectness, shares_above_background
from rkdeploy.device.postprocess.native.decode_library import library as native_library
from rkdeploy.device.postprocess.native.points import NativePoints
from rkdeploy.device.postprocess.point_geometry import PointGeometry
from rkdeploy.device.postprocess.point_layout import BOX_ROLES, point_levels
from rkdeploy.device.postprocess.raw_values import dequantize, layout_key, raw_limit, require_tensors, sigmoid_in_place
from rkdeploy.device.postprocess.rotated import upright_around
from rkdeploy.device.postprocess.row_fields import RowFields
from rkdeploy.device.postprocess.score_search import Limit, best_of_rows, scores_at_least
from rkdeploy.device.runtime.protocol import HeadTensor


@dataclass(frozen=True, slots=True)
class _PointPlan:
    """The part of a decode that only depends on the tensors' layouts, dtypes, quantization and the thresholds.

    It is the same in every frame.

    Attributes:
        key: layouts and thresholds that the plan was made for.
        limits: raw score limit per level, see `raw_limit`; None if no value can exceed the lowest threshold.
    """

    key: tuple[Any, ...]
    limits: tuple[Limit | None, ...]


class PointDecoder:
    """Decoder of one model without YOLO's anchors.  It reuses its buffers between calls: one decoder per thread.

    Rows are in upstream's order: level, then y, then x, then the box of the cell.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Check the contract and allocate the buffers.

        Args:
            spec: the contract.

        Raises:
            RkdeployError: when the contract's outputs, keypoints, angle, prototypes and input size do not fit together.
        """
        self._outputs = spec.outputs
        self._class_count = len(spec.class_names)
        self._every_class = spec.end_to_end
        self._keypoints = spec.keypoints
        self._angle = spec.angle
        self._levels = point_levels(spec)
        self._level_ends = [level.end for level in self._levels]
        self._box_role = next(role for role in BOX_ROLES if role in self._levels[0].parts)
        self._formula = spec.points or PointFormula()
        self._has_coefficients = "mask_coefficients" in self._levels[0].parts
        self._searched = "objectness" if "objectness" in self._levels[0].parts else "scores"
        self._plan: _PointPlan | None = None
        self._linear = {
            role: [level.parts[role].output.activation == "linear" for level in self._levels]
            for role in self._levels[0].parts
        }
        self._several = any(level.per_cell > 1 for level in self._levels)
        self._shares = self._formula.score == "softmax" and self._class_count > 1
        self._fields = RowFields(self._levels)
        self._geometry = PointGeometry(spec, self._levels)
        self._cell = np.concatenate([np.arange(e.end - e.start) // e.per_cell for e in self._levels])  # y * W + x
        library = native_library()
        self._native: NativePoints | None = None
        if library is not None:
            every_class = self._every_class or self._several
            self._native = NativePoints(
                library, self._levels, self._box_role, every_class=every_class, score_role=self._searched
            )
        self._native_corners = (
            self._box_role in ("dfl_boxes", "ltrb_boxes")
            and spec.angle is None
            and self._formula.offset == 0.5
            and self._formula.distance == "linear"
            and not self._several
        )

    def candidates(self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]) -> Candidates:
        """Boxes whose score is greater than the threshold of their class.

        As in upstream's prediction a row is a candidate for its best class only (the highest logit; the first of
        several equal ones); a row whose best class fails is not tried for its second.  A row of an end-to-end head is
        a candidate for each class that passes, as in `Detect.get_topk_index`; such rows are returned several times.

        Args:
            tensors: one per output of the contract, in its order.
            class_thresholds: (nc,) float32.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        limits = self._limits_of(tensors, class_thresholds)
        rows, class_ids, scores = self._found_scores(tensors, limits)
        if self._shares:
            scores = self._shares_of(tensors, rows, class_ids)
        else:
            self._activate(self._searched, scores, rows)
        if self._searched == "objectness":
            class_ids, classes = self._best_classes(tensors, rows)
            scores = joined_scores(classes, scores, self._formula)
        # The raw comparison lets rounding cases through; the exact rule is applied here.
        kept = (scores > class_thresholds.take(class_ids)).nonzero()[0]
        rows, class_ids, scores = rows.take(kept), class_ids.take(kept).astype(np.int32), scores.take(kept)
        if self._native_corners and self._native is not None:
            return Candidates(self._native.xyxy(tensors, rows), scores, class_ids, rows)
        angles = self._angles(tensors, rows)
        xywh = self._xywh(tensors, rows, angles)
        if angles is None:
            return Candidates(xyxy_from_xywh(xywh), scores, class_ids, rows)
        rotated = np.concatenate((xywh, angles[None])).T
        return Candidates(upright_around(rotated), scores, class_ids, rows, rotated)

    def details(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> RowDetails:
        """Keypoints and mask coefficients of the given rows, if the head has them.

        Args:
            tensors: those that `candidates` was last called with.
            rows: (N,) intp, any order.
        """
        if self._keypoints is None and not self._has_coefficients:
            return RowDetails()
        order = rows.argsort()
        ascending = rows.take(order)
        keypoints: NDArray[np.float32] | None = None
        coefficients: NDArray[np.float32] | None = None
        if self._keypoints is not None:
            xy, scores = self._keypoint_fields(tensors, ascending)
            keypoints = np.ones((len(rows), self._keypoints.count, 3), np.float32)
            keypoints[order, :, :2] = xy.transpose(2, 0, 1)
            if scores is not None:
                keypoints[order, :, 2] = scores.T
        if self._has_coefficients:
            fields = self._fields(tensors, "mask_coefficients", ascending)
            coefficients = np.empty(fields.shape[::-1], np.float32)
            coefficients[order] = fields.T
        return RowDetails(keypoints, coefficients)

    def decode_dense(self, tensors: Sequence[HeadTensor]) -> tuple[DenseField, ...]:
        """All rows, decoded with the same arithmetic as `candidates` and `details`.  For verification; slow.

        Returns:
            `xy`, `wh`, `objectness` where the score is a product with it, `scores` and,
            if the head has them, `keypoint_xy` (x, y of each in turn), `keypoint_scores`, `coefficients` and
            `angle`.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        self._limits_of(tensors, np.ones(1, np.float32))
        rows = np.arange(self._level_ends[-1])
        angles = self._angles(tensors, rows)
        xywh = self._xywh(tensors, rows, angles)
        scores = self._fields(tensors, "scores", rows)
        if self._shares:
            scores = shares_above_background(scores)
        else:
            self._activate("scores", scores, rows)
        found = [
            DenseField("xy", "px", xywh[:2].T.copy()),
            DenseField("wh", "px", xywh[2:].T.copy()),
        ]
        if self._searched == "objectness":
            objectness = self._fields(tensors, "objectness", rows)
            self._activate("objectness", objectness, rows)
            if self._formula.score == "product":
                found.append(DenseField("objectness", "score", objectness.T.copy()))
            else:
                scores = joined_scores(scores, objectness, self._formula)
        found.append(DenseField("scores", "score", scores.T.copy()))
        if self._keypoints is not None:
            keypoint_xy, keypoint_scores = self._keypoint_fields(tensors, rows)
            found.append(DenseField("keypoint_xy", "px", keypoint_xy.reshape(-1, len(rows)).T.copy()))
            if keypoint_scores is not None:
                found.append(DenseField("keypoint_scores", "score", keypoint_scores.T.copy()))
        if self._has_coefficients:
            coefficients = self._fields(tensors, "mask_coefficients", rows)
            found.append(DenseField("coefficients", "value", coefficients.T.copy()))
        if angles is not None:
            found.append(DenseField("angle", "rad", angles[:, None].copy()))
        return tuple(found)

    def _limits_of(
        self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]
    ) -> tuple[Limit | None, ...]:
        """Raw score limits for the quantization and the lowest threshold, reused while they stay the same.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        key = (class_thresholds.tobytes(), *layout_key(tensors))
        if self._plan is None or self._plan.key != key:
            require_tensors(self._outputs, tensors)
            parts = [level.parts[self._searched] for level in self._levels]
            lowest = class_thresholds.min()
            if self._searched == "objectness":
                lowest = least_objectness(lowest, self._formula)
            raw_limits = [raw_limit(tensors[part.index], part.output.activation, lowest) for part in parts]
            plan = _PointPlan(key, tuple(None if limit is None else Limit.of(limit) for limit in raw_limits))
            if self._native is not None:
                self._native.configure(tensors, plan.limits)
            self._plan = plan
        return self._plan.limits

    def _found_scores(
        self, tensors: Sequence[HeadTensor], limits: tuple[Limit | None, ...]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Rows, classes and dequantized scores that may pass, ascending by row, then class, (n,) each.

        One class per row, the best; all that pass for an end-to-end head.
        """
        classes = self._class_count if self._searched == "scores" else 1
        if self._native is not None:
            rows, class_ids, scores = self._native.scores(tensors, classes)
            if not self._several:  # the best of each row already
                return rows, class_ids, scores
        else:
            rows, class_ids, scores = self._searched_scores(tensors, limits, classes)
        if self._every_class or classes == 1:
            return rows, class_ids, scores
        # Logits have the order of the probabilities, but do not become equal near 1.
        best = best_of_rows(rows, scores)
        return (rows, class_ids, scores) if best is None else (rows.take(best), class_ids.take(best), scores.take(best))

    def _searched_scores(
        self, tensors: Sequence[HeadTensor], limits: tuple[Limit | None, ...], classes: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """All rows and classes that may pass, found by numpy."""
        of_levels = [tensors[level.parts[self._searched].index] for level in self._levels]
        found = scores_at_least(of_levels, limits)
        count = sum(len(hits.raw) for hits in found)
        places, scores = np.empty(count, np.intp), np.empty(count, np.float32)
        end = 0
        for level, tensor, hits in zip(self._levels, of_levels, found, strict=True):
            start, end = end, end + len(hits.raw)
            dequantize(tensor, hits.raw, scores[start:end])
            places[start:end] = hits.places
            places[start:end] += level.start * classes
        rows = places // classes
        return rows, places - rows * classes, scores

    def _shares_of(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp], class_ids: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Shares of a softmax with the background, (n,), of one class of each of the given ascending rows."""
        shares = shares_above_background(self._fields(tensors, "scores", rows))
        return np.asarray(np.take_along_axis(shares, class_ids[None], axis=0)[0])

    def _best_classes(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Best class of each of the given ascending rows and its probability, (n,) each."""
        logits = self._fields(tensors, "scores", rows)
        if self._class_count == 1:
            self._activate("scores", logits, rows)
            return np.zeros(len(rows), np.intp), logits[0]
        class_ids = logits.argmax(axis=0)
        best: NDArray[np.float32] = np.take_along_axis(logits, class_ids[None], axis=0)[0]
        self._activate("scores", best, rows)
        return class_ids, best

    def _distances(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Distances of the given ascending rows as the network gives them, or the expectations of bins, (4, n)."""
        if self._box_role != "dfl_boxes":
            return self._fields(tensors, self._box_role, rows)
        if self._native is not None:
            return self._native.distances(tensors, rows)
        of_levels = [tensors[level.parts["dfl_boxes"].index] for level in self._levels]
        if not all(has_table(tensor) for tensor in of_levels):
            return distances_of_logits(self._fields(tensors, "dfl_boxes", rows))
        weights = empty_weights(len(rows), of_levels[0].shape[1])
        ends = rows.searchsorted(self._level_ends).tolist()
        for tensor, start, end in zip(of_levels, [0, *ends], ends, strict=False):
            if end > start:
                look_up(tensor, read_rows(tensor, self._cell.take(rows[start:end])), weights[start:end])
        return distances_of_weights(weights, len(rows))

    def _activate(self, role: str, real: NDArray[np.float32], rows: NDArray[np.intp]) -> None:
        """Turn logits (..., n) of the given ascending rows into probabilities, in place."""
        linear = self._linear[role]
        if all(linear):
            sigmoid_in_place(real)
            return
        ends = rows.searchsorted(self._level_ends).tolist()
        for is_linear, start, end in zip(linear, [0, *ends], ends, strict=False):
            if is_linear:
                sigmoid_in_place(real[..., start:end])

    def _angles(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> NDArray[np.float32] | None:
        """Angles of the given ascending rows in radians, (n,); None for upright boxes."""
        if self._angle is None:
            return None
        angles: NDArray[np.float32] = self._fields(tensors, "angles", rows)[0]
        if self._angle.sigmoid:
            self._activate("angles", angles, rows)
        # Upstream's form: (f - 0.25) * pi avoids the cancellation of gain * f + offset.
        angles += np.float32(self._angle.offset / self._angle.gain)
        angles *= np.float32(self._angle.gain)
        return angles

    def _xywh(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp], angles: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Center and size of the given ascending rows in input pixels, (4, n)."""
        if self._box_role == "decoded_boxes":
            return self._geometry.of_decoded(self._fields(tensors, "decoded_boxes", rows))
        distances = self._distances(tensors, rows)
        if self._box_role == "center_boxes":
            return self._geometry.of_centers(distances, rows)
        if self._box_role == "prior_boxes":
            return self._geometry.of_priors(distances, rows)
        return self._geometry.of_distances(distances, rows, angles)

    def _keypoint_fields(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Keypoints of the given ascending rows: (K, 2, n) in input pixels, and visibilities (K, n) where scored."""
        layout = self._keypoints
        assert layout is not None
        xy = self._geometry.keypoints(self._fields(tensors, "keypoint_xy", rows), rows, layout)
        if not layout.scored:
            return xy, None
        scores = self._fields(tensors, "keypoint_scores", rows)
        self._activate("keypoint_scores", scores, rows)
        return xy, scores

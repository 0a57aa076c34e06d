"""Decode of YOLOv5's anchor head, in the tensors' own domain.

Formula (YOLOv5 v7.0, models/yolo.py, `Detect.forward`), with s = sigmoid(raw) of each field:

    center xy = (2 s - 0.5 + cell) * stride        size wh = (2 s)^2 * anchor        score = s_objectness * s_class

all in pixels of the network input; a contract with an `AnchorFormula` has another box.  A score cannot exceed its
objectness, so only cells whose objectness exceeds the lowest class threshold matter.  That threshold is carried into
each tensor's raw values (integers stay integers), the objectness planes are compared as they are, and only the few
cells that pass are gathered, dequantized and decoded.

A segmentation head has mask coefficients behind the classes of each anchor, which take no sigmoid (`Segment`, same
file); they are read only for the rows that are asked for.  So are keypoints, by the formula that `KeypointLayout` has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AnchorFormula, SizeBins
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.anchor_cells import gather_fields, mark_from
from rkdeploy.device.postprocess.anchor_layout import (
    BOX_FIELDS,
    OBJECTNESS,
    anchor_levels,
    bin_fields,
    keypoint_fields,
)
from rkdeploy.device.postprocess.boxes import xyxy_from_xywh
from rkdeploy.device.postprocess.decoder import Candidates, DenseField, RowDetails
from rkdeploy.device.postprocess.native.anchors import NativeAnchors
from rkdeploy.device.postprocess.native.decode_library import library as native_library
from rkdeploy.device.postprocess.raw_values import (
    coefficient_count,
    dequantize,
    layout_key,
    raw_limit,
    require_tensors,
    sigmoid_in_place,
)
from rkdeploy.device.postprocess.score_search import Limit
from rkdeploy.device.runtime.protocol import HeadTensor

_LARGEST_EXPONENT: Final = np.float32(80.0)
"""Of a size; its exp() and that times an anchor fit float32."""


@dataclass(frozen=True, slots=True)
class _AnchorPlan:
    """The part of a decode that only depends on the tensors' layouts, dtypes, quantization and the thresholds.

    It is the same in every frame.

    Attributes:
        key: layouts and thresholds that the plan was made for.
        lowest: lowest class threshold, 0..1.
        limits: raw objectness limit per level, see `raw_limit`.
        zero_points, scales: (6, levels) of x, y, w, h, objectness and classes; None when no tensor is quantized.
    """

    key: tuple[Any, ...]
    lowest: np.float32
    limits: tuple[Any | None, ...]
    zero_points: NDArray[np.float32] | None
    scales: NDArray[np.float32] | None


class AnchorDecoder:
    """Decoder of one YOLOv5-style model.  It reuses its buffers between calls: one decoder per thread.

    Rows are in upstream's order: level, then anchor, then y, then x.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Check the contract and allocate the buffers.

        Args:
            spec: the contract.

        Raises:
            RkdeployError: when the contract's outputs, anchors and input size do not fit together.
        """
        self._class_count = len(spec.class_names)
        self._outputs = spec.outputs
        self._levels = anchor_levels(spec)
        self._level_ends = [level.end for level in self._levels]
        self._coefficient_count = coefficient_count(spec)
        self._keypoints = spec.keypoints
        self._formula = spec.anchor_formula or AnchorFormula()
        self._other_centers = self._formula.center_gains != AnchorFormula().center_gains
        self._powers = self._formula.powers if self._formula.powers != (1.0, 1.0) else None
        self._shares = self._formula.classes == "softmax"
        exponents = self._formula.size == "exp" and self._formula.bins is None
        last = OBJECTNESS + 1 if self._shares else None
        self._sigmoids = ((0, 2), (BOX_FIELDS, last)) if exponents else ((0, last),)  # fields that are logits
        self._first_point, self._first_point_score, self._field_count = keypoint_fields(spec)
        self._bin_fields = bin_fields(spec)
        self._all_linear = all(part.output.activation == "linear" for level in self._levels for part in level.parts)
        row_count = self._level_ends[-1]
        self._passes = np.empty(row_count, np.bool_)
        self._plan: _AnchorPlan | None = None
        library = native_library()
        self._native = None if library is None else NativeAnchors(library, self._levels, self._class_count)
        self._gathered = np.empty((0, BOX_FIELDS + 1 + self._class_count), np.float32)
        self._first_class = np.empty(0, np.intp)  # offset in flat memory of each gathered row's first class
        # Geometry of each row.  Fields lie along the first axis here and in the arrays below: numpy is
        # several times slower on (N, 2) than on (2, N).
        self._anchor = np.empty(row_count, np.intp)
        self._cell = np.empty(row_count, np.intp)  # y * W + x
        self._level = np.empty(row_count, np.intp)
        # x, y of the cell less (gain - 1) / 2; the anchor's w, h; the stride; the gain
        self._geometry = np.empty((6, row_count), np.float32)
        assert spec.anchors is not None
        for number, (level, anchors_px) in enumerate(zip(self._levels, spec.anchors.levels_px, strict=True)):
            rows = slice(level.start, level.end)
            anchor, y, x = (axis.ravel() for axis in np.indices(level.grid))
            self._anchor[rows] = anchor
            self._cell[rows] = y * level.grid[2] + x
            self._level[rows] = number
            gain = self._formula.center_gain(number)
            self._geometry[:2, rows] = np.stack((x, y)) - (gain - 1) / 2 + self._formula.center_shift
            self._geometry[5, rows] = gain
            self._geometry[2:4, rows] = np.array(anchors_px, np.float32).T[:, anchor]
            self._geometry[4, rows] = level.scores.output.stride

    def candidates(self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]) -> Candidates:
        """The boxes whose score is greater than the threshold of their class.

        As in upstream's detect.py a row is a candidate for its best class only: first the best class is chosen (the
        highest class logit; the first of several equal ones), then its score is compared with the threshold of that
        class.  A row whose best class fails is not tried for its second.  Both comparisons are strict: objectness >
        the lowest threshold of all classes, and objectness * class probability > the threshold of the class.

        Args:
            tensors: one for every output of the contract, in its order.
            class_thresholds: (nc,) float32.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        plan = self._plan_of(tensors, class_thresholds)
        if self._native is not None:
            rows, class_ids, fields = self._native(tensors)
        else:
            rows, class_ids, fields = self._found_rows(tensors, plan)
        self._activate(fields, rows)
        objectness, best = fields[OBJECTNESS], fields[OBJECTNESS + 1]
        if self._shares:
            best = self._best_shares(tensors, rows)
        if self._powers is not None:
            objectness, best = objectness ** np.float32(self._powers[0]), best ** np.float32(self._powers[1])
        scores = objectness * best
        # The raw comparison lets rounding cases through; the exact rule is applied here.
        kept = ((scores > class_thresholds.take(class_ids)) & (objectness > plan.lowest)).nonzero()[0]
        rows = rows.take(kept)
        xywh = self._xywh(tensors, rows, fields[:BOX_FIELDS].take(kept, axis=1))
        return Candidates(xyxy_from_xywh(xywh), scores.take(kept), class_ids.take(kept).astype(np.int32), rows)

    def details(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> RowDetails:
        """Mask coefficients and keypoints of the given rows, if the head has them.

        Args:
            tensors: those that `candidates` was last called with.
            rows: (N,) intp, any order.
        """
        if not self._coefficient_count and self._keypoints is None:
            return RowDetails()
        order = rows.argsort()
        ascending = rows.take(order)
        ends = ascending.searchsorted(self._level_ends).tolist()
        keypoints: NDArray[np.float32] | None = None
        coefficients: NDArray[np.float32] | None = None
        if self._keypoints is not None:
            xy, scores = self._keypoint_fields(tensors, ascending, ends)
            keypoints = np.ones((len(rows), self._keypoints.count, 3), np.float32)
            keypoints[order, :, :2] = np.moveaxis(xy, -1, 0)
            if scores is not None:
                keypoints[order, :, 2] = scores.T
        if self._coefficient_count:
            first = BOX_FIELDS + 1 + self._class_count
            coefficients = np.empty((len(rows), self._coefficient_count), np.float32)
            coefficients[order] = self._real_fields(tensors, ascending, ends, first, first + self._coefficient_count).T
        return RowDetails(keypoints, coefficients)

    def decode_dense(self, tensors: Sequence[HeadTensor]) -> tuple[DenseField, ...]:
        """All rows, decoded with the same arithmetic as `candidates`.  For verification; slow.

        Returns:
            `xy`, `wh`, `objectness`, `scores` (of the classes, not multiplied by the objectness) and, if the head has
            them, `coefficients`, `keypoint_xy` (x, y of each in turn) and `keypoint_scores`.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        require_tensors(self._outputs, tensors)
        rows = np.arange(self._level_ends[-1])
        scores_end = BOX_FIELDS + 1 + self._class_count
        fields = self._real_fields(tensors, rows, self._level_ends, 0, scores_end)
        self._activate(fields, rows)
        if self._shares:
            fields[OBJECTNESS + 1 :] = _softmax(fields[OBJECTNESS + 1 :])
        if self._powers is not None:
            fields[OBJECTNESS] **= np.float32(self._powers[0])
            fields[OBJECTNESS + 1 :] **= np.float32(self._powers[1])
        xywh = self._xywh(tensors, rows, fields[:BOX_FIELDS])
        found: tuple[DenseField, ...] = (
            DenseField("xy", "px", np.ascontiguousarray(xywh[:2].T)),
            DenseField("wh", "px", np.ascontiguousarray(xywh[2:].T)),
            DenseField("objectness", "score", fields[OBJECTNESS, :, None].copy()),
            DenseField("scores", "score", np.ascontiguousarray(fields[OBJECTNESS + 1 :].T)),
        )
        details = self.details(tensors, rows)
        if details.coefficients is not None:
            found += (DenseField("coefficients", "value", details.coefficients),)
        if details.keypoints is not None:
            xy = details.keypoints[:, :, :2].reshape(len(rows), -1)
            found += (DenseField("keypoint_xy", "px", np.ascontiguousarray(xy)),)
            if self._first_point_score < self._field_count:
                found += (DenseField("keypoint_scores", "score", details.keypoints[:, :, 2].copy()),)
        return found

    def _keypoint_fields(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp], ends: list[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Keypoints of the given ascending rows: (K, 2, n) in input pixels, and scores (K, n) if they have some."""
        layout = self._keypoints
        assert layout is not None
        xy = self._real_fields(tensors, rows, ends, self._first_point, self._first_point_score)
        xy = xy.reshape(layout.count, 2, len(rows))
        geometry = self._geometry.take(rows, axis=1)
        stride = geometry[4]
        xy *= (geometry[2:4] if layout.by_anchor else stride) * np.float32(layout.gain)
        xy += (geometry[:2] + np.float32(layout.offset) + (geometry[5] - 1) / 2) * stride
        if not layout.scored:
            return xy, None
        scores = self._real_fields(tensors, rows, ends, self._first_point_score, self._field_count)
        for level, start, end in zip(self._levels, [0, *ends], ends, strict=False):
            if level.parts[-1].output.activation == "linear":
                sigmoid_in_place(scores[:, start:end])
        return xy, scores

    def _real_fields(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp], ends: list[int], first: int, end: int
    ) -> NDArray[np.float32]:
        """Fields `first` to `end` - 1 of the given rows, dequantized, (fields, n).

        Args:
            tensors: all tensors of the head.
            rows: (n,), ascending.
            ends: end index of each level's rows in `rows`.
            first: index of the first field within an anchor.
            end: index behind the last field.
        """
        real = np.empty((end - first, len(rows)), np.float32)
        for level, start, stop in zip(self._levels, [0, *ends], ends, strict=False):
            anchors, cells = self._anchor.take(rows[start:stop]), self._cell.take(rows[start:stop])
            for part in level.parts:
                low, high = max(first, part.first), min(end, part.end)
                if low < high:
                    tensor = tensors[part.index]
                    raw = gather_fields(part, tensor, level.grid, anchors, cells, low, high)
                    dequantize(tensor, raw.T, real[low - first : high - first, start:stop])
        return real

    def _plan_of(self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]) -> _AnchorPlan:
        """The plan for these tensors and thresholds, computed once and reused while they stay the same.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        key = (class_thresholds.tobytes(), *layout_key(tensors))
        if self._plan is not None and self._plan.key == key:
            return self._plan
        require_tensors(self._outputs, tensors)
        lowest = class_thresholds.min()
        least = lowest if self._powers is None else max(lowest, np.float32(0)) ** np.float32(1 / self._powers[0])
        limits = tuple(
            raw_limit(tensors[level.scores.index], level.scores.output.activation, least) for level in self._levels
        )
        zero_points = np.empty((BOX_FIELDS + 2, len(self._levels)), np.float32)
        scales = np.empty_like(zero_points)
        for number, level in enumerate(self._levels):
            for part in level.parts:
                zero_points[part.first : part.end, number] = tensors[part.index].zero_point
                scales[part.first : part.end, number] = tensors[part.index].scale
        if self._native is not None:
            self._native.configure(tensors, [None if limit is None else Limit.of(limit) for limit in limits])
        quantized = (zero_points != 0.0).any() or (scales != 1.0).any()
        self._plan = _AnchorPlan(key, lowest, limits, zero_points if quantized else None, scales if quantized else None)
        return self._plan

    def _found_rows(
        self, tensors: Sequence[HeadTensor], plan: _AnchorPlan
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Rows whose objectness may pass, with their best class and real values.

        Returns:
            The rows, ascending, (n,); the best class of each, (n,); x, y, w, h, objectness and the score of that class
            as
            real values before the activation, (6, n).
        """
        for level, limit in zip(self._levels, plan.limits, strict=True):
            passes = self._passes[level.start : level.end]
            if limit is None:
                passes.fill(False)
            else:
                mark_from(level.scores, tensors[level.scores.index], level.grid, limit, passes)
        rows = self._passes.nonzero()[0]
        fields, class_ids = self._gather_best(tensors, rows, rows.searchsorted(self._level_ends).tolist())
        if plan.zero_points is not None and plan.scales is not None:
            levels = self._level.take(rows)
            fields -= plan.zero_points.take(levels, axis=1)
            fields *= plan.scales.take(levels, axis=1)
        return rows, class_ids, fields

    def _gather_best(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp], ends: list[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Raw x, y, w, h, objectness and best class score of the given rows as float32, (6, n), and the best class,
        (n,).

        Args:
            tensors: all tensors of the head.
            rows: (n,), ascending.
            ends: end index of each level's rows in `rows`.
        """
        count = len(rows)
        if count > len(self._gathered):
            # A reused buffer: an array of this size would be allocated from the system in every call.
            self._gathered = np.empty((2 * count, self._gathered.shape[1]), np.float32)
            self._first_class = np.arange(2 * count) * self._gathered.shape[1] + OBJECTNESS + 1
        gathered = self._gathered[:count]
        anchors, cells = self._anchor.take(rows), self._cell.take(rows)
        for level, start, end in zip(self._levels, [0, *ends], ends, strict=False):
            if end == start:
                continue
            for part in level.parts:
                last = min(part.end, gathered.shape[1])  # the mask coefficients can wait
                if part.first < last:
                    gathered[start:end, part.first : last] = gather_fields(
                        part, tensors[part.index], level.grid, anchors[start:end], cells[start:end], part.first, last
                    )
        # Raw values are ordered as the probabilities are: the best class is known before dequantizing.  float32 holds
        # every dtype's values exactly, and numpy finds its maximum in half the time it takes for int8.
        class_ids = gathered[:, OBJECTNESS + 1 :].argmax(axis=1)
        fields = np.empty((BOX_FIELDS + 2, count), np.float32)
        fields[: OBJECTNESS + 1] = gathered[:, : OBJECTNESS + 1].T
        gathered.ravel().take(self._first_class[:count] + class_ids, out=fields[OBJECTNESS + 1], mode="clip")
        return fields, class_ids

    def _activate(self, fields: NDArray[np.float32], rows: NDArray[np.intp]) -> None:
        """Turn real values into probabilities, in place.

        Args:
            fields: (5 + ..., N) x, y, w, h, objectness and some classes.
            rows: (N,) row of each column, ascending.
        """
        if self._all_linear:
            for first, last in self._sigmoids:  # few rows: the calls cost more than the arithmetic
                sigmoid_in_place(fields[first:last])
            return
        ends = rows.searchsorted(self._level_ends).tolist()
        for level, start, end in zip(self._levels, [0, *ends], ends, strict=False):
            for part in level.parts:
                if part.output.activation != "linear":
                    continue
                for first, last in self._sigmoids:
                    low, high = max(first, part.first), min(last or part.end, part.end)
                    sigmoid_in_place(fields[low:high, start:end])

    def _best_shares(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Share of the softmax over all classes that the best class of each row has, (N,).

        Args:
            tensors: all tensors of the head.
            rows: (N,), ascending.
        """
        first = OBJECTNESS + 1
        ends = rows.searchsorted(self._level_ends).tolist()
        logits = self._real_fields(tensors, rows, ends, first, first + self._class_count)
        logits -= logits.max(axis=0)
        np.exp(logits, out=logits)
        shares: NDArray[np.float32] = np.float32(1) / logits.sum(axis=0)
        return shares

    def _xywh(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp], probabilities: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Boxes of the given rows in input pixels, by the formula above: (4, N) activated x, y, w, h to (4, N).

        Args:
            tensors: all tensors of the head; bins are read of them.
            rows: (N,), ascending.
            probabilities: activated x, y, w, h.
        """
        geometry = self._geometry.take(rows, axis=1)
        xywh = probabilities * np.float32(2.0)
        xy, wh = xywh[:2], xywh[2:]
        if self._other_centers:
            np.multiply(probabilities[:2], geometry[5], out=xy)
        xy += geometry[:2]
        xy *= geometry[4]
        if self._formula.bins is not None:
            wh[:] = self._binned_sizes(tensors, rows, probabilities[2:], self._formula.bins)
        elif self._formula.size == "share":
            wh[:] = probabilities[2:]
        elif self._formula.size == "exp":
            np.minimum(probabilities[2:], _LARGEST_EXPONENT, out=wh)
            np.exp(wh, out=wh)
        else:
            wh *= wh
        wh *= geometry[2:4]
        return xywh

    def _binned_sizes(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp], places: NDArray[np.float32], bins: SizeBins
    ) -> NDArray[np.float32]:
        """Widths and heights of the given rows in those of their anchors, (2, N), by the formula of `SizeBins`.

        Args:
            tensors: all tensors of the head.
            rows: (N,), ascending.
            places: probabilities of the place within the bin, (2, N).
            bins: of the contract.
        """
        ends = rows.searchsorted(self._level_ends).tolist()
        logits = self._real_fields(tensors, rows, ends, self._field_count, self._field_count + self._bin_fields)
        chosen = logits.reshape(2, len(bins.centers), len(rows)).argmax(axis=1)
        sizes: NDArray[np.float32] = np.array(bins.centers, np.float32).take(chosen)
        sizes += (places * np.float32(2.0) - np.float32(1.0)) * np.float32(bins.reach)
        np.clip(sizes, np.float32(bins.low), np.float32(bins.high), out=sizes)
        return sizes


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shares of the classes of each row, (classes, N)."""
    powers = np.exp(logits - logits.max(axis=0))
    shares: NDArray[np.float32] = powers / powers.sum(axis=0)
    return shares

"""Decode of transformers' heads (RT-DETR, D-FINE, RF-DETR and similar ones): class logits and a box for each query.

Formula (lyuwenyu/RT-DETR, rtdetr_postprocessor.py; Hugging Face's `post_process_object_detection`), for query n:

    score = sigmoid(logit[n, class])        center, size = box[n], as fractions of the input's width and height

The best pairs of query and class count, without suppression: a query may appear with several classes.

The lowest class threshold is converted to the raw values of the logits, which are searched as those of other heads
are; only the boxes of the queries that pass are dequantized.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.roles import QueryRole
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.boxes import xyxy_from_xywh
from rkdeploy.device.postprocess.cell_values import read_cells
from rkdeploy.device.postprocess.decoder import Candidates, DenseField, RowDetails
from rkdeploy.device.postprocess.native.decode_library import library as native_library
from rkdeploy.device.postprocess.native.points import NativePoints
from rkdeploy.device.postprocess.point_layout import PointLevel, PointPart
from rkdeploy.device.postprocess.raw_values import (
    dequantize,
    layout_key,
    outputs_with,
    raw_limit,
    require_tensors,
    sigmoid_in_place,
)
from rkdeploy.device.postprocess.score_search import Limit, scores_at_least
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError

QUERY_ROLES: Final = frozenset(get_args(QueryRole))


class QueryDecoder:
    """Decoder of one head of queries.  It reuses its buffers between calls: one decoder per thread."""

    def __init__(self, spec: ModelSpec) -> None:
        """Check the contract and allocate the buffers.

        Args:
            spec: the contract.

        Raises:
            RkdeployError: when the contract's outputs do not fit together.
        """
        self._outputs = spec.outputs
        self._level = _level_of(spec)
        scores, boxes = self._level.parts["query_scores"], self._level.parts["query_boxes"]
        self._scores, self._boxes = scores.index, boxes.index
        self._classes = scores.output.shape[1]
        self._activation = scores.output.activation
        self._size = np.array([spec.input.width, spec.input.height] * 2, np.float32)[:, None]
        self._key: tuple[Any, ...] = ()
        self._limit: Limit | None = None
        library = native_library()
        self._native = (
            None
            if library is None
            else NativePoints(library, [self._level], "query_boxes", every_class=True, score_role="query_scores")
        )

    def candidates(self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]) -> Candidates:
        """Boxes whose score is greater than the threshold of their class; a query's once per class that passes.

        Args:
            tensors: one per output of the contract, in its order.
            class_thresholds: (nc,) float32.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        self._prepare(tensors, class_thresholds)
        rows, class_ids, scores = self._found(tensors)
        if self._activation == "linear":
            sigmoid_in_place(scores)
        # The raw comparison lets rounding cases through; the exact rule is applied here.
        kept = (scores > class_thresholds.take(class_ids)).nonzero()[0]
        rows, class_ids, scores = rows.take(kept), class_ids.take(kept).astype(np.int32), scores.take(kept)
        return Candidates(xyxy_from_xywh(self._xywh(tensors, rows)), scores, class_ids, rows)

    def details(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> RowDetails:
        """Nothing: a query has a class and a box."""
        del tensors, rows
        return RowDetails()

    def decode_dense(self, tensors: Sequence[HeadTensor]) -> tuple[DenseField, ...]:
        """All queries, decoded with the same arithmetic as `candidates`: `xy`, `wh` and `scores`.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        require_tensors(self._outputs, tensors)
        rows = np.arange(self._level.end)
        xywh = self._xywh(tensors, rows)
        scores = np.empty((self._classes, len(rows)), np.float32)
        dequantize(tensors[self._scores], read_cells(tensors[self._scores], rows), scores)
        if self._activation == "linear":
            sigmoid_in_place(scores)
        return (
            DenseField("xy", "px", np.ascontiguousarray(xywh[:2].T)),
            DenseField("wh", "px", np.ascontiguousarray(xywh[2:].T)),
            DenseField("scores", "score", np.ascontiguousarray(scores.T)),
        )

    def _prepare(self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]) -> None:
        """Check the tensors and convert the lowest threshold, unless both are those of the last frame."""
        key = (class_thresholds.tobytes(), *layout_key(tensors))
        if key == self._key:
            return
        require_tensors(self._outputs, tensors)
        raw = raw_limit(tensors[self._scores], self._activation, class_thresholds.min())
        self._limit = None if raw is None else Limit.of(raw)
        if self._native is not None:
            self._native.configure(tensors, [self._limit])
        self._key = key

    def _found(self, tensors: Sequence[HeadTensor]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Queries, classes and dequantized scores that may pass, ascending by query, then class, (n,) each."""
        if self._native is not None:
            return self._native.scores(tensors, self._classes)
        tensor = tensors[self._scores]
        (hits,) = scores_at_least([tensor], [self._limit])
        scores = np.empty(len(hits.raw), np.float32)
        dequantize(tensor, hits.raw, scores)
        rows = hits.places // self._classes
        return rows, hits.places - rows * self._classes, scores

    def _xywh(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Center and size of queries in input pixels, (4, n)."""
        xywh = np.empty((4, len(rows)), np.float32)
        dequantize(tensors[self._boxes], read_cells(tensors[self._boxes], rows), xywh)
        xywh *= self._size
        return xywh


def _level_of(spec: ModelSpec) -> PointLevel:
    """The two tensors as one level whose cells are the queries.

    Raises:
        RkdeployError: when the contract's outputs do not fit together.
    """
    if not spec.class_names:
        raise RkdeployError("The contract holds no class names.")
    if not spec.end_to_end:
        raise RkdeployError("The contract has queries, which need no suppression, but is not end to end.")
    found = outputs_with(spec.outputs, QUERY_ROLES)
    parts: dict[str, PointPart] = {output.role: PointPart(index, output) for index, output in found}
    if len(spec.outputs) != 2 or set(parts) != QUERY_ROLES:
        roles = ", ".join(output.role for output in spec.outputs)
        raise RkdeployError(f"The contract has the outputs {roles}; expected query_scores and query_boxes, one each.")
    queries = parts["query_scores"].output.shape[3]
    for role, channels in (("query_scores", len(spec.class_names)), ("query_boxes", 4)):
        output = parts[role].output
        if output.shape != (1, channels, 1, queries):
            raise RkdeployError(
                f'Output "{output.name}" has shape {output.shape} in the contract, expected '
                f"{(1, channels, 1, queries)} for {role} with {len(spec.class_names)} classes."
            )
        if output.stride != spec.input.height:
            raise RkdeployError(
                f'Output "{output.name}" has stride {output.stride} in the contract, expected {spec.input.height}, the '
                "height of the input: queries are one row of cells."
            )
        allowed = ("linear", "sigmoid") if role == "query_scores" else ("linear",)
        if output.activation not in allowed:
            raise RkdeployError(
                f'Output "{output.name}" has activation "{output.activation}", expected {" or ".join(allowed)} '
                f"for {role}."
            )
    return PointLevel(parts, (1, queries), 1, parts["query_scores"].output.stride, 0, queries)

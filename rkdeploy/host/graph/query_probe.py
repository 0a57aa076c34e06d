"""Head of queries in a foreign graph: RT-DETR, D-FINE, DEIM, RF-DETR and similar ones, before their post-processing.

Exporters end such a graph in many ways: logits and boxes of all queries, one table of both, or the best pairs of query
and class with labels, in pixels or not, by corners or not.  Nothing but values says which of the tensors before that
are the logits and the boxes.  So the graph is run on one image, and the last tensors from which the decode of
`query_decode` gives what the graph gives are taken: center and size as fractions of the input, and the logits of a
sigmoid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.box_logits import with_bounded_boxes, with_kept_logits
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import DecodedRows, DecodedTable, Head, Tap, row_fields
from rkdeploy.host.graph.head_kinds import UNPREPARED
from rkdeploy.host.graph.session import Session

Floats = NDArray[np.float64]

PREPARED: Final = "rtdetr"
"""Kind of a head whose form only Ultralytics' exporter has, which says how images are prepared."""
_MOST_QUERIES = 1000
_MOST_CANDIDATES = 64
_WEIGHTED = frozenset({"MatMul", "Gemm", "Conv", "LayerNormalization", "GridSample"})
_TOLERANCE = 1e-4  # of scores, and of boxes as fractions
_SAME_ORDER = 0.9  # of the best pairs


@dataclass(frozen=True, slots=True)
class _Answer:
    """The outputs for the image, read in one of the known ways.

    Attributes:
        boxes: (K, 4).
        scores: (K, nc) of each query, or (K,) of the best.
        kind: of the head whose form this is.
    """

    boxes: Floats
    scores: Floats
    kind: str = UNPREPARED


@dataclass(frozen=True, slots=True)
class _Found:
    """The two tensors of a head, (1, N, 4) and (1, N, nc); `probabilities` is the sigmoid's tensor, where it exists."""

    boxes: str
    logits: str
    probabilities: str
    kind: str


def find_query_head(graph: GraphView) -> tuple[onnx.ModelProto, Head] | None:
    """Find the head and add its tensors in the contract's layout, (1, C, 1, N).

    Args:
        graph: simplified, with static shapes.

    Returns:
        The graph with the two tensors, and the head; None if the graph selects no queries, or none of its tensors
        explain what it gives.
    """
    if not _selects_queries(graph):
        return None
    candidates = _candidates(graph)
    try:
        found = _explained(graph, candidates, _values(graph, candidates)) if candidates else None
    except GraphError:  # it does not run on this image: other probes say why
        return None
    if found is None:
        return None
    model, head = _with_taps(graph, found)
    return with_bounded_boxes(with_kept_logits(model)), head


def _selects_queries(graph: GraphView) -> bool:
    """True if a graph has attention, and points that are sampled or rows that are selected."""
    ops = [node.op_type for node in graph.model.graph.node]
    return "Softmax" in ops and (
        "GridSample" in ops or (ops.count("TopK") + ops.count("Softmax") > 2 and "TopK" in ops)
    )


def _candidates(graph: GraphView) -> list[str]:
    """Tensors (1, N, C) between the last weighted layers and the outputs, the last first."""
    met = {name for name, _ in graph.back(graph.outputs, through=lambda node: node.op_type not in _WEIGHTED)}
    shapes = {name: graph.shape(name) for name in met - graph.indices}
    fits = {
        name for name, s in shapes.items() if len(s) == 3 and s[0] == 1 and 1 <= s[1] <= _MOST_QUERIES and s[2] >= 1
    }
    return [name for name in reversed(list(graph.producers)) if name in fits][:_MOST_CANDIDATES]


def _values(graph: GraphView, names: Sequence[str]) -> dict[str, Floats]:
    """The candidates and all outputs for an image of seeded noise."""
    shown = onnx.ModelProto()
    shown.CopyFrom(graph.model)
    shown.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names if n not in graph.outputs)
    image = np.random.default_rng(0).uniform(0, 1, graph.image_shape).astype(np.float32)
    values = Session(shown).run({next(iter(graph.inputs)): image})
    return {name: np.asarray(value, np.float64) for name, value in values.items()}


def _explained(graph: GraphView, candidates: Sequence[str], values: Mapping[str, Floats]) -> _Found | None:
    """The last two candidates that together explain an answer."""
    height, width = graph.image_shape[2:]
    boxes = [name for name in candidates if _are_boxes(values[name])]
    for answer in _answers([values[name] for name in graph.outputs]):
        plain = [name for name in candidates if _explains_scores(values[name], answer)]
        by_sigmoid = [name for name in candidates if _explains_scores(_sigmoid(values[name]), answer)]
        raw = [name for name in plain if values[name].min() < 0]
        for logits in (*by_sigmoid, *raw):
            placed = _placed(_sigmoid(values[logits]) if logits in by_sigmoid else values[logits], answer)
            for name in boxes:
                same = values[name].shape[1] == values[logits].shape[1]
                if same and _explains_boxes(values[name], placed, answer, (width, height)):
                    shown = (each for each in plain if _is_sigmoid_of(graph, each, logits))
                    return _Found(name, logits, next(shown, ""), answer.kind)
    return None


def _answers(outputs: Sequence[Floats]) -> Iterator[_Answer]:
    """The ways to read the outputs as boxes and scores."""
    tables = [values[0] if values.ndim > 1 and values.shape[0] == 1 else values for values in outputs]
    if len(tables) == 1 and tables[0].ndim == 2 and tables[0].shape[1] > 4:
        yield _Answer(tables[0][:, :4], tables[0][:, 4:], PREPARED)
        if tables[0].shape[1] == 6:
            yield _Answer(tables[0][:, :4], tables[0][:, 4], PREPARED)
    for boxes in (table for table in tables if table.ndim == 2 and table.shape[1] == 4):
        for scores in tables:
            if scores is not boxes and scores.ndim in (1, 2) and scores.shape[0] == boxes.shape[0]:
                best = scores.ndim == 1 and (scores % 1).any()  # otherwise labels
                if scores.ndim == 2 or best:
                    yield _Answer(boxes, scores)
    for table in (table for table in tables if table.ndim == 2 and table.shape[1] == 6 and len(tables) == 2):
        yield _Answer(table[:, 2:], table[:, 1])  # PaddleDetection: label, score, corners


def _are_boxes(values: Floats) -> bool:
    """True if (1, N, 4) can be centers and sizes as fractions of the input; corners cannot."""
    boxes = values[0]
    if boxes.shape[1] != 4 or not np.isfinite(boxes).all() or boxes.min() < -1 or boxes.max() > 2:
        return False
    return bool(boxes[:, 2:].min() >= 0) and not (boxes[:, 2:] >= boxes[:, :2]).all()


def _placed(scores: Floats, answer: _Answer) -> NDArray[np.intp]:
    """The query that each of the answer's rows comes from, (K,), where the answer's rows are ordered by score."""
    if answer.scores.ndim == 2:  # row by row
        return np.arange(len(answer.boxes))
    order = np.argsort(-scores[0].ravel(), kind="stable")[: len(answer.scores)]
    return order // scores.shape[2]


def _explains_boxes(values: Floats, placed: NDArray[np.intp], answer: _Answer, size: tuple[int, int]) -> bool:
    """True if the answer's boxes are those of the queries, scaled or as corners."""
    boxes = values[0]
    wanted = answer.boxes if answer.scores.ndim == 2 else answer.boxes[np.argsort(-answer.scores, kind="stable")]
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    for form in (boxes, np.concatenate([low, high], axis=1)):
        for sides in ((1, 1), size, size[::-1]):
            off = np.abs(form[placed] * np.array([*sides, *sides]) - wanted).max(axis=1)
            # Equal scores may come in another order.
            if (off <= _TOLERANCE * max(sides)).mean() >= _SAME_ORDER:
                return True
    return False


def _explains_scores(values: Floats, answer: _Answer) -> bool:
    """True if (1, N, nc) are the answer's scores, or its best scores are the highest of them."""
    scores = values[0]
    if answer.scores.ndim == 2:
        return (
            scores.size > 0
            and scores.shape == answer.scores.shape
            and bool(np.abs(scores - answer.scores).max() <= _TOLERANCE)
        )
    best = np.sort(scores.ravel())[::-1][: len(answer.scores)]
    wanted = np.sort(answer.scores)[::-1]
    return 0 < len(best) == len(wanted) and bool(np.abs(best - wanted).max() <= _TOLERANCE)


def _sigmoid(values: Floats) -> Floats:
    probabilities: Floats = 1 / (1 + np.exp(-np.clip(values, -80, 80)))
    return probabilities


def _is_sigmoid_of(graph: GraphView, name: str, logits: str) -> bool:
    node = graph.producer(name)
    return node is not None and node.op_type == "Sigmoid" and node.input[0] == logits


def _with_taps(graph: GraphView, found: _Found) -> tuple[onnx.ModelProto, Head]:
    """The graph with both tensors as (1, C, 1, N), and the head."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    height, width = graph.image_shape[2:]
    queries, classes = graph.shape(found.logits)[1:]
    taps = []
    for tensor, role, channels in ((found.boxes, "query_boxes", 4), (found.logits, "query_scores", classes)):
        turned, laid, shape = f"{tensor}/by_channel", f"{tensor}/queries", (1, channels, 1, queries)
        target = numpy_helper.from_array(np.array(shape, np.int64), f"{laid}.shape")
        model.graph.initializer.append(target)
        model.graph.node.append(helper.make_node("Transpose", [tensor], [turned], name=turned, perm=[0, 2, 1]))
        model.graph.node.append(helper.make_node("Reshape", [turned, target.name], [laid], name=laid))
        node = graph.producer(tensor)
        place = (node.name if node is not None else "") or tensor
        taps.append(Tap(place, laid, "query_boxes" if role == "query_boxes" else "query_scores", shape, height))
    rows = DecodedRows(
        found.boxes,
        row_fields({"xy": ("px", 2), "wh": ("px", 2)}),
        columns_first=False,
        corners=False,
        level_order=(0,),
        level_rows=(queries,),
        others=(DecodedTable(found.probabilities or found.logits, row_fields({"scores": ("score", classes)}), False),),
        fractions_of=(width, height),
        raw_scores=not found.probabilities,
    )
    return model, Head(tuple(taps), classes, rows=rows, end_to_end=True, kind=found.kind)

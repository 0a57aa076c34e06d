"""RT-DETR's decoder with its decode, as the trained model computes it in inference mode.

Source of the formulas: ultralytics.nn.modules.head (`RTDETRDecoder`) and transformer (`DeformableTransformerDecoder`).
The cells with the highest class logit become the queries, their features and boxes its start; each decoder layer
refines the boxes.  Where training takes the logit of a box again that it made by a sigmoid, the logit itself is kept:
the formula log(b / (1 - b)) loses what float16 and integers can hold.  Layers behind the one that inference takes, and
all heads but its own, serve training only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import layer_settings, layers
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.export.emission import Emission, child
from rkdeploy.host.export.transformer_blocks import Memory, deformable_attention, layer_norm, perceptron, self_attention
from rkdeploy.host.graph.head import DecodedRows, Head, Tap, row_fields

OPSET = 16
"""The first with GridSample."""
_BASE_SIZE, _MARGIN = 0.05, 0.01  # of the cells' boxes on the finest level; of valid boxes from the borders
_OUTSIDE = 20.0
"""Logit of an invalid box, infinity in training: its sigmoid is 1 in float32, and integers can hold it."""
_LARGEST_LOGIT = float(np.log(1e5))
"""Training's log(max(b, 1e-5) / max(1 - b, 1e-5)) has no larger results."""


@dataclass(frozen=True, slots=True)
class _Queries:
    """Queries on their way through the layers.

    Attributes:
        features: (1, Q, C).
        logits: (1, Q, 4) of the boxes.
        boxes: (1, Q, 4), their sigmoid: center and size as fractions of the input.
    """

    features: Value
    logits: Value
    boxes: Value


def query_head(emission: Emission, head: Module, features: Sequence[Value], hw: tuple[int, int]) -> tuple[Value, Head]:
    """Feature maps to (1, queries, 4 + classes): center, size as fractions of the input, and probabilities.

    Args:
        emission: the graph.
        head: the RTDETRDecoder.
        features: of each level, finest first.
        hw: (height, width) of the network input in pixels.

    Raises:
        GraphError: when the parts do not fit together.
    """
    builder, path = emission.builder, head.path
    layer_settings.require_setting(head, "nl", len(features))
    memory = _memory(emission, head, features)
    queries = _selected(emission, head, memory)
    decoder = head.child("decoder")
    steps = list(decoder.child("layers").children.values())
    last = final_layer(head)
    for index in range(last + 1):
        place = perceptron(emission, head.child("query_pos_head"), queries.boxes)
        tokens = _layer(emission, steps[index], queries, place, memory)
        shift = perceptron(emission, head.child("dec_bbox_head").child(str(index)), tokens)
        bounded = builder.elementwise("Add", path, shift, _bounded(builder, path, queries.logits))
        queries = _queries(builder, path, tokens, bounded)
    scores = layers.linear_module(builder, head.child("dec_score_head").child(str(last)), queries.features)
    boxes, logits = _by_channel(builder, path, queries.boxes), _by_channel(builder, path, scores)
    tops = builder.add("Sigmoid", path, [logits], logits.shape)
    joined = builder.concat(path, [boxes, tops], 1)
    table = builder.reshape(path, joined, (1, joined.channels, joined.shape[3]))
    return builder.transpose(path, table, (0, 2, 1)), _head(path, boxes, logits, hw)


def final_layer(head: Module) -> int:
    """Index of the decoder layer whose answer inference takes.

    Raises:
        GraphError: when it has no such layer.
    """
    decoder = head.child("decoder")
    count = len(decoder.child("layers").children)
    index = decoder.attribute("eval_idx", -1)
    if type(index) is not int or not -count <= index < count:
        raise GraphError(f'"{decoder.path}" has {count} layers and takes layer {index!r:.20}.')
    return index % count


def _memory(emission: Emission, head: Module, features: Sequence[Value]) -> Memory:
    """The cells of all levels, projected to one number of channels."""
    builder, path = emission.builder, head.path
    tokens = []
    for number, value in enumerate(features):
        conv, norm = head.child("input_proj").child(str(number)).children.values()
        projected = convolution(builder, conv, value, norm)
        n, c, h, w = projected.shape
        tokens.append(builder.transpose(path, builder.reshape(path, projected, (n, c, h * w)), (0, 2, 1)))
    joined = builder.concat(path, tokens, 1) if len(tokens) > 1 else tokens[0]
    return Memory(joined, tuple((value.shape[2], value.shape[3]) for value in features))


def _selected(emission: Emission, head: Module, memory: Memory) -> _Queries:
    """The cells with the highest class logit: their features, and their boxes after a first estimate."""
    builder, path = emission.builder, head.path
    boxes, valid = _cell_boxes(memory.grids)
    tokens = memory.tokens
    if not valid.all():
        tokens = builder.elementwise("Mul", path, tokens, valid.astype(np.float32))
    linear, norm = head.child("enc_output").children.values()
    features = layer_norm(builder, norm, layers.linear_module(builder, linear, tokens))
    logits = layers.linear_module(builder, head.child("enc_score_head"), features)
    cells = tokens.shape[1]
    count = min(layer_settings.whole_number(head, "num_queries", 300), cells)
    best = builder.add("ReduceMax", path, [logits], (1, cells), {"axes": [2], "keepdims": 0})
    chosen = _top(builder, path, best, count)
    taken = builder.add("Gather", path, [features, chosen], (1, count, features.shape[2]), {"axis": 1})
    estimate = perceptron(emission, head.child("enc_bbox_head"), taken)
    places = builder.add(
        "Gather", path, [builder.constant(f"{path}.anchors", boxes), chosen], (1, count, 4), {"axis": 1}
    )
    start = builder.elementwise("Add", path, estimate, places)
    if head.attribute("learnt_init_query", False):
        learned = builder.constant(f"{path}.tgt_embed", head.child("tgt_embed").array("weight")[None, :count])
        taken = Value(learned, taken.shape)
    return _queries(builder, path, taken, start)


def _queries(builder: GraphBuilder, path: str, features: Value, logits: Value) -> _Queries:
    return _Queries(features, logits, builder.add("Sigmoid", path, [logits], logits.shape))


def _top(builder: GraphBuilder, path: str, values: Value, count: int) -> str:
    """Name of the indices (count,) of the highest of (1, n) values."""
    k = builder.constant(f"{path}.k", np.array([count], np.int64))
    shape = builder.constant(f"{path}.k.shape", np.array([count], np.int64))
    _, indices = builder.add_many("TopK", path, [values, k], [(1, count), (1, count)], {"axis": 1})
    return builder.add("Reshape", path, [indices, shape], (count,)).name


def _cell_boxes(grids: Sequence[tuple[int, int]]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The boxes that cells stand for, as logits (1, cells, 4), and those that count, (1, cells, 1).

    A cell's box is in its middle and has 0.05, 0.1, 0.2, ... of the input's size, by level.  One too close to the
    borders, in any of its four numbers, does not count.
    """
    found = []
    for level, (height, width) in enumerate(grids):
        y, x = (axis.ravel().astype(np.float32) for axis in np.indices((height, width)))
        side = np.full_like(x, _BASE_SIZE * 2.0**level)
        found.append(np.stack([(x + 0.5) / width, (y + 0.5) / height, side, side], axis=1))
    boxes = np.concatenate(found)[None].astype(np.float32)
    valid = ((boxes > _MARGIN) & (boxes < 1 - _MARGIN)).all(axis=2, keepdims=True)
    inside = np.where(valid, boxes, np.float32(0.5))
    logits = np.where(valid, np.log(inside / (1 - inside)), np.float32(_OUTSIDE))
    return logits.astype(np.float32), valid


def _layer(emission: Emission, module: Module, queries: _Queries, place: Value, memory: Memory) -> Value:
    """A decoder layer: attention among the queries, to the memory, and a perceptron, each added and normalized."""
    builder, path = emission.builder, module.path

    def added(value: Value, more: Value, norm: str) -> Value:
        return layer_norm(builder, module.child(norm), builder.elementwise("Add", path, value, more))

    value = queries.features
    placed = builder.elementwise("Add", path, value, place)
    value = added(value, self_attention(emission, module.child("self_attn"), placed, value), "norm1")
    placed = builder.elementwise("Add", path, value, place)
    read = deformable_attention(emission, module.child("cross_attn"), placed, queries.boxes, memory)
    value = added(value, read, "norm2")
    inner = child(emission, module, "act", child(emission, module, "linear1", value))
    return added(value, child(emission, module, "linear2", inner), "norm3")


def _bounded(builder: GraphBuilder, path: str, logits: Value) -> Value:
    low, high = (builder.constant(f"{path}.bound", np.array(v, np.float32)) for v in (-_LARGEST_LOGIT, _LARGEST_LOGIT))
    return builder.add("Clip", path, [logits, low, high], logits.shape)


def _by_channel(builder: GraphBuilder, path: str, value: Value) -> Value:
    """(1, Q, C) as (1, C, 1, Q), the contract's layout of queries."""
    _, queries, c = value.shape
    return builder.reshape(path, builder.transpose(path, value, (0, 2, 1)), (1, c, 1, queries))


def _head(path: str, boxes: Value, scores: Value, hw: tuple[int, int]) -> Head:
    height, width = hw
    queries, classes = scores.shape[3], scores.channels
    taps = (
        Tap(f"{path}.boxes", boxes.name, "query_boxes", (1, 4, 1, queries), height),
        Tap(f"{path}.scores", scores.name, "query_scores", (1, classes, 1, queries), height),
    )
    fields = row_fields({"xy": ("px", 2), "wh": ("px", 2), "scores": ("score", classes)})
    rows = DecodedRows("output0", fields, False, False, (0,), (queries,), fractions_of=(width, height))
    return Head(taps, classes, rows=rows, end_to_end=True)

"""Graphs of a fixed batch of several images, as graphs of one image.

Exporters write the batch into the shapes of reshapes, and some into constants with a copy for each image.  Both get one
image, and the result counts only if it gives of an image what the graph gives of it within its batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.foreign import with_static_input
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.session import Session

_OF_SHAPES = frozenset({"Reshape", "Expand", "Resize", "Tile"})
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Concat", "Where", "Max", "Min"})
_LARGEST_BATCH = 64
_ROUNDING = 1e-4  # of an output's largest value: float32 sums in another order


def with_batch_of_one(model: onnx.ModelProto, name: str, batch: int, hw: tuple[int, int]) -> onnx.ModelProto | None:
    """The graph of one image; None where the batch is in it in another way.

    Args:
        model: the graph.
        name: of its image input.
        batch: images of its input, more than one.
        hw: height and width of its input.
    """
    if batch > _LARGEST_BATCH:
        return None
    single = with_static_input(model, (1, 3, *hw))
    graph = GraphView(single)
    constants: list[onnx.TensorProto] = []
    for number, node in enumerate(single.graph.node):
        for place, tensor in enumerate(node.input):
            value = graph.stored(tensor) if tensor else None
            one = None if value is None else _of_one(node.op_type, place, value, batch)
            if one is None:
                continue
            constants.append(numpy_helper.from_array(one, f"one image.{number}.{place}"))
            node.input[place] = constants[-1].name
    single.graph.initializer.extend(constants)
    for info in single.graph.output:
        dims = info.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == batch:
            dims[0].dim_value = 1
    return single if _is_same(model, single, name, batch, hw) else None


def _of_one(kind: str, place: int, value: NDArray[Any], batch: int) -> NDArray[Any] | None:
    """A constant for one image; None where it is none of the batch."""
    if kind in _OF_SHAPES and place > 0 and value.ndim == 1 and value.dtype == np.int64 and value.size:
        return np.array([1, *value[1:]], np.int64) if value[0] == batch else None
    if kind in _ELEMENTWISE and value.ndim > 2 and value.shape[0] == batch and (value == value[:1]).all():
        return np.ascontiguousarray(value[:1])
    return None


def _is_same(model: onnx.ModelProto, single: onnx.ModelProto, name: str, batch: int, hw: tuple[int, int]) -> bool:
    """True if the graph of one image gives what the other gives of the first and of the last of its batch."""
    images = np.random.default_rng(0).random((batch, 3, *hw), np.float32)
    whole = with_static_input(model, (batch, 3, *hw))
    try:
        expected = Session(whole).run({name: images})
        session = Session(single)
        for number in (0, batch - 1):
            for output, values in session.run({name: images[number : number + 1]}).items():
                others = expected[output]
                if values.shape != (1, *others.shape[1:]) or others.shape[0] != batch:
                    return False
                if np.abs(values - others[number]).max(initial=0.0) > _ROUNDING * max(1.0, np.abs(others).max()):
                    return False
    except GraphError:  # the message of a batch is clearer than that of what it leads to
        return False
    return True

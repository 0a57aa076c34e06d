"""Zero padding before pooling: rewritten with the same values, and left alone where it is not of zeros."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rkdeploy.host.graph.padded_pooling import without_padded_pooling
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify
from tests.host.graph.small_graphs import model_of


def _pool(values: NDArray[np.float32], pads: list[int]) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(
        model_of(
            [
                helper.make_node("Pad", ["images", "pads", *(["value"] if values.size else [])], ["padded"]),
                helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[2, 2], strides=[1, 1]),
            ],
            constants=[
                numpy_helper.from_array(np.array(pads, np.int64), "pads"),
                *([numpy_helper.from_array(values, "value")] if values.size else []),
            ],
        )
    )


@pytest.mark.parametrize(
    "pads", [[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 1, 2, 0, 0, 0, 1], [0, 0, 0, 3, 0, 0, 0, 0], [0] * 8]
)
def test_padded_pooling_by_hand(pads: list[int]) -> None:
    """Pad of zeros before MaxPool becomes Concat; with negative inputs the maxima at the border are those zeros."""
    model = without_padded_pooling(_pool(np.zeros((), np.float32), pads))
    onnx.checker.check_model(model)
    assert all(n.op_type != "Pad" for n in model.graph.node)
    x = -1 - np.random.default_rng(0).random((1, 3, 4, 6), np.float32)
    padded = np.pad(x, list(zip(pads[:4], pads[4:], strict=True)))
    across = np.maximum(padded[..., :-1], padded[..., 1:])
    expected = np.maximum(across[:, :, :-1], across[:, :, 1:])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, {"images": x})[0], expected)  # with every optimizer on


def test_other_pads_stay() -> None:
    """A Pad with another value is left as it is, and `Session` computes it right."""
    model = without_padded_pooling(_pool(np.array(-2, np.float32), [0, 0, 0, 0, 0, 0, 1, 1]))
    assert [n.op_type for n in model.graph.node] == ["Pad", "MaxPool"]


def test_pad_is_not_fused_into_pool() -> None:
    """Neither onnxruntime nor onnxsim moves zeros into a MaxPool: the maximum of -1 and a padded zero is zero."""
    x = np.full((1, 3, 4, 6), -1, np.float32)
    model = _pool(np.zeros((), np.float32), [0, 0, 0, 0, 0, 0, 1, 1])
    for graph in (model, simplify(model)):
        y = Session(graph).run({"images": x})["y"]
        assert (y[:, :, -1] == 0).all()
        assert (y[:, :, :-1, :-1] == -1).all()

"""Divergence of two graphs, and the comparison there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.errors import VerificationError
from rkdeploy.host.graph.rewrite_proof import parting_tensors, verify_rewrite

HW = (6, 10)
SPEC = ModelSpec(
    family="onnx",
    task="classify",
    class_names=("a", "b"),
    input=InputSpec("x", *HW),
    outputs=(HeadOutput("y", "class_scores", 0, 1, (1, 2, 1, 1), "linear"),),
)


def graph(*nodes: onnx.NodeProto, **constants: NDArray[np.float32]) -> onnx.ModelProto:
    """A graph from "x" to "y"."""
    made = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, *HW))],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(values, np.float32), name) for name, values in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def image() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    yield "noise", np.random.default_rng(0).integers(0, 256, (1, *HW, 3), np.uint8)


def doubled(*, behind: str = "Relu") -> onnx.ModelProto:
    """2 x, then an activation."""
    return graph(
        helper.make_node("Mul", ["x", "two"], ["first"]), helper.make_node(behind, ["first"], ["y"]), two=np.array(2)
    )


def added(factor: float = 1.0) -> onnx.ModelProto:
    """x + factor x, then the activation: as `doubled` where the factor is 1."""
    return graph(
        helper.make_node("Mul", ["x", "factor"], ["same"]),
        helper.make_node("Add", ["x", "same"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["y"]),
        factor=np.array(factor),
    )


def test_graphs_part_where_their_nodes_do() -> None:
    """Equal nodes behind are walked through, whatever their tensors are called; the differing ones are compared."""
    assert parting_tensors(doubled(), added()) == (("first", "sum"),)
    assert parting_tensors(doubled(), doubled()) == ()
    assert parting_tensors(doubled(), doubled(behind="Sigmoid")) == (("y", "y"),)


def test_another_constant_is_another_node() -> None:
    """Graphs of the same nodes part where a constant differs in its last digit."""
    assert parting_tensors(added(1.0), added(1 + 2.0**-23)) == (("same", "same"),)


def test_equal_rewrites_pass() -> None:
    """2 x is x + x to the bit; of a graph that was not rewritten there is nothing to say."""
    error = verify_rewrite(doubled(), added(), SPEC, image())
    assert error is not None
    assert (error.max_error, error.excess) == (0.0, 0.0)
    assert verify_rewrite(doubled(), doubled(), SPEC, image()) is None


def test_a_millionth_is_found() -> None:
    """If nothing is summed, a factor that is off by 1e-6 is more than rounding."""
    with pytest.raises(VerificationError, match=r'by up to .* in channel [012] of "first" on "noise", allowed is'):
        verify_rewrite(doubled(), added(1.000002), SPEC, image())


def test_another_shape() -> None:
    """A rewritten layer that puts out another shape is refused, with both."""
    turned = graph(
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]), helper.make_node("Relu", ["t"], ["y"])
    )
    with pytest.raises(VerificationError, match=r"\(1, 3, 10, 6\), the trained \(1, 3, 6, 10\)"):
        verify_rewrite(doubled(), turned, SPEC, image())


def test_not_a_number() -> None:
    """NaN on either side is not rounding."""
    with pytest.raises(VerificationError, match="differs from the trained"):
        verify_rewrite(doubled(), added(float("nan")), SPEC, image())

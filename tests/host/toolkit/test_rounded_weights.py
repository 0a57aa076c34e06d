"""Weights rounded as the toolkit rounds them: by hand, and in a graph."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.toolkit.rounded_weights import rounded, weighted_nodes, with_rounded_weights


def test_by_hand() -> None:
    """Channel 0 spans -1 to 1.55: steps of 0.01, zero point -28; channel 1 has no negative weight: from 0 on."""
    weights = np.array([[-1.0, 1.55, 0.004, 0.006], [0.0, 2.55, 1.014, 1.016]], np.float32)
    expected = [[-1.0, 1.55, 0.0, 0.01], [0.0, 2.55, 1.01, 1.02]]
    np.testing.assert_allclose(rounded(weights), expected, atol=1e-6)


def test_the_axis_is_that_of_the_output_channels() -> None:
    """A transposed convolution has its output channels second; a channel of zeros stays zero."""
    weights = np.stack([np.zeros((3, 2)), np.linspace(-1, 2, 6).reshape(3, 2)], axis=1).astype(np.float32)
    back = rounded(weights, axis=1)
    assert back.shape == weights.shape
    assert not back[:, 0].any()
    np.testing.assert_allclose(back[:, 1], rounded(weights[:, 1].reshape(1, -1)).reshape(3, 2))


def test_only_the_named_layer_is_rounded() -> None:
    """The graph is copied; biases stay, and so does a layer that is not named."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(2, 2, 1, 1)).astype(np.float32) for _ in range(2)]
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b"], ["first"]),
        helper.make_node("Relu", ["first"], ["r"]),
        helper.make_node("Conv", ["r", "w1"], ["second"]),
    ]
    initializers = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    initializers.append(numpy_helper.from_array(np.array([0.123, 4.56], np.float32), "b"))
    shape = [1, 2, 4, 4]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("second", TensorProto.FLOAT, shape)],
        initializers,
    )
    model = helper.make_model(graph)
    assert weighted_nodes(model) == ("first", "second")
    changed = with_rounded_weights(model, ("second",))
    kept = {t.name: numpy_helper.to_array(t) for t in changed.graph.initializer}
    np.testing.assert_array_equal(kept["w0"], weights[0])
    np.testing.assert_array_equal(kept["w1"], rounded(weights[1]))
    np.testing.assert_array_equal(kept["b"], np.array([0.123, 4.56], np.float32))
    assert model.SerializeToString() != changed.SerializeToString()
    onnx.checker.check_model(changed)

"""A network that was trained with BGR, for programs that hand over RGB: its first node exchanges the channels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rkdeploy.errors import VerificationError
from rkdeploy.host.graph.forms.form_graph import FORM
from rkdeploy.host.graph.session import Session

if TYPE_CHECKING:
    from rkdeploy.contract.spec import ModelSpec

_EXCHANGED: Final = f"{FORM}bgr"
_SEED: Final = 0


def with_rgb_input(graph: onnx.ModelProto, spec: ModelSpec) -> tuple[onnx.ModelProto, ModelSpec]:
    """The graph with an input of the other channel order, and its contract.

    The exchange is a convolution of one pixel with weights 0 and 1, which changes no value; the outputs of both graphs
    are compared on noise, and must be equal to the bit.

    Args:
        graph: a cut graph.
        spec: contract of that graph.

    Raises:
        VerificationError: when an output differs.
    """
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    for node in result.graph.node:
        for index, name in enumerate(node.input):
            if name == spec.input.name:
                node.input[index] = _EXCHANGED
    weights = np.eye(3, dtype=np.float32)[::-1].reshape(3, 3, 1, 1)
    result.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weights), f"{_EXCHANGED}.weight"))
    inputs = [spec.input.name, f"{_EXCHANGED}.weight"]
    exchange = helper.make_node("Conv", inputs, [_EXCHANGED], name=_EXCHANGED, kernel_shape=[1, 1])
    result.graph.node.insert(0, exchange)
    _require_equal(graph, result, spec)
    image = replace(spec.input, color="rgb", mean=_reversed(spec.input.mean), std=_reversed(spec.input.std))
    return result, replace(spec, input=image)


def _reversed(values: tuple[float, float, float]) -> tuple[float, float, float]:
    return values[2], values[1], values[0]


def _require_equal(graph: onnx.ModelProto, exchanged: onnx.ModelProto, spec: ModelSpec) -> None:
    """Check that both graphs give the same for an image and the image with its channels exchanged."""
    shape = (1, 3, spec.input.height, spec.input.width)
    image = np.random.default_rng(_SEED).random(shape, np.float32)
    expected = Session(graph).run({spec.input.name: image})
    got = Session(exchanged).run({spec.input.name: np.ascontiguousarray(image[:, ::-1])})
    for name, values in expected.items():
        if not np.array_equal(values, got[name]):
            error = float(np.abs(values - got[name]).max())
            raise VerificationError(f'Output "{name}" differs by {error:.3g} after its input was made RGB, expected 0.')

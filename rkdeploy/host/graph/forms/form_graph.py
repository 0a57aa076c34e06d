"""A cut graph with the nodes of a form appended behind its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.contract.spec import HeadOutput
from rkdeploy.host.graph.cut import prune

FORM: Final = "form/"
"""Beginning of the names of a form's nodes, tensors and constants, except for the outputs themselves."""


class FormGraph:
    """Writer of a form's nodes."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        """Copy the cut graph.

        Args:
            graph: the cut graph, in our own form.
        """
        self._model = onnx.ModelProto()
        self._model.CopyFrom(graph)
        self._opset = next((o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")), 0)
        self._count = 0

    def node(self, op: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Append a node with one output, and return the output's name.

        Args:
            op: operator of ONNX's default domain.
            inputs: names of tensors.
            name: of the output; empty for one of its own.
            attributes: of the node.
        """
        self._count += 1
        output = name or f"{FORM}{self._count}"
        self._model.graph.node.append(
            helper.make_node(op, inputs, [output], name=f"{FORM}{op}_{self._count}", **attributes)
        )
        return output

    def constant(self, values: NDArray[Any] | float) -> str:
        """Add a constant, and return its name; a number is float32."""
        values = np.array(values, np.float32) if isinstance(values, float) else values
        self._count += 1
        name = f"{FORM}constant_{self._count}"
        self._model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def reshape(self, tensor: str, shape: Sequence[int], name: str = "") -> str:
        """A tensor in another shape."""
        return self.node("Reshape", [tensor, self.constant(np.array(shape, np.int64))], name)

    def part(self, tensor: str, first: int, end: int) -> str:
        """Channels `first` to `end` - 1 of a tensor (1, C, ...)."""
        bounds = [self.constant(np.array([value], np.int64)) for value in (first, end, 1)]
        return self.node("Slice", [tensor, *bounds])

    def halves(self, tensor: str, channels: int = 2) -> tuple[str, str]:
        """The two halves of a tensor with twice so many channels."""
        return self.part(tensor, 0, channels), self.part(tensor, channels, 2 * channels)

    def sum(self, tensor: str, axis: int) -> str:
        """The sum over one axis, which stays with length 1."""
        if self._opset < 13:
            return self.node("ReduceSum", [tensor], axes=[axis], keepdims=1)
        return self.node("ReduceSum", [tensor, self.constant(np.array([axis], np.int64))], keepdims=1)

    def finish(self, outputs: Sequence[HeadOutput]) -> onnx.ModelProto:
        """The graph with these outputs, without what none of them needs."""
        graph = self._model.graph
        del graph.output[:]
        for output in outputs:
            graph.output.append(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, output.shape))
        prune(graph)
        return self._model

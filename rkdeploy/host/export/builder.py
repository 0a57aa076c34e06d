"""Writer of an ONNX graph, node by node, with all shapes known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import GraphError, shown
from rkdeploy.version import __version__

# The vendor's toolkit takes 12 to 19.  13 has every operator used here, and OpenCV's importer also reads it.
OPSET = 13
_MAX_ELEMENTS = 1 << 29
_MAX_CONSTANT_BYTES = 2_000_000_000


Attribute = int | float | str | Sequence[int]


@dataclass(frozen=True, slots=True)
class Value:
    """A float32 tensor in the graph: its name and its static shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Size of dimension 1."""
        return self.shape[1]


class GraphBuilder:
    """Collects nodes and constants; `finish` makes the model.

    Every method that adds a node takes the path of its module; node and tensor names are derived from it, so
    that the vendor's per-layer tables show `model.0.conv`.
    """

    def __init__(self, opset: int = OPSET) -> None:
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._names: set[str] = set()
        self._constant_bytes = 0

    def input(self, name: str, shape: Sequence[int]) -> Value:
        """Declare a graph input."""
        self._names.add(name)
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        return Value(name, tuple(shape))

    def constant(self, path: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Store a constant (float32, or int64 for shapes) and return its name."""
        self._constant_bytes += values.nbytes
        if self._constant_bytes > _MAX_CONSTANT_BYTES:
            raise GraphError("The network has more than 2 GB of weights, which an ONNX file cannot hold.")
        name = self._unique(path)
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(
        self,
        op: str,
        path: str,
        inputs: Sequence[Value | str],
        shape: Sequence[int],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Value:
        """Add a node with one output of the given shape."""
        return self.add_many(op, path, inputs, [shape], attributes)[0]

    def add_many(
        self,
        op: str,
        path: str,
        inputs: Sequence[Value | str],
        shapes: Sequence[Sequence[int]],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> tuple[Value, ...]:
        """Add a node with several outputs."""
        for shape in shapes:
            if any(n < 1 for n in shape) or prod(shape) > _MAX_ELEMENTS:
                raise GraphError(
                    f'"{path}" ({op}) gives a tensor of shape {shown(tuple(shape))}, which cannot be computed.'
                )
        name = self._unique(f"{path}/{op}")
        values = tuple(
            Value(f"{name}_output_{index}", tuple(int(n) for n in shape)) for index, shape in enumerate(shapes)
        )
        names = [v.name if isinstance(v, Value) else v for v in inputs]
        node = helper.make_node(op, names, [v.name for v in values], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted((attributes or {}).items()))
        self._nodes.append(node)
        return values

    def reshape(self, path: str, value: Value, shape: Sequence[int]) -> Value:
        """Reshape to a static shape."""
        if prod(shape) != prod(value.shape):
            raise GraphError(
                f'"{path}" reshapes {value.shape} to {tuple(shape)}, which has another number of elements.'
            )
        target = self.constant(f"{path}.shape", np.array(shape, np.int64))
        return self.add("Reshape", path, [value, target], shape)

    def transpose(self, path: str, value: Value, order: Sequence[int]) -> Value:
        """Permute the dimensions."""
        return self.add("Transpose", path, [value], [value.shape[i] for i in order], {"perm": list(order)})

    def split(self, path: str, value: Value, sizes: Sequence[int], axis: int) -> tuple[Value, ...]:
        """Cut into pieces of the given sizes along `axis`.

        Raises:
            GraphError: when the sizes do not add up.
        """
        if sum(sizes) != value.shape[axis] or any(n < 1 for n in sizes):
            raise GraphError(f'"{path}" splits {value.shape} into {tuple(sizes)} along dimension {axis}.')
        shapes = [(*value.shape[:axis], n, *value.shape[axis + 1 :]) for n in sizes]
        cuts = self.constant(f"{path}.split", np.array(sizes, np.int64))
        return self.add_many("Split", path, [value, cuts], shapes, {"axis": axis})

    def concat(self, path: str, values: Sequence[Value], axis: int) -> Value:
        """Concatenate along `axis`.

        Raises:
            GraphError: when the other dimensions differ, as they do when the input size does not fit the strides.
        """
        first = values[0].shape
        for value in values[1:]:
            if len(value.shape) != len(first) or any(
                a != b for i, (a, b) in enumerate(zip(first, value.shape, strict=True)) if i != axis % len(first)
            ):
                raise GraphError(f'"{path}" joins tensors of shapes {", ".join(str(v.shape) for v in values)}.')
        shape = list(first)
        shape[axis] = sum(v.shape[axis] for v in values)
        return self.add("Concat", path, list(values), shape, {"axis": axis})

    def elementwise(self, op: str, path: str, a: Value, b: Value | NDArray[np.float32] | float) -> Value:
        """Add, Mul, Pow and similar operators, with broadcasting; `b` may be a constant."""
        if isinstance(b, Value):
            return self.add(op, path, [a, b], np.broadcast_shapes(a.shape, b.shape))
        values = np.asarray(b, np.float32)
        return self.add(
            op, path, [a, self.constant(f"{path}.{op.lower()}", values)], np.broadcast_shapes(a.shape, values.shape)
        )

    def finish(self, outputs: Mapping[str, Value], metadata: Mapping[str, str]) -> onnx.ModelProto:
        """Make the checked model with the given outputs (graph output name -> value).

        Raises:
            GraphError: when onnx's checker rejects the graph.
        """
        infos = []
        for name, value in outputs.items():
            self._nodes.append(
                helper.make_node("Identity", [value.name], [name], name=self._unique(f"{name}/Identity"))
            )
            infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape)))
        graph = helper.make_graph(self._nodes, "rkdeploy", self._inputs, infos, self._constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self._opset)],
            ir_version=8,
            producer_name="rkdeploy",
            producer_version=__version__,
        )
        helper.set_model_props(model, dict(metadata))
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise GraphError(f"The exported graph is not valid ONNX: {error}") from error
        return model

    def _unique(self, path: str) -> str:
        name, count = path, 1
        while name in self._names:
            count += 1
            name = f"{path}_{count}"
        self._names.add(name)
        return name

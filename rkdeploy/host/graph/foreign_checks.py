"""Checks of a foreign ONNX file before any runtime loads it: runtimes crash, for example, on a stride of zero.

They examine the file's declarations, tensor by tensor and node by node, and compute nothing; the resulting shapes
are checked by `foreign_sizes`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import AttributeProto, TensorProto

from rkdeploy.errors import GraphError, shown

MAX_NODES = 100_000
_MAX_DEPTH = 8  # depth of graphs within If, Loop and Scan; exporters write one or two
_MAX_NAME = 1000
_MAX_METADATA = 1 << 20  # longest entry, in characters
_MAX_ELEMENTS = 1 << 31  # values of one tensor, 8 GiB of float32; protobuf limits a file to 2 GiB
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # operator sets that onnxruntime runs

_WINDOW_OPS = {
    "AveragePool", "Col2Im", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "LpPool", "MaxPool", "MaxRoiPool",
    "MaxUnpool", "QLinearConv",
}  # fmt: skip
_LARGEST = 1 << 16
_WINDOW_RANGES = {
    "kernel_shape": (1, _LARGEST),
    "strides": (1, _LARGEST),
    "dilations": (1, _LARGEST),
    "group": (1, _LARGEST),
    "offset_group": (1, _LARGEST),
    "output_shape": (1, _LARGEST),
    "output_padding": (0, _LARGEST),
    "pads": (0, _LARGEST),
    "pooled_shape": (1, _LARGEST),
}
_OTHER_RANGES = {
    ("SpaceToDepth", "blocksize"): (1, _LARGEST),
    ("DepthToSpace", "blocksize"): (1, _LARGEST),
    ("GroupNormalization", "num_groups"): (1, _LARGEST),
    ("Split", "num_outputs"): (1, _LARGEST),
    ("LRN", "size"): (1, _LARGEST),
    ("RoiAlign", "sampling_ratio"): (0, _LARGEST),
    ("RoiAlign", "output_height"): (1, _LARGEST),
    ("RoiAlign", "output_width"): (1, _LARGEST),
}
_DAMAGED = "The file is damaged; export or copy it again."
_TYPED_FIELDS = {
    TensorProto.FLOAT: "float_data", TensorProto.DOUBLE: "double_data", TensorProto.INT64: "int64_data",
    TensorProto.INT32: "int32_data", TensorProto.INT16: "int32_data", TensorProto.INT8: "int32_data",
    TensorProto.UINT16: "int32_data", TensorProto.UINT8: "int32_data", TensorProto.BOOL: "int32_data",
    TensorProto.FLOAT16: "int32_data", TensorProto.BFLOAT16: "int32_data", TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}  # fmt: skip


def require_sane(model: onnx.ModelProto, file: str, plugins: Collection[str] = ()) -> None:
    """Check the limits of this module.

    Args:
        model: as it was parsed, external data not yet read.
        file: its name, for messages.
        plugins: operators of other domains that are accepted too.

    Raises:
        GraphError: naming the node, tensor or entry that exceeds one.
    """
    _require_functions(model, file)
    for entry in model.metadata_props:
        _require_name(entry.key, "metadata entry")
        _require_metadata(entry.key, entry.value)
    _require_distinct(model.graph)
    nodes = 0
    for part in _scopes(model):
        nodes += len(part.nodes)
        if nodes > MAX_NODES or part.depth > _MAX_DEPTH:
            raise GraphError(
                f'"{file}" has {"graphs within graphs" if part.depth > _MAX_DEPTH else "too many nodes"}, '
                f"expected at most {MAX_NODES} nodes, {_MAX_DEPTH} deep."
            )
        _require_part(part, {(f.domain, f.name) for f in model.functions}, plugins)


def _require_distinct(graph: onnx.GraphProto) -> None:
    """Check that the names of inputs and outputs are distinct: tensors are found by name."""
    names = Counter(info.name for info in (*graph.input, *graph.output))
    name, times = names.most_common(1)[0]
    if times > 1:
        raise GraphError(
            f'The graph has {times} inputs or outputs of the name "{name}", expected distinct names.', _DAMAGED
        )


@dataclass(frozen=True, slots=True)
class _Scope:
    """The nodes of a graph, of a graph within a node, or of a function, and their declarations."""

    nodes: Sequence[onnx.NodeProto]
    graph: onnx.GraphProto | None
    depth: int


def _scopes(model: onnx.ModelProto) -> Iterator[_Scope]:
    """All of them, outer ones first."""
    pending = [_Scope(model.graph.node, model.graph, 0), *(_Scope(f.node, None, 0) for f in model.functions)]
    while pending:
        part = pending.pop()
        yield part
        for node in part.nodes:
            for attribute in node.attribute:
                graphs = [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
                pending.extend(_Scope(graph.node, graph, part.depth + 1) for graph in graphs)


def _require_part(part: _Scope, functions: set[tuple[str, str]], plugins: Collection[str]) -> None:
    for node in part.nodes:
        _require_node(node, functions, plugins)
    if part.graph is None:
        return
    if part.graph.sparse_initializer:
        raise GraphError("The graph has sparse constants, expected dense ones.", "Export it without pruning formats.")
    for info in (*part.graph.input, *part.graph.output, *part.graph.value_info):
        _require_name(info.name, "tensor")
    for constant in part.graph.initializer:
        _require_tensor(constant)


def _require_node(node: onnx.NodeProto, functions: set[tuple[str, str]], plugins: Collection[str]) -> None:
    for what, names in (("node", (node.name,)), ("operator", (node.op_type, node.domain)), ("tensor", node.input)):
        for name in names:
            _require_name(name, what)
    for name in node.output:
        _require_name(name, "tensor")
    if "deformconv" in node.op_type.lower():
        raise GraphError(
            f'Node "{_name_of(node)}" is a deformable convolution ({node.op_type}), which rknn-toolkit2 cannot build: '
            "the onnxruntime that it opens a network with has no such operator.",
            "Train a model without it: PP-YOLOE instead of PP-YOLO and PP-YOLOv2, RTMDet as published, D-FINE.",
        )
    known = node.domain in _DOMAINS or (node.domain, node.op_type) in functions or node.op_type in plugins
    if not known:
        raise GraphError(
            f'Node "{_name_of(node)}" is the operator "{node.op_type}" of "{node.domain}", which needs a plugin.',
            "Export it again without it: plugins for non-maximum suppression are an option of the exporter.",
        )
    for attribute in node.attribute:
        _require_attribute(node, attribute)


def _require_attribute(node: onnx.NodeProto, attribute: AttributeProto) -> None:
    if attribute.ref_attr_name:  # in a function: its call has the value, checked when the function is expanded
        return
    if attribute.type in (AttributeProto.TENSOR, AttributeProto.TENSORS):
        for tensor in [attribute.t] if attribute.type == AttributeProto.TENSOR else attribute.tensors:
            _require_tensor(tensor, f'"{attribute.name}" of node "{_name_of(node)}"')
    elif attribute.type in (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS):
        raise GraphError(f'Node "{_name_of(node)}" has a sparse constant, expected a dense one.')
    allowed = _OTHER_RANGES.get((node.op_type, attribute.name))
    if allowed is None and node.op_type in _WINDOW_OPS:
        allowed = _WINDOW_RANGES.get(attribute.name)
    if allowed is None:
        return
    values = list(attribute.ints) if attribute.type == AttributeProto.INTS else [attribute.i]
    if any(not allowed[0] <= value <= allowed[1] for value in values):
        raise GraphError(
            f'Node "{_name_of(node)}" ({node.op_type}) has {attribute.name} {shown(values)}, expected numbers from '
            f"{allowed[0]} to {allowed[1]}.",
            _DAMAGED,
        )


def _require_tensor(tensor: TensorProto, what: str = "") -> None:
    """Check that a tensor's shape is valid, and that it has that number of values; external ones are counted when
    read.
    """
    _require_name(tensor.name, "constant")
    what = what or f'Constant "{tensor.name}"'
    dims = list(tensor.dims)
    count = math.prod(dims)
    if any(size < 0 for size in dims) or count > _MAX_ELEMENTS:
        raise GraphError(f"{what} has shape {shown(dims)}, expected at most {_MAX_ELEMENTS} values.", _DAMAGED)
    if tensor.data_location == TensorProto.EXTERNAL:
        return
    field = next((name for kind, name in _TYPED_FIELDS.items() if kind == tensor.data_type), None)
    if field is None:  # text, complex, 4 and 8 bits: not used by any known network
        return
    size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    held = len(tensor.raw_data) / size if tensor.HasField("raw_data") else len(getattr(tensor, field))
    if held != count:
        raise GraphError(f"{what} holds {held:g} values, expected {count} for shape {shown(dims)}.", _DAMAGED)


def _require_name(name: str | bytes, what: str) -> None:
    """Check a name; protobuf returns bytes for a name that is not UTF-8."""
    if isinstance(name, bytes):
        raise GraphError(f"The name of a {what} is {shown(name)}, expected text.", _DAMAGED)
    if len(name) > _MAX_NAME or not name.isprintable():
        raise GraphError(
            f"The name of a {what} is {shown(name)}, expected at most {_MAX_NAME} printable characters.", _DAMAGED
        )


def _require_metadata(key: str, value: str | bytes) -> None:
    if isinstance(value, bytes):
        raise GraphError(f'The metadata entry "{key}" is {shown(value)}, expected text.', _DAMAGED)
    if len(value) > _MAX_METADATA:
        raise GraphError(
            f'The metadata entry "{key}" has {len(value)} characters, expected at most {_MAX_METADATA}.', _DAMAGED
        )


def _require_functions(model: onnx.ModelProto, file: str) -> None:
    """Check functions, which are expanded in place of their calls: few lines can stand for any number of nodes.

    Raises:
        GraphError: when they call themselves, or would become more than `MAX_NODES` nodes.
    """
    calls = {
        (f.domain, f.name): Counter((n.domain, n.op_type) for n in f.node) for f in model.functions
    }  # an operator that is not a function counts as one node
    sizes: dict[tuple[str, str], int] = {}
    while len(sizes) < len(calls):
        ready = [f for f in calls if f not in sizes and all(c in sizes for c in calls[f] if c in calls)]
        if not ready:
            raise GraphError(f'The functions of "{file}" call themselves.', _DAMAGED)
        for function in ready:
            sizes[function] = sum(count * sizes.get(called, 1) for called, count in calls[function].items())
    written_out = sum(sizes.get((n.domain, n.op_type), 1) for n in model.graph.node)
    if written_out > MAX_NODES:
        raise GraphError(f'The functions of "{file}" stand for {written_out:.3g} nodes, expected at most {MAX_NODES}.')


def _name_of(node: onnx.NodeProto) -> str:
    return node.name or next(iter(node.output), node.op_type)

"""Conversion of foreign ONNX files to our own form: float32, static shapes, an opset that the toolkit takes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto, helper, numpy_helper, version_converter

from rkdeploy.contract.class_names import ordered_names
from rkdeploy.contract.spec import is_class_name
from rkdeploy.errors import GraphError, shown
from rkdeploy.host.graph.foreign_checks import require_sane
from rkdeploy.host.graph.graph_kinds import advice_on_operators
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.node_order import sort_nodes
from rkdeploy.host.graph.opset_20 import in_opset_19
from rkdeploy.host.graph.suppression import PLUGINS, without_suppression
from rkdeploy.system.misnamed_file import misnamed

OPSETS = range(12, 20)
"""Opsets of rknn-toolkit2 2.3.2 and 2.5.0."""

_NEWEST_READABLE = 21  # the newest that onnxruntime 1.20 runs, and so the newest that can be verified
_EXPORT_OLDER = "Export it again with opset 17 (Ultralytics: opset=17, YOLOv5: --opset 17, torch: opset_version=17)."
_MIN_SIDE, _MAX_SIDE = 32, 8192  # px
_NAMES_HINT = "Give the checkpoint with --weights: its names count then."
_NEW_OPERATORS = 20
_OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.DOUBLE)
_IR_VERSION = 9  # of opset 19; newer ones are refused by older runtimes, older ones list weights among the inputs


def load_onnx(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file, with its external data.

    Only the container is brought up to date (IR version, no weights among the inputs, no local functions), and
    suppression behind a table of decoded rows is left out; the other operators stay as they are, so that the result
    can serve as the reference of a build.

    Raises:
        GraphError: the file does not exist, is not ONNX, is damaged or too new, or its external data is missing.
    """
    model = _parsed(path)
    require_sane(model, path.name, plugins=PLUGINS)
    sort_nodes(model.graph)
    for function in model.functions:
        sort_nodes(function)
    model = without_suppression(model)
    _load_weights(model, path)
    model.ir_version = _IR_VERSION  # before the check, which rejects versions newer than its own
    _require_known_operators(model, path)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, UnicodeDecodeError, ValueError) as error:  # ValueError: more than 2 GiB
        raise GraphError(
            f'"{path}" is not valid ONNX: {str(error).strip().partition(chr(10))[0]}',
            advice_on_operators({node.op_type for node in model.graph.node}) or "Export it again, or copy it again.",
        ) from error
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
        require_sane(model, path.name)  # attributes of calls have become attributes of nodes
    inputs = list(GraphView(model).inputs.values())
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return _in_readable_opset(model, path)


def _parsed(path: Path) -> onnx.ModelProto:
    """The file without its external data."""
    if path.exists() and not path.is_file():
        raise GraphError(f'"{path}" is a {"folder" if path.is_dir() else "device or pipe"}, expected a file.')
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise GraphError(f'Cannot read "{path}": {error.strerror or error}.') from error
    except DecodeError as error:
        what, fix = misnamed(path) or ("it is of another kind, or truncated", "Export or copy it again.")
        raise GraphError(f'"{path}" is not an ONNX file: {what}.', fix) from error
    if not model.graph.node or not model.graph.output:
        raise GraphError(f'"{path}" is not an ONNX model: it has no nodes or no outputs.')
    return model


def _load_weights(model: onnx.ModelProto, path: Path) -> None:
    """Read the values that are stored in external files."""
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise GraphError(
            f'"{path}" keeps its weights in another file, which cannot be read: {str(error).strip()[:300]}',
            "Copy the .onnx.data file next to it, or export with the weights inside.",
        ) from error
    require_sane(model, path.name)  # check the number of values against the shapes


def _require_known_operators(model: onnx.ModelProto, path: Path) -> None:
    """Check that the installed onnx knows the operators."""
    version, newest = opset(model), onnx.defs.onnx_opset_version()
    if version > newest:
        raise GraphError(f'"{path.name}" has opset {version}, expected at most {newest}.', _EXPORT_OLDER)


def _in_readable_opset(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model in an opset that onnxruntime runs.

    Raises:
        GraphError: when onnx cannot convert it.
    """
    version = opset(model)
    if version <= _NEWEST_READABLE:
        return model
    try:
        converted = version_converter.convert_version(model, _NEWEST_READABLE)
    except Exception as error:  # its C++ side raises RuntimeError and its own types
        raise GraphError(
            f'"{path.name}" has opset {version}, expected at most {_NEWEST_READABLE}, and onnx cannot convert it: '
            f"{str(error).strip().partition(chr(10))[0][:200]}",
            _EXPORT_OLDER,
        ) from error
    converted.ir_version = _IR_VERSION
    return converted


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operators, 0 if the model does not say."""
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def image_input(model: onnx.ModelProto) -> tuple[str, tuple[int | None, ...]]:
    """Name and (N, 3, H, W) of the one image input; None stands for a dynamic axis.

    Raises:
        GraphError: several inputs, or one that is not an NCHW image of floating-point numbers.
    """
    inputs = list(model.graph.input)
    if len(inputs) != 1:
        raise GraphError(
            f"The graph has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}), expected one image.",
            "Export the network alone, without inputs for thresholds or image sizes.",
        )
    name, kind = inputs[0].name, inputs[0].type.tensor_type
    if kind.elem_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        raise GraphError(
            f'Input "{name}" is of type {TensorProto.DataType.Name(kind.elem_type)}, expected FLOAT or FLOAT16.',
            "Export it without the preprocessing: the network's own input is RGB from 0 to 1.",
        )
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)
    if len(shape) != 4 or shape[1] not in (3, None):
        raise GraphError(
            f'Input "{name}" has shape {_shown(shape)}, expected (N, 3, H, W).',
            "Export it in NCHW with three color channels.",
        )
    return name, shape


def class_names(model: onnx.ModelProto) -> tuple[str, ...] | None:
    """The class names in the metadata of Ultralytics' exporters, None if there are none.

    Raises:
        GraphError: when the entry exists but is not a mapping of 0, 1, 2, ... to names.
    """
    written = next((entry.value for entry in model.metadata_props if entry.key == "names"), None)
    if written is None:
        return None
    try:
        parsed = ast.literal_eval(written)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise GraphError(f'The metadata entry "names" is {written!r:.60}, expected a mapping.', _NAMES_HINT) from error
    names = ordered_names(parsed)
    if not names:
        raise GraphError(
            f'The metadata entry "names" is {written!r:.60}, expected a name for each class, from 0.', _NAMES_HINT
        )
    for name in names:
        if not is_class_name(name):
            raise GraphError(f'The metadata entry "names" has {shown(name)}, which is not text.', _NAMES_HINT)
    return names


def exported_size(model: onnx.ModelProto) -> tuple[int, int] | None:
    """The size (height, width) in pixels in the metadata of Ultralytics' exporter; None without one."""
    written = next((entry.value for entry in model.metadata_props if entry.key == "imgsz"), "")
    found = re.fullmatch(r"\[(\d{1,5}), ?(\d{1,5})\]", written)
    if found is None:
        return None
    height, width = int(found[1]), int(found[2])
    return (height, width) if min(height, width) >= _MIN_SIDE and max(height, width) <= _MAX_SIDE else None


def to_supported_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """A simplified graph in an opset that the toolkit takes; unchanged if it already is.

    onnx's converter cannot downgrade the shape arithmetic of dynamic graphs (ConstantOfShape), which simplification
    folds away: so this comes after it.  `verify` proves the values, as its reference is not converted.

    Raises:
        GraphError: when onnx cannot convert it.
    """
    version = opset(model)
    if version in OPSETS:
        return model
    target = OPSETS.start + 1 if version < OPSETS.start else OPSETS.stop - 1
    try:
        if version >= _NEW_OPERATORS:  # the converter has no way back for these
            lower = model if version == _NEW_OPERATORS else version_converter.convert_version(model, _NEW_OPERATORS)
            converted = in_opset_19(lower)
        else:
            converted = version_converter.convert_version(model, target)
        converted.ir_version = _IR_VERSION
        return onnx.shape_inference.infer_shapes(converted, data_prop=True)
    except Exception as error:  # its C++ side raises RuntimeError and its own types
        raise GraphError(
            f"The graph has opset {version}, the toolkit takes {OPSETS.start} to {OPSETS.stop - 1}, and onnx cannot "
            f"convert it: {str(error).strip().partition(chr(10))[0][:200]}",
            f"Export it again with opset {target}.",
        ) from error


def to_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every float16 and float64 tensor as float32 (weights, inputs, outputs, casts); unchanged if it has
    none.

    Transformers compute the places of their cells in float64, for which onnxruntime has no sine.
    """
    converted = onnx.ModelProto()
    converted.CopyFrom(model)
    changed = False
    for graph in _graphs(converted.graph):
        for constant in graph.initializer:
            changed |= _widen(constant)
        for info in (*graph.input, *graph.output, *graph.value_info):
            if info.type.tensor_type.elem_type in _OTHER_FLOATS:
                info.type.tensor_type.elem_type = TensorProto.FLOAT
                changed = True
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR:
                    changed |= _widen(attribute.t)
                elif attribute.name in ("to", "dtype") and attribute.i in _OTHER_FLOATS:
                    attribute.i = TensorProto.FLOAT
                    changed = True
    return converted if changed else model


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those inside its If and Loop nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _widen(tensor: TensorProto) -> bool:
    """Convert float16 or float64 to float32 in place; True if it was one of these."""
    if tensor.data_type not in _OTHER_FLOATS:
        return False
    try:
        values = numpy_helper.to_array(tensor).astype(np.float32)
    except ValueError as error:
        raise GraphError(f'Constant "{tensor.name}" does not match its shape: {error}.') from error
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return True


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('?' if n is None else str(n) for n in shape)})"


def with_static_input(model: onnx.ModelProto, shape: tuple[int, int, int, int]) -> onnx.ModelProto:
    """The model with its image input's axes fixed; intermediate shapes are removed, to be inferred again.

    Paddle's exporter writes -1 for a free axis of an output, which is made a free one.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    name, _ = image_input(fixed)
    for info in fixed.graph.input:
        if info.name == name:
            info.CopyFrom(helper.make_tensor_value_info(name, info.type.tensor_type.elem_type, list(shape)))
    for dim in (d for info in fixed.graph.output for d in info.type.tensor_type.shape.dim):
        if dim.dim_value < 0:
            dim.Clear()
    del fixed.graph.value_info[:]
    return fixed

"""ONNX files that somebody else exported, brought to the form of our own: float32, static, an opset the toolkit takes."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper, version_converter

from rkdeploy.errors import GraphError

OPSETS = range(12, 20)
"""What rknn-toolkit2 2.3.2 and 2.5.0 take."""


def load_onnx(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file, with its external data.

    Raises:
        GraphError: no such file, not ONNX, damaged, or its external data is missing.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise GraphError(f'Cannot read "{path}": {error.strerror or error}.') from error
    except DecodeError as error:
        raise GraphError(f'"{path}" is not an ONNX file, or is truncated.', "Export or copy it again.") from error
    if not model.graph.node or not model.graph.output:
        raise GraphError(f'"{path}" is not an ONNX model: it has no nodes or no outputs.')
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise GraphError(
            f'"{path}" keeps its weights in another file, which cannot be read: {str(error).strip()[:300]}',
            "Copy the .onnx.data file beside it, or export with the weights inside.",
        ) from error
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise GraphError(f'"{path}" is not valid ONNX: {str(error).strip().partition(chr(10))[0]}') from error
    return model


def image_input(model: onnx.ModelProto) -> tuple[str, tuple[int | None, ...]]:
    """Name and (N, 3, H, W) of the one image input; None stands for a dynamic axis.

    Raises:
        GraphError: several inputs, or one that is no NCHW image.
    """
    constants = {c.name for c in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise GraphError(
            f"The graph has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}), expected one image."
        )
    dims = inputs[0].type.tensor_type.shape.dim
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims)
    if len(shape) != 4 or shape[1] not in (3, None):
        raise GraphError(
            f'Input "{inputs[0].name}" has shape {shape}, expected (N, 3, H, W).',
            "Export it in NCHW with three colour channels.",
        )
    return inputs[0].name, shape


def class_names(model: onnx.ModelProto) -> tuple[str, ...] | None:
    """The class names that Ultralytics' exporters write into the metadata, None where there are none.

    Raises:
        GraphError: when the entry is there but is no mapping of names.
    """
    for entry in model.metadata_props:
        if entry.key == "names":
            try:
                names = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
                raise GraphError(f'The metadata entry "names" is {entry.value!r:.60}, expected a mapping.') from error
            values = list(names.values()) if isinstance(names, dict) else names
            if not isinstance(values, (list, tuple)) or not all(isinstance(n, str) for n in values):
                raise GraphError(f'The metadata entry "names" is {entry.value!r:.60}, expected class names.')
            return tuple(values)
    return None


def to_supported_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in an opset that the toolkit takes; unchanged where it is in one already.

    Raises:
        GraphError: when onnx cannot convert it.
    """
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version in OPSETS:
        return model
    target = OPSETS.start + 1 if version < OPSETS.start else OPSETS.stop - 1
    try:
        return version_converter.convert_version(model, target)
    except Exception as error:  # its C++ side raises RuntimeError and its own types
        raise GraphError(
            f"The graph has opset {version}, the toolkit takes {OPSETS.start} to {OPSETS.stop - 1}, and onnx cannot "
            f"convert it: {str(error).strip().partition(chr(10))[0][:200]}",
            f"Export it again with opset {target}.",
        ) from error


def to_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every float16 tensor as float32 (weights, inputs, outputs, casts); unchanged if it has none."""
    if not _has_float16(model):
        return model
    converted = onnx.ModelProto()
    converted.CopyFrom(model)
    graph = converted.graph
    for constant in graph.initializer:
        if constant.data_type == TensorProto.FLOAT16:
            constant.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(constant).astype(np.float32), constant.name)
            )
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT16:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT16:
                values = numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))
    return converted


def _has_float16(model: onnx.ModelProto) -> bool:
    graph = model.graph
    return any(c.data_type == TensorProto.FLOAT16 for c in graph.initializer) or any(
        i.type.tensor_type.elem_type == TensorProto.FLOAT16 for i in (*graph.input, *graph.output)
    )


def with_static_input(model: onnx.ModelProto, shape: tuple[int, int, int, int]) -> onnx.ModelProto:
    """The model with its image input's axes fixed; intermediate shapes are left to be inferred anew."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    name, _ = image_input(fixed)
    for info in fixed.graph.input:
        if info.name == name:
            info.CopyFrom(helper.make_tensor_value_info(name, info.type.tensor_type.elem_type, list(shape)))
    del fixed.graph.value_info[:]
    return fixed

"""Simplification by onnxsim: constants folded, shapes computed.  `verify` proves the result."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import onnx

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.session import reason


@contextmanager
def _absent(package: str) -> Iterator[None]:
    """Let `import package` raise ImportError within this context, unless it is already imported."""
    if package in sys.modules:
        yield
        return
    modules = cast("dict[str, object]", sys.modules)
    modules[package] = None
    try:
        yield
    finally:
        del modules[package]


with _absent("sympy"):  # optional in onnxsim, for tables that it prints; its import takes longer than a simplification
    import onnxsim

# Moves a Pad of zeros into the MaxPool behind it, which pads with minus infinity (onnxsim issue 290, seen in 0.4.36).
# From 0.8 on it makes one Attention node of onnxruntime's own domain of an attention block, which the toolkit does not
# know, and a constant of a softmax over one class, so that the convolution of that class is no longer there to be cut
# at; earlier ones do not have these passes and ignore their names.
_WRONG_PASSES = ["fuse_pad_into_pool", "fuse_attention", "eliminate_nop_softmax"]

# Larger constants stay as the nodes that compute them.  The largest of a network known here, the grid of YOLOv5 at
# 4096 x 4096, has 13 MB.
_LARGEST_FOLDED = "128MB"


def simplify(model: onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]] | None = None) -> onnx.ModelProto:
    """Simplify a graph.

    Args:
        model: the graph.
        input_shapes: input name -> static shape, to fix dynamic axes.

    Raises:
        GraphError: when onnxsim fails.
    """
    shapes = {name: list(shape) for name, shape in (input_shapes or {}).items()}
    try:
        simplified, _ = onnxsim.simplify(
            model,
            check_n=0,
            overwrite_input_shapes=shapes or None,
            skipped_optimizers=_WRONG_PASSES,
            tensor_size_threshold=_LARGEST_FOLDED,
        )
    except Exception as error:  # it raises any exception of its C++ side
        raise GraphError(f"onnxsim cannot simplify the graph: {reason(error)}") from error
    _make_initializers(simplified.graph)
    try:
        return onnx.shape_inference.infer_shapes(simplified, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise GraphError(f"The graph's shapes do not fit: {reason(error)}") from error


def _make_initializers(graph: onnx.GraphProto) -> None:
    """Make the constants that onnxsim leaves as nodes initializers, as it makes the others (0.8 leaves the empty ones).

    Args:
        graph: changed in place.
    """
    given = {output.name for output in graph.output}
    constants = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value" and node.output[0] not in given
    }
    for name, node in constants.items():
        tensor = graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = name
        graph.node.remove(node)
    for info in [info for info in graph.value_info if info.name in constants]:
        graph.value_info.remove(info)

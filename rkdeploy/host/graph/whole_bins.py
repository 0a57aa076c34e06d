"""Bins of a distribution, 0, 1, 2, ..., that an exporter stored inexactly: made whole numbers.

The expectation of a distribution over distances (DFL) multiplies with the constants 0 .. n - 1.  PaddleDetection keeps
them as a parameter, and files exist whose copy has 3.0003 for 3.  The contract has whole bins, so the graph gets them,
before anything is proven, and the build says by how much they were off.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

_FEWEST, _MOST = 4, 64
WHOLE_ERROR = 0.01
"""Largest error of a bin that is taken for a whole number; a box moves by as many cells."""
ROUNDED_ERROR = 0.15
"""Largest error of bins that were rounded to 8 bits: of 16 bins with a scale of 15 / 128 it is 0.11."""
_PRODUCTS = frozenset({"MatMul", "Mul", "Conv", "Gemm"})


def with_whole_bins(model: onnx.ModelProto, largest_error: float = WHOLE_ERROR) -> tuple[onnx.ModelProto, float]:
    """The model with whole bins, and the largest difference to those that it had; unchanged and 0 if they were whole.

    Args:
        model: the graph.
        largest_error: up to which constants are taken for bins.
    """
    worst = max((_error(constant, largest_error) for constant in _factors(model)), default=0.0)
    if worst == 0:
        return model, 0.0
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for constant in _factors(changed):
        if _error(constant, largest_error) > 0:
            bins = np.arange(np.prod(constant.dims), dtype=np.float32).reshape(constant.dims)
            constant.CopyFrom(numpy_helper.from_array(bins, constant.name))
    return changed, worst


def _factors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Small constants that something is multiplied with."""
    used = {name for node in model.graph.node if node.op_type in _PRODUCTS for name in node.input}
    for constant in model.graph.initializer:
        if constant.name in used and _is_small(constant):
            yield constant
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in used:
            yield from (a.t for a in node.attribute if a.name == "value" and _is_small(a.t))


def _is_small(constant: onnx.TensorProto) -> bool:
    longer = [n for n in constant.dims if n != 1]
    return constant.data_type == TensorProto.FLOAT and len(longer) == 1 and _FEWEST <= longer[0] <= _MOST


def _error(constant: onnx.TensorProto, largest: float) -> float:
    """Largest difference to 0, 1, 2, ...; 0 if these are not bins, or whole."""
    values = numpy_helper.to_array(constant).ravel()
    error = float(np.abs(values - np.arange(len(values))).max())
    return error if error <= largest else 0.0

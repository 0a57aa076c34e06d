"""Measured float32 rounding noise of a network: the move of its outputs when every sum rounds differently.

A float32 sum of n products is the exact sum of products that are each changed by about sqrt(n) * 2^-24 of themselves
(backward error: N. Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1; sqrt(n) instead of n for
errors that are independent: Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019).  So a
copy of the network with its weights changed by that much gives the results of the same network with its sums in another
order, on any machine and whatever the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from rkdeploy.host.graph.session import Session

UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of one float32 operation."""
_COPIES = 2


class RoundingNoise:
    """Copies of one network whose sums round differently."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Open the copies.

        Args:
            model: the network; only constants that a sum multiplies with are changed.

        Raises:
            GraphError: when onnxruntime rejects the model.
        """
        self._copies = [Session(_rounded_otherwise(model, seed)) for seed in range(_COPIES)]

    def of(
        self, inputs: Mapping[str, NDArray[np.float32]], outputs: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float64]]:
        """The largest move of each channel of each output, over all cells and copies.

        A channel counts for no less than the root mean square over its whole tensor: a level of a single cell may by
        chance not move at all.

        Args:
            inputs: as for `Session.run`.
            outputs: the network's own outputs, by name, (1, C, ...).

        Returns:
            By name, (1, C, 1, ...), with as many axes as the output.

        Raises:
            GraphError: when onnxruntime fails on the inputs.
        """
        answers = [copy.run(inputs) for copy in self._copies]
        return {name: _channel_noise([a[name] for a in answers], values) for name, values in outputs.items()}


def _channel_noise(copies: Iterable[NDArray[np.float32]], values: NDArray[np.float32]) -> NDArray[np.float64]:
    moves = np.stack([np.abs(copy.astype(np.float64) - values) for copy in copies])
    cells = tuple(range(2, values.ndim))
    largest: NDArray[np.float64] = moves.max(axis=0).max(axis=cells, keepdims=True)
    return np.maximum(largest, sqrt(float(np.mean(moves**2))))


def _rounded_otherwise(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """A copy with every weight moved by the rounding of its sum; the same copy for the same seed.

    The products of one sum move independently, which is how a sum of mixed signs rounds, and all of them together once
    more, which is how a monotonic sum rounds.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {c.name: c for c in copy.graph.initializer if c.data_type == onnx.TensorProto.FLOAT}
    rng = np.random.default_rng(seed)
    for node in copy.graph.node:
        axis = _output_axis(node)
        found = [constants.pop(name) for name in node.input[1:] if name in constants]
        if axis is None or not found:
            continue
        values = [numpy_helper.to_array(constant) for constant in found]
        size = _relative_size(values[0], axis)
        for constant, value in zip(found, values, strict=True):
            moved = value * (1 + size * _moves(value, axis, rng))
            constant.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), constant.name))
    return copy


def _output_axis(node: onnx.NodeProto) -> int | None:
    """The output axis of a node's weights; None for a node without a sum."""
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": -1}.get(node.op_type)


def _relative_size(weights: NDArray[np.float32], axis: int) -> float:
    """sqrt(n) * 2^-24 for the n products of one output."""
    terms = weights.size / weights.shape[axis] if weights.ndim > 1 else weights.size
    return sqrt(terms) * UNIT_ROUNDOFF


def _moves(values: NDArray[np.float32], axis: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Standard normal numbers, one per value plus one per output."""
    if values.ndim == 1:
        return rng.standard_normal(values.shape)
    outputs = [1] * values.ndim
    outputs[axis] = values.shape[axis]
    moves: NDArray[np.float64] = rng.standard_normal(values.shape) + rng.standard_normal(outputs)
    return moves

"""Embedding of an image: the network's vector, divided by its length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.raw_values import outputs_with
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError

_SMALLEST: Final = 1e-20
_LARGEST: Final = 1e30
"""Sums of squares between which none was lost in float32."""


class EmbeddingReader:
    """Reader of one model's embedding."""

    def __init__(self, spec: ModelSpec) -> None:
        """Check the contract.

        Args:
            spec: the contract, with one `embedding` output.

        Raises:
            RkdeployError: when there is not exactly one such output of shape (1, D, 1, 1), or no formula.
        """
        found = outputs_with(spec.outputs, ("embedding",))
        if len(found) != 1 or spec.embedding is None:
            formula = "no formula" if spec.embedding is None else "a formula"
            raise RkdeployError(f"The contract has {len(found)} embedding outputs and {formula}, expected one of each.")
        self._index, output = found[0]
        if output.shape[0] != 1 or output.shape[2:] != (1, 1):
            raise RkdeployError(
                f'Output "{output.name}" has shape {output.shape} in the contract, expected (1, D, 1, 1) for an '
                "embedding."
            )

    def __call__(self, tensors: Sequence[HeadTensor]) -> NDArray[np.float32]:
        """The embedding of one image: (D,) float32.

        Its length is 1.  The scale of a quantized tensor does not change a direction and is left out.

        Args:
            tensors: one per output of the contract, in its order.
        """
        tensor = tensors[self._index]
        raw = tensor.nchw().reshape(-1).astype(np.float32)
        return unit_vector(raw - np.float32(tensor.zero_point) if tensor.values.dtype.kind in "iu" else raw)


def unit_vector(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """A vector (D,) divided by its length; zeros for one that has no direction: all zeros, NaN or infinity in it."""
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(vector @ vector)
    if _SMALLEST < square < _LARGEST:
        return vector * np.float32(1 / math.sqrt(square))
    largest = np.abs(vector).max(initial=0.0)
    if not 0 < largest < np.inf:
        return np.zeros_like(vector)
    scaled = vector / largest  # squares of large or tiny values leave the range of float32
    return np.asarray(scaled / np.sqrt(scaled @ scaled), np.float32)

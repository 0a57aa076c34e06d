"""Text from the scores of a CTC recognizer.

The best score of each column is found in the tensor's own numbers.  A probability is needed only where a character
begins, which a plate has seven times; there the softmax's sum counts how many scores are how many steps below the best,
of which an 8-bit tensor has 256.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.detections import FoundText
from rkdeploy.device.postprocess.native.decode_library import library as native_library
from rkdeploy.device.postprocess.native.text_columns import NativeColumns
from rkdeploy.device.postprocess.raw_values import outputs_with
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError


class TextReader:
    """Reader of one recognizer's text."""

    def __init__(self, spec: ModelSpec) -> None:
        """Check the contract.

        Args:
            spec: the contract, with one `text_logits` output.

        Raises:
            RkdeployError: when there is not exactly one such output, no formula, or one for another number of scores.
        """
        found = outputs_with(spec.outputs, ("text_logits",))
        if len(found) != 1 or spec.text is None:
            formula = "no formula" if spec.text is None else "a formula"
            raise RkdeployError(f"The contract has {len(found)} text_logits outputs and {formula}, expected one each.")
        self._index, output = found[0]
        expected = (1, len(spec.text.characters), 1)
        if output.shape[:3] != expected or spec.text.blank >= expected[1]:
            raise RkdeployError(
                f'Output "{output.name}" has shape {output.shape} in the contract, expected (1, {expected[1]}, 1, '
                f"columns) for {expected[1]} characters, of which number {spec.text.blank} is the blank."
            )
        self._characters, self._blank = spec.text.characters, spec.text.blank
        self._shares = output.activation == "softmax"

    def __call__(self, tensors: Sequence[HeadTensor]) -> FoundText:
        """The text of one image.

        Args:
            tensors: one per output of the contract, in its order.
        """
        tensor = tensors[self._index]
        library = native_library()
        native = None if library is None else NativeColumns(library, tensor)
        ids = native.best() if native is not None else best_of_columns(tensor)
        columns = self._first_columns(ids)
        best = ids[columns]
        if self._shares:
            shares = tensor.dequantized()[0, best, 0, columns]
        elif tensor.values.dtype.itemsize == 1:
            steps = native.steps_below(columns, best) if native is not None else steps_below(tensor, columns, best)
            shares = 1 / (steps @ np.exp(-np.float64(tensor.scale) * np.arange(256)))
        else:
            shares = 1 / (native.exp_sums(columns, best) if native is not None else exp_sums(tensor, columns, best))
        characters = tuple(self._characters[i] for i in best.tolist())
        return FoundText(characters, shares.astype(np.float32), columns)

    def _first_columns(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The columns in which a character begins, (N,) int32."""
        begins = ids != self._blank
        begins[1:] &= ids[1:] != ids[:-1]
        return np.flatnonzero(begins).astype(np.int32)


def best_of_columns(tensor: HeadTensor) -> NDArray[np.int32]:
    """The number of the best score in each column of a tensor (1, K, 1, T), (T,) int32; of equal ones the first."""
    ids: NDArray[np.int32] = tensor.nchw()[0, :, 0].argmax(axis=0).astype(np.int32)
    return ids


def steps_below(tensor: HeadTensor, columns: NDArray[np.int32], ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number of scores that are 0 to 255 steps below the best, of some columns of an 8-bit tensor.

    Args:
        tensor: (1, K, 1, T).
        columns: (N,) int32.
        ids: (N,) int32, the best score's number in each.

    Returns:
        (N, 256) int32.
    """
    raw = tensor.nchw()[0, :, 0].take(columns, axis=1).astype(np.int32)
    below = raw[ids, np.arange(len(ids))] - raw + 256 * np.arange(len(ids))
    return np.bincount(below.ravel(), minlength=256 * len(ids)).reshape(-1, 256).astype(np.int32)


def exp_sums(tensor: HeadTensor, columns: NDArray[np.int32], ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """Sum of exp(score - best) over all scores, of some columns, (N,) float64.

    Args:
        tensor: (1, K, 1, T).
        columns: (N,) int32.
        ids: (N,) int32, the best score's number in each.
    """
    raw = tensor.nchw()[0, :, 0].take(columns, axis=1).astype(np.float32)
    with np.errstate(over="ignore"):  # minus infinity gives 0
        below = (raw - raw[ids, np.arange(len(ids))]) * np.float32(tensor.scale)
    sums: NDArray[np.float64] = np.exp(below).sum(axis=0, dtype=np.float64)
    return sums

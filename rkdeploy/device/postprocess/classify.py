"""Ranking from a classifier's scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.detections import Ranking
from rkdeploy.device.postprocess.raw_values import outputs_with
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError

DEFAULT_RANKS: Final = 5


class Classifier:
    """Reader of one classifier's scores."""

    def __init__(self, spec: ModelSpec) -> None:
        """Check the contract.

        Args:
            spec: the contract, with one `class_scores` output.

        Raises:
            RkdeployError: when there is not exactly one such output, or it is not (1, nc, 1, 1).
        """
        found = outputs_with(spec.outputs, ("class_scores",))
        if len(found) != 1:
            raise RkdeployError(f"The contract has {len(found)} class_scores outputs, expected one.")
        self._index, self._output = found[0]
        expected = (1, len(spec.class_names), 1, 1)
        if not spec.class_names or self._output.shape != expected:
            raise RkdeployError(
                f'Output "{self._output.name}" has shape {self._output.shape} in the contract, expected {expected} '
                f"for class_scores with {len(spec.class_names)} classes."
            )

    def __call__(self, tensors: Sequence[HeadTensor], ranks: int = DEFAULT_RANKS) -> Ranking:
        """The best classes of one image, whatever their scores; equal scores are ordered by class id.

        Args:
            tensors: one per output of the contract, in its order.
            ranks: number of classes to return.
        """
        scores = tensors[self._index].dequantized().ravel().astype(np.float32)
        if self._output.activation == "linear":
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        best = (-scores).argsort(kind="stable")[:ranks]
        return Ranking(best.astype(np.int32), scores.take(best))

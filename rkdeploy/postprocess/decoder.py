"""What the decode of a model family offers: head tensors in, candidate boxes out.  One file a kind of head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rkdeploy.runtime.protocol import HeadTensor


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes above their class's threshold, before non-maximum suppression, in the head's own row order.

    Attributes:
        xyxy: (N, 4) float32 in pixels of the network input, not clipped.
        scores: (N,) float32.
        class_ids: (N,) int32.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]


class DenseDecode(NamedTuple):
    """Every row of a head, decoded: what the exported graph's own output holds, in its row order.

    Attributes:
        xywh: (N, 4) float32, centre and size in pixels of the network input.
        objectness: (N,) float32 probabilities.
        class_probabilities: (N, nc) float32, not multiplied with the objectness.
    """

    xywh: NDArray[np.float32]
    objectness: NDArray[np.float32]
    class_probabilities: NDArray[np.float32]


class Decoder(Protocol):
    """Reads the head tensors of one model."""

    def candidates(self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]) -> Candidates:
        """The boxes whose score is greater than the threshold of their class.

        Args:
            tensors: one for every output of the contract, in its order.
            class_thresholds: (nc,) float32.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        ...

    def decode_dense(self, tensors: Sequence[HeadTensor]) -> DenseDecode:
        """Every row, by the same arithmetic as `candidates`.  For verification; slow.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        ...

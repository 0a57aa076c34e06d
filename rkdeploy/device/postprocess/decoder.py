"""What the decode of a kind of head offers: head tensors in, candidate boxes out.  One file a kind of head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.runtime.protocol import HeadTensor


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes above their class's threshold, before non-maximum suppression, in the head's own row order.

    Attributes:
        xyxy: (N, 4) float32 in pixels of the network input, not clipped; around a rotated box the upright one.
        scores: (N,) float32.
        class_ids: (N,) int32.
        rows: (N,) intp, the row of the head that each came from.
        rotated: (N, 5) float32, center x, y, width, height in pixels of the network input and angle in radians; None
            for upright boxes.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    rows: NDArray[np.intp]
    rotated: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class RowDetails:
    """What else a head says of some of its rows, read only for those that are kept.

    Attributes:
        keypoints: (N, K, 3) float32, x, y in pixels of the network input and visibility 0..1; None where there
            are none.
        coefficients: (N, nm) float32 mask coefficients; None where there are none.
    """

    keypoints: NDArray[np.float32] | None = None
    coefficients: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class DenseField:
    """One figure of every row of a head (or every value of a tensor that has no rows), decoded.

    Attributes:
        name: what it is: `xy`, `wh`, `objectness`, `scores`, `keypoint_xy`, `keypoint_scores`, `coefficients`,
            `angle`; or the name of a whole-image tensor.
        unit: pixels of the network input, a probability, radians, or a bare number.
        values: (rows, n) float32.
    """

    name: str
    unit: Literal["px", "score", "rad", "value"]
    values: NDArray[np.float32]


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

    def details(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> RowDetails:
        """What else the head says of the given rows.

        Args:
            tensors: those that `candidates` was given last.
            rows: (N,) intp, any order.
        """
        ...

    def decode_dense(self, tensors: Sequence[HeadTensor]) -> tuple[DenseField, ...]:
        """Every row, by the same arithmetic as `candidates` and `details`.  For verification; slow.

        Upright boxes are `xy` and `wh`, and so are rotated ones, which have an `angle` besides.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        ...

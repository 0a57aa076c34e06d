"""Interface of the decoders: head tensors in, candidate boxes out.  One file per kind of head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.runtime.protocol import HeadTensor


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes above the threshold of their class, before non-maximum suppression, in the head's own row order.

    Attributes:
        xyxy: (N, 4) float32 in pixels of the network input, not clipped; for rotated boxes the upright box around each.
        scores: (N,) float32.
        class_ids: (N,) int32.
        rows: (N,) intp, row of the head that each box came from.
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
    """Further values of some rows, read only for the boxes that are kept.

    Attributes:
        keypoints: (N, K, 3) float32, x, y in pixels of the network input and visibility 0..1; None for heads without
            keypoints.
        coefficients: (N, nm) float32 mask coefficients; None for heads without masks.
    """

    keypoints: NDArray[np.float32] | None = None
    coefficients: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class DenseField:
    """One decoded quantity of every row of a head (or every value of a tensor that has no rows).

    Attributes:
        name: `xy`, `wh`, `objectness`, `scores`, `keypoint_xy`, `keypoint_scores`, `coefficients` or `angle`; or the
            name of a whole-image tensor.
        unit: pixels of the network input, a probability, radians, or a bare number.
        values: (rows, n) float32.
    """

    name: str
    unit: Literal["px", "score", "rad", "value"]
    values: NDArray[np.float32]


class Decoder(Protocol):
    """Decoder of one model's head tensors."""

    def candidates(self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]) -> Candidates:
        """Boxes whose score is greater than the threshold of their class.

        Args:
            tensors: one per output of the contract, in its order.
            class_thresholds: (nc,) float32.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        ...

    def details(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> RowDetails:
        """Keypoints and mask coefficients of the given rows.

        Args:
            tensors: those that `candidates` was last called with.
            rows: (N,) intp, any order.
        """
        ...

    def decode_dense(self, tensors: Sequence[HeadTensor]) -> tuple[DenseField, ...]:
        """All rows, decoded with the same arithmetic as `candidates` and `details`.  For verification; slow.

        Upright boxes are given as `xy` and `wh`; rotated boxes also have an `angle`.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        ...

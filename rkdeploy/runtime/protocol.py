"""What every runtime backend offers: open it, give it an image, get the head tensors."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on


@dataclass(frozen=True, slots=True)
class HeadTensor:
    """One head tensor as a runtime returns it.

    Attributes:
        values: (1, C, H, W), int8 (or another integer type) when quantized, else float32.
        scale, zero_point: real = (values - zero_point) * scale; 1.0 and 0 for float32.
    """

    values: NDArray[Any]
    scale: float = 1.0
    zero_point: int = 0

    def dequantized(self) -> NDArray[np.float32]:
        """The whole tensor as real numbers, (1, C, H, W) float32.  For comparisons; decoding never needs it."""
        if self.values.dtype == np.float32 and self.scale == 1.0 and self.zero_point == 0:
            return self.values
        return (self.values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


class Runtime(Protocol):
    """A model that is open on some hardware or simulator.  Entered and left as a context manager."""

    name: str
    figures_from: str
    """Where figures of this backend come from, as a user reads it: `simulator`, `onnxruntime on this PC`, ..."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Run one image.

        Args:
            image: (1, height, width, 3) uint8, contiguous, in the contract's colour order.

        Returns:
            One tensor for every output of the contract, in its order.  Valid until the next call.

        Raises:
            BackendError: when the runtime refused the image or failed.
        """
        ...

"""What every runtime backend offers: open it, give it an image, get the head tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on


@dataclass(frozen=True, slots=True)
class HeadTensor:
    """One head tensor as a runtime hands it over, in the memory layout in which the runtime has it.

    Attributes:
        values: int8 (or another integer type) when quantized, else float32 or float16.  Either (1, C, H, W), with any
            strides (a runtime's NHWC is such a view), or packed (1, C1, H, W, C2), the NPU's own NC1HWC2, where channel
            c lies at [0, c // C2, :, :, c % C2] and the last places are padding.
        scale, zero_point: real = (values - zero_point) * scale; 1.0 and 0 for floating point.
        packed_channels: C of packed values, None for (1, C, H, W).
    """

    values: NDArray[Any]
    scale: float = 1.0
    zero_point: int = 0
    packed_channels: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The logical shape, (1, C, H, W)."""
        if self.packed_channels is None:
            return self.values.shape
        batch, _, height, width, _ = self.values.shape
        return (batch, self.packed_channels, height, width)

    def nchw(self) -> NDArray[Any]:
        """The raw values as (1, C, H, W): a view, or a copy where they are packed.  Decoding never needs it."""
        if self.packed_channels is None:
            return self.values
        batch, _, height, width, _ = self.values.shape
        return self.values.transpose(0, 1, 4, 2, 3).reshape(batch, -1, height, width)[:, : self.packed_channels]

    def dequantized(self) -> NDArray[np.float32]:
        """The whole tensor as real numbers, (1, C, H, W) float32.  For comparisons; decoding never needs it."""
        values = self.nchw()
        if values.dtype == np.float32 and self.scale == 1.0 and self.zero_point == 0:
            return values
        return (values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What some backends can be told; each takes what concerns it.

    Attributes:
        toolkit_python: interpreter that has rknn-toolkit2, for the simulator; None takes $RKDEPLOY_TOOLKIT_PYTHON, else
            this one.
        recording: folder that replay plays; None takes $RKDEPLOY_REPLAY.
        collect_perf: whether an NPU's runtime collects the per-layer table, which slows every run.
    """

    toolkit_python: Path | None = None
    recording: Path | None = None
    collect_perf: bool = False


NO_OPTIONS = RuntimeOptions()


class Runtime(Protocol):
    """A model that is open on some hardware or simulator.

    Entered and left as a context manager, and again after that: so a runtime that failed is put right.
    """

    name: str
    figures_from: str
    """Where figures of this backend come from, as a user reads it: `simulator`, `onnxruntime on this PC`, ..."""
    notes: tuple[str, ...]
    """What a user should know: why it was chosen, versions that do not match.  Complete when open."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Run one image.

        Args:
            image: (1, height, width, 3) uint8, contiguous, in the contract's color order.

        Returns:
            One tensor for every output of the contract, in its order.  Valid until the next call, and no longer than
            the runtime is open: the values may lie in the NPU's own memory.

        Raises:
            BackendError: when the runtime refused the image or failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class MemorySize:
    """What an open model occupies, in bytes.

    Attributes:
        weights: of the model; contexts that share weights count them each.
        internal: intermediate tensors.
        dma: all memory that the NPU sees.
        sram_total, sram_free: of the SoC.
    """

    weights: int
    internal: int
    dma: int
    sram_total: int
    sram_free: int


@runtime_checkable
class MeasuredRuntime(Runtime, Protocol):
    """A runtime that also tells what its NPU did: `isinstance` says whether one does."""

    def run_duration_us(self) -> int:
        """Time that the last run took on the NPU, in microseconds.

        Raises:
            BackendError: before the first run, or when the runtime does not know.
        """
        ...

    def memory_size(self) -> MemorySize:
        """What the open model occupies.

        Raises:
            BackendError: when the runtime does not know.
        """
        ...

    def layer_table(self) -> str:
        """The per-layer table of the last run, as the runtime words it; `rkdeploy.device.profiling.layers` reads it.

        Raises:
            BackendError: without `RuntimeOptions.collect_perf`, before the first run, or when the runtime has none.
        """
        ...

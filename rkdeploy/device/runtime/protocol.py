"""Interface of the runtime backends: open one, give it an image, get the head tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.bounds import Count
from rkdeploy.option import TOOLKIT_PYTHON

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on


@dataclass(frozen=True, slots=True)
class HeadTensor:
    """One head tensor in the memory layout of the runtime.

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
        """The raw values as (1, C, H, W): a view, or a copy of packed values.  Not needed for decoding."""
        if self.packed_channels is None:
            return self.values
        batch, _, height, width, _ = self.values.shape
        return self.values.transpose(0, 1, 4, 2, 3).reshape(batch, -1, height, width)[:, : self.packed_channels]

    def dequantized(self) -> NDArray[np.float32]:
        """The whole tensor as real numbers, (1, C, H, W) float32.  For comparisons; not needed for decoding."""
        values = self.nchw()
        if values.dtype == np.float32 and self.scale == 1.0 and self.zero_point == 0:
            return values
        return (values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Options for backends; each uses those that concern it.

    Attributes:
        toolkit_python: interpreter that has rknn-toolkit2, for the simulator; None takes $RKDEPLOY_TOOLKIT_PYTHON, else
            this interpreter.
        recording: folder of the recording for replay; None takes $RKDEPLOY_REPLAY.
        collect_perf: True to collect the NPU's per-layer table, which slows every run.
    """

    toolkit_python: Annotated[Path | None, TOOLKIT_PYTHON] = None
    recording: Path | None = None
    collect_perf: bool = False


NO_OPTIONS = RuntimeOptions()


class Runtime(Protocol):
    """A model that is open on some hardware or simulator.

    A context manager that can be entered again after leaving, which is how a failed runtime is restarted.
    """

    name: str
    figures_from: str
    """Source of this backend's figures, for users: `simulator`, `onnxruntime on this PC`, ..."""
    notes: tuple[str, ...]
    """Notes for the user, such as the reason for the choice or versions that do not match.  Complete when open."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Run one image.

        Args:
            image: (1, height, width, 3) uint8, contiguous, in the contract's color order.

        Returns:
            One tensor per output of the contract, in its order.  Valid until the next call, and no longer than
            the runtime is open: the values may lie in the NPU's own memory.

        Raises:
            BackendError: when the runtime refused the image or failed.
        """
        ...


@runtime_checkable
class BufferedRuntime(Runtime, Protocol):
    """A runtime whose input and outputs are memory that the NPU shares; test for it with `isinstance`."""

    def open_buffers(self, count: int) -> tuple[NDArray[np.uint8], ...]:
        """Make buffers for input and outputs, to be used in turn.

        Returns:
            The input of each, (1, H, W, 3) uint8 with contiguous rows that may be longer than W, valid while the
            runtime is open.  Empty when memory cannot be shared: use `infer`; a note says why.
        """
        ...

    def infer_buffer(self, index: int) -> tuple[HeadTensor, ...]:
        """Run the image that was written into a buffer's input.

        Returns:
            As `infer`, but valid until this buffer's next run.  Outputs that no decode reads are not valid.

        Raises:
            BackendError: when the runtime failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class MemorySize:
    """Memory of an open model, in bytes.

    Attributes:
        weights: of the model; each of several contexts that share weights counts them.
        internal: intermediate tensors.
        dma: all memory that the NPU sees.
        sram_total, sram_free: of the SoC.
    """

    weights: Count
    internal: Count
    dma: Count
    sram_total: Count
    sram_free: Count


@runtime_checkable
class MeasuredRuntime(Runtime, Protocol):
    """A runtime that also reports the NPU's time, memory and layers; test for it with `isinstance`."""

    def run_duration_us(self) -> int:
        """Time that the last run took on the NPU, in microseconds.

        Raises:
            BackendError: before the first run, or when the runtime does not know.
        """
        ...

    def memory_size(self) -> MemorySize:
        """Memory of the open model.

        Raises:
            BackendError: when the runtime does not know.
        """
        ...

    def layer_table(self) -> str:
        """The per-layer table of the last run, in the runtime's format; see `rkdeploy.device.profiling.layer_table`.

        Raises:
            BackendError: without `RuntimeOptions.collect_perf`, before the first run, or when the runtime has none.
        """
        ...

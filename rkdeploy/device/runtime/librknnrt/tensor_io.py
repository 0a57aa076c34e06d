"""Input and output of a context: through shared memory, or by copies."""

from __future__ import annotations

import ctypes
import math
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rkdeploy.contract.spec import Quantization
from rkdeploy.device.runtime.librknnrt import abi
from rkdeploy.device.runtime.librknnrt.context import dims_of, dtype_of, tensor_facts
from rkdeploy.device.runtime.librknnrt.library import CallError
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.runtime.librknnrt.context import Context

ZERO_COPY_FUNCTIONS = ("rknn_create_mem", "rknn_destroy_mem", "rknn_set_io_mem")
_UNQUANTIZED = Quantization("float32", 1.0, 0)
_ABI_HINT = "This librknnrt may have another ABI than the one rkdeploy knows (rknn_api.h 2.3.2)."


class UnviewableLayoutError(BackendError):
    """An NPU layout that no array can show without gaps; `CopiedIo` lets the runtime convert it."""


class TensorIo(Protocol):
    """The input and the outputs of one context, with buffers that are reused from frame to frame.  A context
    manager.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, image: NDArray[np.uint8]) -> None:
        """Write the checked image, contiguous (1, H, W, 3) uint8, before a run."""
        ...

    def read(self) -> tuple[HeadTensor, ...]:
        """The outputs of the run, raw, in runtime order; valid until the next run."""
        ...


class ZeroCopyIo:
    """I/O memory shared by NPU and CPU: one copy of the image, none of the outputs, which stay in the NPU's layout.

    Entering raises:
        UnviewableLayoutError: when rows, columns or whole tensors have gaps.  The runtime has no buffers of ours then.
        BackendError: when the runtime has no memory, or describes a tensor in a way that cannot be read.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stack = ExitStack()
        self._memory: dict[str, Any] = {}
        self._image: NDArray[np.uint8] | None = None
        self._tensors: tuple[HeadTensor, ...] = ()

    def __enter__(self) -> Self:
        context = self._context
        _, output_count = context.tensor_counts()
        (logical,) = context.attributes(abi.Query.INPUT_ATTR, 1)
        (attr,) = context.attributes(abi.Query.NATIVE_INPUT_ATTR, 1)
        logical_outputs = context.attributes(abi.Query.OUTPUT_ATTR, output_count)
        native_outputs = context.attributes(abi.Query.NATIVE_OUTPUT_ATTR, output_count)
        _require_viewable_input(logical, attr)
        for native, tensor in zip(native_outputs, logical_outputs, strict=True):
            _require_viewable_output(native, tensor)
        with ExitStack() as stack:
            self._image = self._bind_image(stack, logical, attr)
            self._tensors = tuple(
                self._bind_output(stack, native, tensor)
                for native, tensor in zip(native_outputs, logical_outputs, strict=True)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._image, self._tensors = None, ()
        self._memory.clear()
        self._stack.close()

    def write(self, image: NDArray[np.uint8]) -> None:
        """See `TensorIo.write`."""
        assert self._image is not None
        np.copyto(self._image, image[0])
        self._sync("input", abi.SYNC_TO_DEVICE)

    def read(self) -> tuple[HeadTensor, ...]:
        """See `TensorIo.read`."""
        for name in self._memory:
            if name != "input":
                self._sync(name, abi.SYNC_FROM_DEVICE)
        return self._tensors

    def _bind_image(self, stack: ExitStack, logical: abi.TensorAttr, attr: abi.TensorAttr) -> NDArray[np.uint8]:
        """(H, W, 3) view of the input memory; rows may be longer than the image."""
        _, channels, height, width = tensor_facts(logical).shape
        row_px = _row_px(attr, width)
        # The runtime converts uint8 pixels to the model's input type.
        attr.type, attr.fmt, attr.pass_through = abi.UINT8, abi.TensorFormat.NHWC, 0
        size = max(attr.size_with_stride, height * row_px * channels)
        memory = self._bind(stack, "input", attr, size)
        rows = memory[: height * row_px * channels].reshape(height, row_px, channels)
        return rows[:, :width]

    def _bind_output(self, stack: ExitStack, native: abi.TensorAttr, logical: abi.TensorAttr) -> HeadTensor:
        facts = tensor_facts(logical)
        dtype, dims = np.dtype(dtype_of(native)), dims_of(native)
        size = math.prod(dims) * dtype.itemsize
        memory = self._bind(stack, f"output {facts.name}", native, max(size, native.size_with_stride))
        values = memory[:size].view(dtype).reshape(dims)
        channels = facts.shape[1]
        if native.fmt == abi.TensorFormat.NC1HWC2 and len(dims) == 5 and dims[1] * dims[4] >= channels:
            packed: int | None = channels
        else:
            packed = None
            if native.fmt == abi.TensorFormat.NHWC and len(dims) == 4:
                values = values.transpose(0, 3, 1, 2)
        quantization = facts.quantization or _UNQUANTIZED
        return HeadTensor(values, quantization.scale, quantization.zero_point, packed)

    def _bind(self, stack: ExitStack, name: str, attr: abi.TensorAttr, size: int) -> NDArray[np.uint8]:
        """Make I/O memory of `size` bytes for a tensor and register it with the runtime; returns it as (size,)
        uint8.
        """
        context = self._context
        memory = context.library.pointer("rknn_create_mem", context.handle, size)
        if not memory:
            raise BackendError(f"The runtime has no memory for the {name}: {size:,} bytes.")
        stack.callback(_destroy, context, memory)
        if not memory.contents.virt_addr or memory.contents.size < size:
            raise BackendError(
                f"The runtime made memory of {memory.contents.size:,} bytes for the {name}, expected {size:,}.",
                _ABI_HINT,
            )
        context.library.call("rknn_set_io_mem", context.handle, memory, ctypes.byref(attr))
        self._memory[name] = memory
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(memory.contents.virt_addr))

    def _sync(self, name: str, direction: int) -> None:
        if self._context.library.has("rknn_mem_sync"):
            self._context.library.call("rknn_mem_sync", self._context.handle, self._memory[name], direction)


class CopiedIo:
    """Copied input and outputs, for runtimes without I/O memory; the outputs stay raw, in the layout of the model's
    output.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._outputs: ctypes.Array[abi.Output] | None = None
        self._tensors: tuple[HeadTensor, ...] = ()

    def __enter__(self) -> Self:
        _, count = self._context.tensor_counts()
        tensors, outputs = [], (abi.Output * count)()
        for index, attr in enumerate(self._context.attributes(abi.Query.OUTPUT_ATTR, count)):
            facts = tensor_facts(attr)
            values = np.empty(dims_of(attr), np.dtype(facts.dtype))
            outputs[index] = abi.Output(
                want_float=0, is_prealloc=1, index=index, buf=values.ctypes.data, size=values.nbytes
            )
            view = values.transpose(0, 3, 1, 2) if attr.fmt == abi.TensorFormat.NHWC else values
            quantization = facts.quantization or _UNQUANTIZED
            tensors.append(HeadTensor(view, quantization.scale, quantization.zero_point))
        self._outputs, self._tensors = outputs, tuple(tensors)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outputs, self._tensors = None, ()

    def write(self, image: NDArray[np.uint8]) -> None:
        """See `TensorIo.write`."""
        self._context.set_inputs(
            [
                abi.Input(
                    index=0,
                    buf=image.ctypes.data,
                    size=image.nbytes,
                    pass_through=0,
                    type=abi.UINT8,
                    fmt=abi.TensorFormat.NHWC,
                )
            ]
        )

    def read(self) -> tuple[HeadTensor, ...]:
        """See `TensorIo.read`."""
        assert self._outputs is not None
        self._context.get_outputs(self._outputs)
        return self._tensors


def _row_px(attr: abi.TensorAttr, width: int) -> int:
    return attr.w_stride if attr.fmt == abi.TensorFormat.NHWC and attr.w_stride else width


def _require_viewable_input(logical: abi.TensorAttr, attr: abi.TensorAttr) -> None:
    width = tensor_facts(logical).shape[3]
    if _row_px(attr, width) < width:
        raise UnviewableLayoutError(
            f"The runtime wants input rows of {attr.w_stride} pixels for {width} pixels.", _ABI_HINT
        )


def _require_viewable_output(native: abi.TensorAttr, logical: abi.TensorAttr) -> None:
    """Check that the native layout fills the memory in order, without gaps; gaps only show in the strides."""
    facts, dims = tensor_facts(logical), dims_of(native)
    shape = dims
    if native.fmt == abi.TensorFormat.NC1HWC2 and len(dims) == 5 and dims[1] * dims[4] >= facts.shape[1]:
        shape = (dims[0], facts.shape[1], dims[2], dims[3])
    elif native.fmt == abi.TensorFormat.NHWC and len(dims) == 4:
        shape = (dims[0], dims[3], dims[1], dims[2])
    if shape != facts.shape:
        raise UnviewableLayoutError(
            f'The runtime gives the output "{facts.name}" the native axes {dims}, layout {native.fmt}, expected a '
            f"layout of {facts.shape}.",
            _ABI_HINT,
        )
    size = math.prod(dims) * np.dtype(dtype_of(native)).itemsize
    found = (native.size_with_stride, native.h_stride, native.w_stride)
    expected = (size, *shape[2:]) if len(shape) == 4 else (size, 0, 0)
    if any(value not in (0, dense) for value, dense in zip(found, expected, strict=True)):  # 0: as without strides
        raise UnviewableLayoutError(
            f'The runtime pads the output "{facts.name}" {facts.shape} in its memory: {found[0]:,} bytes with strides '
            f"{found[1]} and {found[2]} for height and width, expected {size:,} bytes without gaps."
        )


def _destroy(context: Context, memory: Any) -> None:
    with suppress(CallError):  # memory that cannot be freed is released with its context
        context.library.call("rknn_destroy_mem", context.handle, memory)

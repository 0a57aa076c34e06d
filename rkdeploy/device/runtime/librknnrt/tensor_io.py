"""Input and output of a context: through shared memory, or by copies."""

from __future__ import annotations

import ctypes
import math
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rkdeploy.contract.spec import Quantization
from rkdeploy.device.runtime.librknnrt import abi
from rkdeploy.device.runtime.librknnrt.context import dims_of, dtype_of, tensor_facts
from rkdeploy.device.runtime.librknnrt.library import CallError
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Collection
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


@dataclass(frozen=True, slots=True, eq=False)
class _BoundMemory:
    """I/O memory of one tensor, and the attributes that it is registered with."""

    name: str
    memory: Any
    attr: abi.TensorAttr


@dataclass(frozen=True, slots=True, eq=False)
class _IoBuffers:
    """Memory for the input and the outputs of one run.

    Attributes:
        image: (1, H, W, 3) uint8 view of the input memory; rows may be longer than the image.
        tensors: views of the output memory.
        input: memory of the image.
        outputs: memory of each tensor.
    """

    image: NDArray[np.uint8]
    tensors: tuple[HeadTensor, ...]
    input: _BoundMemory
    outputs: tuple[_BoundMemory, ...]


class ZeroCopyIo:
    """I/O memory shared by NPU and CPU: the outputs stay in the NPU's layout, and an image can be written in place.

    There may be several buffers for input and outputs, in turn: while the NPU uses one of them, the outputs of another
    are decoded and its next input is written.

    Entering raises:
        UnviewableLayoutError: when rows, columns or whole tensors have gaps.  The runtime has no buffers of ours then.
        BackendError: when the runtime has no memory, or describes a tensor in a way that cannot be read.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stack = ExitStack()
        self._more = ExitStack()
        self._buffers: list[_IoBuffers] = []
        self._bound = 0

    def __enter__(self) -> Self:
        _, output_count = self._context.tensor_counts()
        (logical,) = self._context.attributes(abi.Query.INPUT_ATTR, 1)
        (attr,) = self._context.attributes(abi.Query.NATIVE_INPUT_ATTR, 1)
        _require_viewable_input(logical, attr)
        for native, tensor in zip(*self._outputs(output_count), strict=True):
            _require_viewable_output(native, tensor)
        with ExitStack() as stack:
            self._buffers = [self._make(stack)]
            self._bound = 0
            stack.callback(self.drop_more)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._buffers.clear()

    @property
    def images(self) -> tuple[NDArray[np.uint8], ...]:
        """The input memory of each buffer, (1, H, W, 3) uint8; rows may be longer than the image."""
        return tuple(buffers.image for buffers in self._buffers)

    def add_buffers(self, count: int) -> None:
        """Make buffers until there are `count`.

        Raises:
            BackendError: when the runtime has no memory.
        """
        while len(self._buffers) < count:
            self._bound = -1  # what is made is registered, some of it even if not all can be made
            with ExitStack() as stack:
                self._buffers.append(self._make(stack))
                self._more.push(stack.pop_all())
            self._bound = len(self._buffers) - 1

    def drop_more(self) -> None:
        """Give back all buffers but the first."""
        del self._buffers[1:]
        self._bound = 0 if self._bound == 0 else -1
        self._more.close()

    def select(self, index: int) -> None:
        """Let the next run use this buffer.

        Raises:
            CallError: when the runtime refuses it.
        """
        if index == self._bound:
            return
        self._bound = -1  # unknown until all of its memory is registered
        buffers = self._buffers[index]
        for bound in (buffers.input, *buffers.outputs):
            self._register(bound)
        self._bound = index

    def write(self, image: NDArray[np.uint8]) -> None:
        """See `TensorIo.write`."""
        self.select(0)
        np.copyto(self._buffers[0].image, image)
        self.written(0)

    def written(self, index: int) -> None:
        """Pass an image that was written into a buffer's input memory to the NPU."""
        self._sync(self._buffers[index].input, abi.SYNC_TO_DEVICE)

    def read(self) -> tuple[HeadTensor, ...]:
        """See `TensorIo.read`."""
        return self.outputs_of(0)

    def outputs_of(self, index: int, unread: Collection[str] = ()) -> tuple[HeadTensor, ...]:
        """The outputs of a buffer's run, valid until its next one.

        Args:
            index: of the buffer.
            unread: names of outputs that nothing will read: their memory is not passed to the CPU.
        """
        buffers = self._buffers[index]
        for bound in buffers.outputs:
            if bound.name not in unread:
                self._sync(bound, abi.SYNC_FROM_DEVICE)
        return buffers.tensors

    def _outputs(self, count: int) -> tuple[list[abi.TensorAttr], list[abi.TensorAttr]]:
        """Native and logical attributes of the outputs."""
        context = self._context
        logical = context.attributes(abi.Query.OUTPUT_ATTR, count)
        return context.attributes(abi.Query.NATIVE_OUTPUT_ATTR, count), logical

    def _make(self, stack: ExitStack) -> _IoBuffers:
        """Memory for one run, registered with the runtime; `stack` gives it back."""
        _, output_count = self._context.tensor_counts()
        (logical,) = self._context.attributes(abi.Query.INPUT_ATTR, 1)
        (attr,) = self._context.attributes(abi.Query.NATIVE_INPUT_ATTR, 1)
        image, input_memory = self._bind_image(stack, logical, attr)
        outputs = [
            self._bind_output(stack, native, tensor)
            for native, tensor in zip(*self._outputs(output_count), strict=True)
        ]
        return _IoBuffers(
            image, tuple(tensor for tensor, _ in outputs), input_memory, tuple(bound for _, bound in outputs)
        )

    def _bind_image(
        self, stack: ExitStack, logical: abi.TensorAttr, attr: abi.TensorAttr
    ) -> tuple[NDArray[np.uint8], _BoundMemory]:
        """(1, H, W, 3) view of the input memory; rows may be longer than the image."""
        _, channels, height, width = tensor_facts(logical).shape
        row_px = _row_px(attr, width)
        # The runtime converts uint8 pixels to the model's input type.
        attr.type, attr.fmt, attr.pass_through = abi.UINT8, abi.TensorFormat.NHWC, 0
        size = max(attr.size_with_stride, height * row_px * channels)
        memory, bound = self._bind(stack, "input", attr, size)
        rows = memory[: height * row_px * channels].reshape(1, height, row_px, channels)
        return rows[:, :, :width], bound

    def _bind_output(
        self, stack: ExitStack, native: abi.TensorAttr, logical: abi.TensorAttr
    ) -> tuple[HeadTensor, _BoundMemory]:
        facts = tensor_facts(logical)
        dtype, dims = np.dtype(dtype_of(native)), dims_of(native)
        size = math.prod(dims) * dtype.itemsize
        memory, bound = self._bind(stack, f"output {facts.name}", native, max(size, native.size_with_stride))
        values = memory[:size].view(dtype).reshape(dims)
        channels = facts.shape[1]
        if native.fmt == abi.TensorFormat.NC1HWC2 and len(dims) == 5 and dims[1] * dims[4] >= channels:
            packed: int | None = channels
        else:
            packed = None
            if native.fmt == abi.TensorFormat.NHWC and len(dims) == 4:
                values = values.transpose(0, 3, 1, 2)
        quantization = facts.quantization or _UNQUANTIZED
        tensor = HeadTensor(values, quantization.scale, quantization.zero_point, packed)
        return tensor, replace(bound, name=facts.name)

    def _bind(
        self, stack: ExitStack, name: str, attr: abi.TensorAttr, size: int
    ) -> tuple[NDArray[np.uint8], _BoundMemory]:
        """Make I/O memory of `size` bytes for a tensor and register it with the runtime; its view is (size,)
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
        bound = _BoundMemory(name, memory, attr)
        self._register(bound)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(memory.contents.virt_addr)), bound

    def _register(self, bound: _BoundMemory) -> None:
        context = self._context
        context.library.call("rknn_set_io_mem", context.handle, bound.memory, ctypes.byref(bound.attr))

    def _sync(self, bound: _BoundMemory, direction: int) -> None:
        if self._context.library.has("rknn_mem_sync"):
            self._context.library.call("rknn_mem_sync", self._context.handle, bound.memory, direction)


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

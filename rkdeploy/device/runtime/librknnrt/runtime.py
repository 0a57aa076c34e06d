"""The NPU through librknnrt's C API: raw outputs as the NPU left them, every call checked."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rkdeploy.device.runtime.board_identity import read_board
from rkdeploy.device.runtime.contract_check import require_contract, require_custom_string, require_image
from rkdeploy.device.runtime.librknnrt.abi import DEVICE_UNAVAILABLE, TIMEOUT
from rkdeploy.device.runtime.librknnrt.library import CallError, library_path, version_in_file
from rkdeploy.device.runtime.librknnrt.shared_model import SharedModel
from rkdeploy.device.runtime.librknnrt.tensor_io import ZERO_COPY_FUNCTIONS, CopiedIo, UnviewableLayoutError, ZeroCopyIo
from rkdeploy.device.runtime.model_file import read_model_file
from rkdeploy.device.runtime.versions import require_loadable, version_findings
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.runtime.cores import CoreMask
    from rkdeploy.device.runtime.librknnrt.context import Context
    from rkdeploy.device.runtime.librknnrt.tensor_io import TensorIo
    from rkdeploy.device.runtime.protocol import HeadTensor, MemorySize

_LOG = logging.getLogger(__name__)

IoMode = Literal["auto", "zero_copy", "copy"]


class LibRknnRt:
    """A model on the NPU through librknnrt.  See `rkdeploy.device.runtime.protocol.MeasuredRuntime`.

    Args:
        model: the `.rknn`; runtimes with the same `SharedModel` share its weights.
        spec: its contract; names, order, shapes, types, scales and zero points are compared when opening.
        core: cores to run on; None leaves it to the runtime.
        timeout_ms: limit of one run, passed to the runtime; None leaves its own.
        io: `zero_copy` shares memory with the NPU, `copy` copies; `auto` shares memory if the runtime can, and copies
            with a note if the NPU's layout has gaps.

    Entering raises:
        BackendError: when library, driver or model are missing or do not fit together or with the contract.
    """

    name = "librknnrt"

    def __init__(
        self,
        model: SharedModel,
        spec: ModelSpec,
        *,
        core: CoreMask | None = None,
        timeout_ms: int | None = None,
        io: IoMode = "auto",
    ) -> None:
        self.figures_from = "librknnrt"  # its version is known once it is open
        self.notes: tuple[str, ...] = ()
        self._model = model
        self._spec = spec
        self._core = core
        self._timeout_ms = timeout_ms
        self._io_mode = io
        self._stack = ExitStack()
        self._context: Context | None = None
        self._io: TensorIo | None = None
        self._given_up = ""
        self._unread = frozenset(output.name for output in spec.outputs if output.role == "score_sum")

    @property
    def context(self) -> Context:
        """The open context, for versions, memory and profiles.

        Raises:
            BackendError: when the runtime is not open.
        """
        if self._context is None:
            raise BackendError(f'The backend "{self.name}" is not open.', "Use it as a context manager.")
        return self._context

    def __enter__(self) -> Self:
        file, board = read_model_file(self._model.rknn), read_board()
        before = version_findings(file, runtime=version_in_file(library_path()), driver=board.driver, soc=board.soc)
        require_loadable(before)
        with ExitStack() as stack:
            try:
                context, unshared = self._model.open(self._core)
            except CallError as error:
                suspicions = " ".join(finding.message for finding in before)
                raise BackendError(
                    f'librknnrt cannot open "{self._model.rknn}": {error.message}', f"{error.hint} {suspicions}".strip()
                ) from error
            stack.callback(self._model.close, context)
            versions = context.sdk_versions()
            findings = version_findings(file, runtime=versions.runtime, driver=versions.driver, soc=board.soc)
            require_contract(*context.facts(), self._spec)
            require_custom_string(context.custom_string(), self._spec)
            self._io, io_notes = self._open_io(context, stack)
            said = tuple(f"{finding.message} {finding.hint}" for finding in findings)
            self.notes = tuple(dict.fromkeys((*self.notes, *said, *filter(None, (unshared,)), *io_notes)))
            self._context = context
            self.figures_from = f"librknnrt {versions.runtime}, driver {versions.driver}"
            if board.soc:
                self.figures_from += f", {board.soc}"
            self._given_up = ""
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context, self._io = None, None
        self._stack.close()

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Run one image.  See `rkdeploy.device.runtime.protocol.Runtime.infer`.

        Raises:
            BackendError: when the image is not what the contract says, or any call of the runtime failed.  After a
                timeout or a lost device the NPU may still write into the buffers, so the runtime cannot be used any
                more.
        """
        context, io = self.context, self._io
        assert io is not None
        require_image(image, self._spec.input)
        with context.busy:
            self._require_usable()
            io.write(image)
            self._run(context)
            return io.read()

    def open_buffers(self, count: int) -> tuple[NDArray[np.uint8], ...]:
        """See `rkdeploy.device.runtime.protocol.BufferedRuntime.open_buffers`.

        The buffers are tried before they are used: one after the other must give the same outputs for the same image.
        """
        context, io = self.context, self._io
        if not isinstance(io, ZeroCopyIo):
            return ()
        with context.busy:
            try:
                io.add_buffers(count)
                self._require_equal_buffers(context, io)
            except BackendError as error:
                io.drop_more()
                note = f"Images and outputs are copied, which takes longer. {error.message}"
                self.notes = tuple(dict.fromkeys((*self.notes, note)))
                return ()
        return io.images

    def infer_buffer(self, index: int) -> tuple[HeadTensor, ...]:
        """See `rkdeploy.device.runtime.protocol.BufferedRuntime.infer_buffer`; raises as `infer`."""
        context, io = self.context, self._io
        assert isinstance(io, ZeroCopyIo), "buffers are opened before they are used"
        with context.busy:
            self._run_buffer(context, io, index)
            return io.outputs_of(index, self._unread)

    def _run(self, context: Context) -> None:
        try:
            context.run(self._timeout_ms)
        except CallError as error:
            if error.code in (TIMEOUT, DEVICE_UNAVAILABLE):
                self._given_up = (
                    f"The NPU runtime failed before ({error.message.rstrip('.')}) and is not used any more."
                )
            raise

    def _run_buffer(self, context: Context, io: ZeroCopyIo, index: int) -> None:
        self._require_usable()
        io.select(index)
        io.written(index)
        self._run(context)

    def _require_usable(self) -> None:
        if self._given_up:
            raise BackendError(self._given_up, "Close the runtime and open it again.")

    def _require_equal_buffers(self, context: Context, io: ZeroCopyIo) -> None:
        """Run two images in turn: every buffer must answer as the first, and leave the others alone.

        Raises:
            BackendError: when a run failed, or one buffer's run used the memory of another.
        """
        noise, dark = trial_images(io.images[0].shape)

        def answers(index: int, image: NDArray[np.uint8]) -> list[NDArray[Any]]:
            np.copyto(io.images[index], image)
            self._run_buffer(context, io, index)
            return [tensor.values.copy() for tensor in io.outputs_of(index)]

        of_noise, of_dark = answers(0, noise), answers(0, dark)
        for index in range(1, len(io.images)):
            found = answers(index, noise)
            untouched = [tensor.values for tensor in io.outputs_of(0)]
            if not (_all_equal(found, of_noise) and _all_equal(untouched, of_dark)):
                raise BackendError("Two buffers of NPU memory do not work in turn: their outputs are not the same.")

    def run_duration_us(self) -> int:
        """See `rkdeploy.device.runtime.protocol.MeasuredRuntime.run_duration_us`."""
        return self.context.run_duration_us()

    def memory_size(self) -> MemorySize:
        """See `rkdeploy.device.runtime.protocol.MeasuredRuntime.memory_size`."""
        return self.context.memory_size()

    def layer_table(self) -> str:
        """See `rkdeploy.device.runtime.protocol.MeasuredRuntime.layer_table`."""
        return self.context.perf_detail()

    def _open_io(self, context: Context, stack: ExitStack) -> tuple[TensorIo, tuple[str, ...]]:
        """Input and output, entered on `stack`, and a note if memory cannot be shared."""
        can_share = context.library.has(*ZERO_COPY_FUNCTIONS)
        if self._io_mode == "zero_copy" and not can_share:
            raise BackendError("This librknnrt has no I/O memory.", 'Update it, or use io="copy".')
        notes: tuple[str, ...] = ()
        if can_share and self._io_mode != "copy":
            try:
                return stack.enter_context(ZeroCopyIo(context)), notes
            except UnviewableLayoutError as error:
                if self._io_mode == "zero_copy":
                    raise
                notes = (f"Images and outputs are copied, which takes longer. {error.message}",)
        _LOG.debug("input and output by copies: %s", notes or f"shared memory {'unused' if can_share else 'missing'}")
        return stack.enter_context(CopiedIo(context)), notes


def trial_images(shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two different images, always the same, that buffers are tried with."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8), np.zeros(shape, np.uint8)


def _all_equal(found: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))

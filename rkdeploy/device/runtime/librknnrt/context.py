"""One context of librknnrt: a model that is open on the NPU.

The runtime checks little.  It answers 0 to oversized inputs, unknown types, small output buffers, results fetched
before a run and profiles that were never collected; it crashes on a second destroy; and a failed init leaves a context
that is not zero and must never be used.  So state, sizes, types and every return code are checked here.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rkdeploy.contract.spec import Quantization, TensorDtype
from rkdeploy.device.runtime.contract_check import TensorFacts
from rkdeploy.device.runtime.cores import CoreMask
from rkdeploy.device.runtime.librknnrt import abi
from rkdeploy.device.runtime.librknnrt.library import CallError
from rkdeploy.device.runtime.protocol import MemorySize
from rkdeploy.device.runtime.vendor_log import captured
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Final

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.runtime.librknnrt.library import Library

_QUANTIZED: Final[tuple[TensorDtype, ...]] = ("int8", "uint8", "int16")
_WHY_NOT_RUN = "rkdeploy doctor looks for the reason in the kernel's log: NPU resets, memory faults."
_MAX_TENSORS = 256
_MAX_PERF_BYTES = 16 << 20
_Struct = TypeVar("_Struct", bound=ctypes.Structure)


@dataclass(frozen=True, slots=True)
class SdkVersions:
    """Versions of runtime and driver.

    Attributes:
        runtime: of librknnrt, with its build, `2.3.2 (429f97ae6b@2025-04-09T09:09:27)`.
        driver: of the kernel driver, `0.9.8`.
    """

    runtime: str
    driver: str


class Context:
    """A model that is open on the NPU.  A context manager; enter it once.

    Args:
        library: the loaded runtime.
        model: a `.rknn` file, its bytes, or an open context whose weights are to be shared.
        core: cores to run on; None leaves it to the runtime.
        collect_perf: collect the per-layer profile; slows every run.

    Attributes:
        busy: lock for callers, to hold from writing the input to reading the outputs; not used in this class.

    Entering raises:
        BackendError: when the runtime refuses the model or the core mask.  Nothing stays open then.
    """

    def __init__(
        self,
        library: Library,
        model: Path | bytes | Context,
        *,
        core: CoreMask | None = None,
        collect_perf: bool = False,
    ) -> None:
        self.library = library
        self.busy = threading.Lock()
        self._model = model
        self._core = core
        self.collect_perf: bool = model.collect_perf if isinstance(model, Context) else collect_perf
        self._handle: abi.rknn_context | None = None
        self._owned = True
        self._has_run = False

    @classmethod
    def borrowed(cls, library: Library, handle: int) -> Context:
        """A context opened and destroyed by other code, for queries.  Not to be entered."""
        context = cls(library, b"")
        context._handle = abi.rknn_context(handle)
        context._owned = False
        return context

    def __enter__(self) -> Self:
        if self._handle is not None:
            raise BackendError("This NPU context is already open.")
        handle = abi.rknn_context(0)
        with captured() as log:
            try:
                self._create(handle)
            except CallError as error:
                failure: CallError | None = error
            else:
                failure = None
        if failure is not None:  # the handle is invalid now, whatever its value
            said = log.reason()
            hint = f"The runtime says: {said}. {log.explanation()}".strip() if said else ""
            raise CallError(failure.function, failure.code, hint)
        if not handle.value:
            raise BackendError("The runtime opened the model, but returned no context.")
        self._handle = handle
        try:
            if self._core is not None:
                self.set_core_mask(self._core)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _create(self, handle: abi.rknn_context) -> None:
        flags = abi.FLAG_COLLECT_PERF if self.collect_perf else 0
        if isinstance(self._model, Context):
            self.library.call("rknn_dup_context", ctypes.byref(self._model.handle), ctypes.byref(handle))
        elif isinstance(self._model, Path):  # size 0: the runtime reads the file itself
            self.library.call("rknn_init", ctypes.byref(handle), os.fsencode(self._model), 0, flags, None)
        else:
            model = self._model
            self.library.call("rknn_init", ctypes.byref(handle), model, len(model), flags, None)

    def close(self) -> None:
        """Destroy the context, once; the runtime crashes on a second call."""
        handle, self._handle = self._handle, None
        if handle is not None and self._owned:
            with captured(), suppress(CallError):  # a context that cannot be destroyed is gone all the same
                self.library.call("rknn_destroy", handle)

    @property
    def handle(self) -> abi.rknn_context:
        """The raw context.

        Raises:
            BackendError: when it is not open.
        """
        if self._handle is None:
            raise BackendError("The NPU context is not open.", "Use it as a context manager.")
        return self._handle

    def set_core_mask(self, core: CoreMask) -> None:
        """Choose the cores.

        Raises:
            BackendError: when the runtime or the SoC does not have them.
        """
        if not self.library.has("rknn_set_core_mask"):
            raise BackendError("This librknnrt cannot choose NPU cores.", "Update it, or run without a core.")
        try:
            self.library.call("rknn_set_core_mask", self.handle, int(core))
        except CallError as error:
            hint = "Only RK3588 has three cores and RK3576 two; on other SoCs run without a core."
            raise CallError(error.function, error.code, hint) from error

    def tensor_counts(self) -> tuple[int, int]:
        """Number of inputs and outputs."""
        counts = self._query(abi.Query.IN_OUT_NUM, abi.InputOutputNum())
        if not (0 < counts.n_input <= _MAX_TENSORS and 0 < counts.n_output <= _MAX_TENSORS):
            raise BackendError(f"The runtime reports {counts.n_input} inputs and {counts.n_output} outputs.")
        return counts.n_input, counts.n_output

    def attributes(self, query: abi.Query, count: int) -> list[abi.TensorAttr]:
        """Attributes of the first `count` inputs or outputs, in the view of `query` (an `*_ATTR`).

        Raises:
            BackendError: when the query fails, or its answer cannot describe a tensor.
        """
        found = [self._query(query, abi.TensorAttr(index=index)) for index in range(count)]
        for attr in found:
            _require_plausible(attr)
        return found

    def facts(self) -> tuple[list[TensorFacts], list[TensorFacts]]:
        """Inputs and outputs in the contract's terms."""
        inputs, outputs = self.tensor_counts()
        return (
            [tensor_facts(attr) for attr in self.attributes(abi.Query.INPUT_ATTR, inputs)],
            [tensor_facts(attr) for attr in self.attributes(abi.Query.OUTPUT_ATTR, outputs)],
        )

    def sdk_versions(self) -> SdkVersions:
        """Versions of runtime and driver."""
        version = self._query(abi.Query.SDK_VERSION, abi.SdkVersion())
        return SdkVersions(_text(version.api_version), _text(version.drv_version))

    def memory_size(self) -> MemorySize:
        """Memory that the context occupies."""
        size = self._query(abi.Query.MEM_SIZE, abi.MemSize())
        return MemorySize(
            size.total_weight_size,
            size.total_internal_size,
            size.total_dma_allocated_size,
            size.total_sram_size,
            size.free_sram_size,
        )

    def custom_string(self) -> str:
        """The text that the build wrote into the model, empty if the runtime cannot read it.

        See `rkdeploy.contract.embedded_contract`.
        """
        with suppress(CallError):  # runtimes before 1.4 do not have this query
            return _text(self._query(abi.Query.CUSTOM_STRING, abi.CustomString()).string)
        return ""

    def run_duration_us(self) -> int:
        """Time that the last run took on the NPU, in microseconds.

        Raises:
            BackendError: before the first run: the runtime would return an undefined value.
        """
        self._require_run()
        duration: int = self._query(abi.Query.PERF_RUN, abi.PerfRun()).run_duration
        return duration

    def perf_detail(self) -> str:
        """The per-layer table of the last run.  Its columns differ between versions: read them by their headings.

        Raises:
            BackendError: without `collect_perf` or before the first run: the runtime would return nothing.
        """
        if not self.collect_perf:
            raise BackendError("The per-layer profile was not collected.", "Open the context with collect_perf.")
        self._require_run()
        detail = self._query(abi.Query.PERF_DETAIL, abi.PerfDetail())
        if not detail.perf_data or detail.data_len > _MAX_PERF_BYTES:
            raise BackendError(f"The runtime gave a per-layer profile of {detail.data_len} bytes.")
        return ctypes.string_at(detail.perf_data, detail.data_len).rstrip(b"\0").decode("utf-8", "replace")

    def run(self, timeout_ms: int | None = None) -> None:
        """Run the model on its inputs; returns when the NPU is done.

        The call blocks inside the vendor's library, and nothing in this process can interrupt it: only the runtime and
        the
        driver can enforce a time limit.

        Args:
            timeout_ms: limit that is passed to the runtime; None leaves its own.

        Raises:
            CallError: when the run failed; the outputs are those of an earlier run then.
        """
        extend = None
        if timeout_ms is not None:
            if timeout_ms < 1:
                raise BackendError(f"The timeout is {timeout_ms} ms, expected 1 or more.")
            extend = ctypes.byref(abi.RunExtend(timeout_ms=timeout_ms))
        self._has_run = False
        try:
            self.library.call("rknn_run", self.handle, extend)
        except CallError as error:
            raise CallError(error.function, error.code, _WHY_NOT_RUN) from error
        self._has_run = True

    def set_inputs(self, inputs: Sequence[abi.Input]) -> None:
        """Copy inputs into the context.  The caller is responsible for the sizes and types of the buffers."""
        self.library.call("rknn_inputs_set", self.handle, len(inputs), (abi.Input * len(inputs))(*inputs))

    def get_outputs(self, outputs: ctypes.Array[abi.Output]) -> None:
        """Copy the outputs of the last run into preallocated buffers.  Always all outputs: newer runtimes refuse a
        subset.

        Raises:
            BackendError: before a run: the runtime would return the previous content of the buffers.
        """
        self._require_run()
        self.library.call("rknn_outputs_get", self.handle, len(outputs), outputs, None)
        self.library.call("rknn_outputs_release", self.handle, len(outputs), outputs)

    def _require_run(self) -> None:
        if not self._has_run:
            raise BackendError("The NPU context has not run yet, or its last run failed.")

    def _query(self, query: abi.Query, answer: _Struct) -> _Struct:
        try:
            self.library.call("rknn_query", self.handle, int(query), ctypes.byref(answer), ctypes.sizeof(answer))
        except CallError as error:
            raise CallError(f"rknn_query({query.name})", error.code) from error
        return answer


def dtype_of(attr: abi.TensorAttr) -> str:
    """The numpy name of a tensor's type; `type 99` when the header has none."""
    return abi.TENSOR_DTYPES[attr.type] if 0 <= attr.type < len(abi.TENSOR_DTYPES) else f"type {attr.type}"


def dims_of(attr: abi.TensorAttr) -> tuple[int, ...]:
    """The axes of a tensor in its own layout."""
    return tuple(attr.dims[: attr.n_dims])


def tensor_facts(attr: abi.TensorAttr) -> TensorFacts:
    """A tensor in the contract's terms: its logical shape (1, C, H, W), type and quantization."""
    dims = dims_of(attr)
    if attr.fmt == abi.TensorFormat.NHWC and len(dims) == 4:
        dims = (dims[0], dims[3], dims[1], dims[2])
    dtype = dtype_of(attr)
    name = attr.name.decode("utf-8", "replace")
    for quantized in _QUANTIZED:
        if dtype == quantized and attr.qnt_type == abi.AFFINE_ASYMMETRIC:
            return TensorFacts(name, dims, dtype, Quantization(quantized, attr.scale, attr.zp))
    return TensorFacts(name, dims, dtype, None)


def _require_plausible(attr: abi.TensorAttr) -> None:
    if not (0 < attr.n_dims <= len(attr.dims) and all(dims_of(attr))):
        raise BackendError(
            f'The runtime gives the tensor "{attr.name.decode("utf-8", "replace")}" {attr.n_dims} axes, '
            f"{tuple(attr.dims[: min(attr.n_dims, len(attr.dims))])}.",
            "This librknnrt may have another ABI than the one rkdeploy knows (rknn_api.h 2.3.2).",
        )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").strip()

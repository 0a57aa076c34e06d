"""The NPU simulator of rknn-toolkit2 as a runtime: what the chip would answer, on this PC, without the chip."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.errors import BackendError, ToolkitError
from rkdeploy.quantize.toolkit import BuiltModel, KeptFiles, Toolkit, ToolkitOptions, integers_from_real
from rkdeploy.runtime.protocol import HeadTensor

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from rkdeploy.bundle import Bundle
    from rkdeploy.spec import Quantization


def open_bundle(bundle: Bundle, core: object = None) -> SimulatorRuntime:
    """The built model of a bundle, from the files that the toolkit left in it."""
    del core  # this one has none
    spec, told = bundle.spec, bundle.record.toolkit
    options = ToolkitOptions(
        target=told.target,
        dtype=told.dtype,
        optimization_level=told.optimization_level,
        mean=spec.input.mean,
        std=spec.input.std,
    )
    kept = bundle.quantization / bundle.stem
    files = (
        KeptFiles(
            kept.with_name(f"{bundle.stem}.model"),
            kept.with_name(f"{bundle.stem}.data"),
            kept.with_name(f"{bundle.stem}.quantization.cfg"),
        )
        if options.quantized
        else KeptFiles(bundle.cut_onnx)
    )
    return SimulatorRuntime(files, options)


class SimulatorRuntime:
    """A built model in the toolkit's simulator.

    It opens the files that `Toolkit.build(..., keep=folder)` left, because the toolkit cannot simulate a `.rknn`.
    Quantized outputs come as the exact integers, with the scale and zero point that the toolkit states.  The figures
    of time it gives say nothing about the chip.

    Args:
        kept: the kept files.
        options: what the model was built with; the files are refused if they differ.
        log: where the toolkit's output goes; None takes a temporary file, kept only if the toolkit fails.
        python: interpreter that has rknn-toolkit2, as for `Toolkit`.
        timeout_s: how long one image may take; None waits for ever.
    """

    name = "simulator"

    def __init__(
        self,
        kept: KeptFiles,
        options: ToolkitOptions,
        *,
        log: Path | None = None,
        python: Path | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self.figures_from = "simulator (rknn-toolkit2)"  # its version is known once it is open
        self._kept = kept
        self._options = options
        own = Path(tempfile.gettempdir()) / f"rkdeploy-simulator-{os.getpid()}.log"
        self._own_log = own if log is None else None
        self._toolkit = Toolkit(log=log or own, python=python, timeout_s=timeout_s)
        self._model: BuiltModel | None = None

    def __enter__(self) -> Self:
        """Start the toolkit and open the model.

        Raises:
            ToolkitError: the toolkit is missing, or cannot open the files.
        """
        self._toolkit.__enter__()
        try:
            self._model = self._toolkit.open_kept(self._kept, self._options)
            self.figures_from = f"simulator (rknn-toolkit2 {self._toolkit.version})"
        except BaseException:
            self._toolkit.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._model = None
        self._toolkit.__exit__(kind, error, trace)
        if self._own_log is not None and not isinstance(error, BackendError):
            self._own_log.unlink(missing_ok=True)

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Simulate one image: see `Runtime.infer`."""
        if self._model is None:
            raise BackendError("The simulator is not open.", "Use it as a context manager.")
        try:
            simulated = self._toolkit.simulate(image)
            return tuple(head_tensor(simulated[output.name], output.quantization) for output in self._model.outputs)
        except ToolkitError as error:
            raise BackendError(error.message, error.hint) from error


def head_tensor(values: NDArray[np.float32], quantization: Quantization | None) -> HeadTensor:
    """A simulated output (1, C, H, W) as the chip would hand it over: exact integers where it is quantized.

    Raises:
        ToolkitError: when the values are not on the grid of their quantization.
    """
    if quantization is None:
        return HeadTensor(values)
    return HeadTensor(integers_from_real(values, quantization), quantization.scale, quantization.zero_point)

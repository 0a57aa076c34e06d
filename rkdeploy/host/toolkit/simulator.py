"""The NPU simulator of rknn-toolkit2 as a runtime: the chip's results on this PC, without the chip."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError, ToolkitError
from rkdeploy.host.toolkit.built_model import BuiltModel, KeptFiles
from rkdeploy.host.toolkit.integers import integers_from_real
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.host.toolkit.toolkit_options import ToolkitOptions

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.spec import Quantization
    from rkdeploy.device.runtime.protocol import RuntimeOptions


def open_bundle(bundle: Bundle, core: object, options: RuntimeOptions) -> SimulatorRuntime:
    """The built model of a bundle, from the toolkit's files in it.

    Raises:
        BundleError: when the bundle does not say how it was built.
    """
    del core  # not used: the simulator has no cores
    return SimulatorRuntime(*kept_files(bundle), python=options.toolkit_python)


def kept_files(bundle: Bundle) -> tuple[KeptFiles, ToolkitOptions]:
    """The files and options with which the toolkit opens a bundle's model.

    Raises:
        BundleError: when the bundle does not say how it was built.
    """
    spec, model = bundle.spec, bundle.model
    built_with = ToolkitOptions(
        target=model.target,
        dtype=model.dtype,
        optimization_level=bundle.record.toolkit.optimization_level,
        mean=spec.input.mean,
        std=spec.input.std,
    )
    if not built_with.quantized:
        return KeptFiles(bundle.cut_onnx), built_with
    kept = bundle.quantization / bundle.stem
    return KeptFiles(
        kept.with_name(f"{bundle.stem}.model"),
        kept.with_name(f"{bundle.stem}.data"),
        kept.with_name(f"{bundle.stem}.quantization.cfg"),
    ), built_with


class SimulatorRuntime:
    """A built model in the toolkit's simulator.

    It opens the files of `Toolkit.build(..., keep=folder)`, because the toolkit cannot simulate a `.rknn`.
    Quantized outputs come as the exact integers, with the toolkit's scale and zero point.  Its times
    do not show the chip's speed.

    Args:
        kept: the kept files.
        options: options of the build; files with other options are rejected.
        log: file for the toolkit's output; None takes a temporary file, kept only if the toolkit fails.
        python: interpreter that has rknn-toolkit2, as for `Toolkit`.
        timeout_s: limit per image in seconds; None waits forever.
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
        self._log = log
        self._python = python
        self._timeout_s = timeout_s
        self._own_log: Path | None = None
        self._failed = False
        self._toolkit: Toolkit | None = None
        self._model: BuiltModel | None = None

    def __enter__(self) -> Self:
        """Start the toolkit and open the model.

        Raises:
            ToolkitError: the toolkit is missing, or cannot open the files.
            BackendError: the files for it cannot be written here.
        """
        self._own_log, self._failed = None, False
        try:
            with ExitStack() as stack:
                log = self._log
                if log is None:
                    log = self._own_log = _new_log()
                toolkit = stack.enter_context(Toolkit(log=log, python=self._python, timeout_s=self._timeout_s))
                self._model = toolkit.open_kept(self._kept, self._options)
                self.figures_from = f"simulator (rknn-toolkit2 {toolkit.version})"
                self._toolkit = toolkit
                stack.pop_all()
        except OSError as error:
            raise BackendError(f"The simulator cannot be opened: {error}.", self._kept_log()) from error
        except ToolkitError as error:
            raise ToolkitError(error.message, self._with_log(error.hint)) from error
        except BaseException:  # interrupted
            self._remove_own_log()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        toolkit, self._toolkit, self._model = self._toolkit, None, None
        if toolkit is not None:
            toolkit.__exit__(kind, error, trace)
        if not self._failed:
            self._remove_own_log()

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Simulate one image: see `Runtime.infer`."""
        if self._model is None or self._toolkit is None:
            raise BackendError("The simulator is not open.", "Use it as a context manager.")
        try:
            simulated = self._toolkit.simulate(image)
            return tuple(head_tensor(simulated[output.name], output.quantization) for output in self._model.outputs)
        except ToolkitError as error:
            self._failed = True
            raise BackendError(error.message, self._with_log(error.hint)) from error
        except OSError as error:
            self._failed = True
            raise BackendError(f"The simulator failed: {error}.", self._kept_log()) from error

    def _remove_own_log(self) -> None:
        if self._own_log is not None:
            with suppress(OSError):  # the simulation is done; a file left in /tmp is not an error
                self._own_log.unlink(missing_ok=True)

    def _kept_log(self) -> str:
        return "" if self._own_log is None else f"The toolkit's log is kept: {self._own_log}"

    def _with_log(self, hint: str) -> str:
        """A hint that names the log, which most of the toolkit's own hints do."""
        return hint if str(self._own_log) in hint else f"{hint} {self._kept_log()}".strip()


def _new_log() -> Path:
    """A new file with an unpredictable name: in a shared folder another user could place a link under a known one."""
    descriptor, name = tempfile.mkstemp(prefix="rkdeploy-simulator-", suffix=".log")
    os.close(descriptor)
    return Path(name)


def head_tensor(values: NDArray[np.float32], quantization: Quantization | None) -> HeadTensor:
    """A simulated output (1, C, H, W) as the chip would return it: exact integers if it is quantized.

    Raises:
        ToolkitError: when the values are not on the grid of their quantization.
    """
    if quantization is None:
        return HeadTensor(values)
    return HeadTensor(integers_from_real(values, quantization), quantization.scale, quantization.zero_point)

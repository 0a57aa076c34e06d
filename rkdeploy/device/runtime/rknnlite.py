"""The NPU through Rockchip's own Python package, rknn-toolkit-lite2, with its silent failures turned into errors.

Behavior of the package (2.5.0), and the remedy here:

- It never raises: `load_rknn` and `init_runtime` return -1, `inference` returns None.  Each return value is checked.
- After a failed `init_runtime` it still runs.  Here it is not run then.
- It ignores the return code of `rknn_run` and returns the results of an earlier frame.  Its library object is a
  `ctypes.CDLL`, so every call that it makes is watched through ctypes' own `errcheck`, and a frame on which any call
  failed is an error.  If that object cannot be found the backend refuses to run.
- It compares nothing with the model's contract.  Names, shapes, types and scales are read from its context.

Its outputs are always float32: the runtime dequantizes every value.  The backend librknnrt avoids that.
"""

from __future__ import annotations

import importlib
import inspect
import re
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rkdeploy.device.runtime.board_identity import read_board
from rkdeploy.device.runtime.contract_check import require_contract, require_custom_string, require_image
from rkdeploy.device.runtime.librknnrt.abi import Query, TensorFormat
from rkdeploy.device.runtime.librknnrt.context import Context, dims_of
from rkdeploy.device.runtime.librknnrt.library import DEFAULT_LIBRARY, CallError, Library, version_in_file
from rkdeploy.device.runtime.model_file import read_model_file
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.device.runtime.vendor_log import VendorLog, captured
from rkdeploy.device.runtime.versions import require_loadable, version_findings
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.runtime.cores import CoreMask
    from rkdeploy.device.runtime.protocol import RuntimeOptions

_PACKAGE: Final = "rknn-toolkit-lite2"
_WATCHED: Final = ("rknn_inputs_set", "rknn_run", "rknn_outputs_get", "rknn_outputs_release", "rknn_query")
_DYNAMIC_RANGE: Final = 13
_SDK_LINE: Final = re.compile(r"^\s*(API|DRV): (.*\S)", re.MULTILINE)
_USE_LIBRKNNRT: Final = "Use the backend librknnrt."


def open_bundle(bundle: Bundle, core: CoreMask | None, options: RuntimeOptions) -> RknnLite:
    """The built model of a bundle on the NPU."""
    del options  # no option concerns this backend
    return RknnLite(bundle.rknn, bundle.spec, core=core)


class RknnLite:
    """A model on the NPU through rknn-toolkit-lite2.  See `rkdeploy.device.runtime.protocol.Runtime`.

    Args:
        rknn: the model.
        spec: contract of the model.
        core: cores to run on; None leaves it to the runtime.

    Entering raises:
        BackendError: when package, library, driver or model are missing, or do not fit together or with the contract.
    """

    name = "rknnlite"

    def __init__(self, rknn: Path, spec: ModelSpec, *, core: CoreMask | None = None) -> None:
        self.figures_from = _PACKAGE  # its version is known once it is open
        self.notes: tuple[str, ...] = ()
        self._rknn = rknn
        self._spec = spec
        self._core = core
        self._stack = ExitStack()
        self._lite: Any = None
        self._calls = CallWatch()
        self._options: dict[str, bool] = {}
        self._layouts: tuple[tuple[tuple[int, ...], bool], ...] = ()

    def __enter__(self) -> Self:
        file, board = read_model_file(self._rknn), read_board()
        require_loadable(
            version_findings(file, runtime=version_in_file(DEFAULT_LIBRARY), driver=board.driver, soc=board.soc)
        )
        lite_class = _lite_class()
        with ExitStack() as stack:
            lite = lite_class(verbose=False)
            stack.callback(_release, lite)
            self._open_model(lite)
            opened, library = _private_parts(lite)
            runtime, driver = _sdk_versions(lite.get_sdk_version())
            context = Context.borrowed(Library(Path(library._name)), opened.context)  # noqa: SLF001 - ctypes calls it so
            require_contract(*context.facts(), self._spec)
            require_custom_string(context.custom_string(), self._spec)
            self._layouts = tuple(
                (dims_of(attr), attr.fmt == TensorFormat.NHWC)
                for attr in context.attributes(Query.OUTPUT_ATTR, len(self._spec.outputs))
            )
            self._calls = CallWatch()
            self._calls.attach(library)
            findings = version_findings(file, runtime=runtime, driver=driver, soc=board.soc)
            said = (f"{finding.message} {finding.hint}" for finding in findings)
            self.notes = tuple(dict.fromkeys((*self.notes, *said)))
            self.figures_from = f"{_PACKAGE} {_package_version()}, librknnrt {runtime}, driver {driver}"
            reuses = "reuse_outputs" in inspect.signature(lite.inference).parameters
            self._options = {"reuse_outputs": True} if reuses else {}
            self._lite = lite
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lite = None
        self._stack.close()

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Run one image.  See `rkdeploy.device.runtime.protocol.Runtime.infer`; values are float32.

        Raises:
            BackendError: when the image is not what the contract says, or the package or a call that it made failed.
        """
        if self._lite is None:
            raise BackendError(f'The backend "{self.name}" is not open.', "Use it as a context manager.")
        require_image(image, self._spec.input)
        self._calls.reset()
        outputs = self._lite.inference([image], **self._options)
        self._calls.require_success()
        if outputs is None:
            raise BackendError(f"{_PACKAGE} rejected the frame; the reason is on stderr.", _USE_LIBRKNNRT)
        if len(outputs) != len(self._layouts):
            raise BackendError(f"{_PACKAGE} gave {len(outputs)} outputs, expected {len(self._layouts)}.")
        return tuple(
            _head_tensor(values, dims, output.name, nhwc=nhwc)
            for values, (dims, nhwc), output in zip(outputs, self._layouts, self._spec.outputs, strict=True)
        )

    def _open_model(self, lite: Any) -> None:
        """Call load_rknn and init_runtime.  Without `target`: on the board itself it makes init_runtime fail."""
        with captured() as log:
            loaded = lite.load_rknn(str(self._rknn))
            core = {} if self._core is None else {"core_mask": int(self._core)}
            started = lite.init_runtime(**core) if loaded == 0 else None
        if loaded != 0:
            raise _refused("load_rknn", loaded, self._rknn, log)
        if started != 0:
            raise _refused("init_runtime", started, self._rknn, log)


class CallWatch:
    """Watcher of the return codes of all calls that the package makes on its library, frame by frame."""

    def __init__(self) -> None:
        self._ran = False
        self._failure: CallError | None = None

    def attach(self, library: Any) -> None:
        """Watch a `ctypes.CDLL` from now on; ctypes keeps one function object per function name."""
        for name in _WATCHED:
            getattr(library, name).errcheck = self._checker(name)

    def reset(self) -> None:
        """Start a frame."""
        self._ran = False
        self._failure = None

    def require_success(self) -> None:
        """End a frame.

        Raises:
            BackendError: when a call failed, or the run was not seen.
        """
        if self._failure is not None:
            raise self._failure
        if not self._ran:
            raise BackendError(
                f"{_PACKAGE} did not run the model through the library that it opened, so that a failure could not be "
                "seen.",
                _USE_LIBRKNNRT,
            )

    def _checker(self, name: str) -> Any:
        def check(code: int, _function: object, arguments: tuple[Any, ...]) -> int:
            # A query for dynamic shapes, which a static model rejects: not a failure.
            expected = name == "rknn_query" and len(arguments) > 1 and _number(arguments[1]) == _DYNAMIC_RANGE
            if code != 0 and not expected and self._failure is None:
                self._failure = CallError(name, code)
            self._ran = self._ran or name == "rknn_run"
            return code

        return check


def _number(argument: Any) -> Any:
    return getattr(argument, "value", argument)


def _lite_class() -> Any:
    try:
        return importlib.import_module("rknnlite.api").RKNNLite
    except ImportError as error:
        raise BackendError(
            f'The backend "rknnlite" needs the package "{_PACKAGE}", which cannot be imported: {error}.',
            'It exists for aarch64 boards only: pip install "rkdeploy[board]"',
        ) from error


def _package_version() -> str:
    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        return "of unknown version"


def _release(lite: Any) -> None:
    with captured():
        lite.release()


def _private_parts(lite: Any) -> tuple[Any, Any]:
    """The package's own runtime object and its `ctypes.CDLL`: private, the same in 2.3.2 and 2.5.0."""
    opened = getattr(lite, "rknn_runtime", None)
    library = getattr(opened, "lib", None)
    if not isinstance(getattr(opened, "context", None), int) or not hasattr(library, "_name"):
        raise BackendError(
            f"{_PACKAGE} {_package_version()} hides its library, so that the return code of rknn_run, which it "
            "ignores, cannot be seen.",
            _USE_LIBRKNNRT,
        )
    return opened, library


def _sdk_versions(text: str | None) -> tuple[str, str]:
    """Runtime and driver versions from the text of `get_sdk_version`."""
    found = dict(_SDK_LINE.findall(text or ""))
    if "API" not in found:
        raise BackendError(f"{_PACKAGE} cannot tell the version of the runtime: {text!r}.", _USE_LIBRKNNRT)
    return found["API"], found.get("DRV", "of unknown version")


def _refused(call: str, answer: object, rknn: Path, log: VendorLog) -> BackendError:
    reason = log.reason()
    return BackendError(
        f'{_PACKAGE} cannot open "{rknn}": {call} answered {answer}{f" ({reason})" if reason else ""}.',
        f"{log.explanation()} {_USE_LIBRKNNRT}".strip(),
    )


def _head_tensor(values: Any, dims: tuple[int, ...], name: str, *, nhwc: bool) -> HeadTensor:
    if not isinstance(values, np.ndarray) or values.shape != dims or values.dtype != np.float32:
        got = f"{values.shape} {values.dtype}" if isinstance(values, np.ndarray) else type(values).__name__
        raise BackendError(f'{_PACKAGE} gave output "{name}" as {got}, expected {dims} float32.', _USE_LIBRKNNRT)
    return HeadTensor(values.transpose(0, 3, 1, 2) if nhwc else values)

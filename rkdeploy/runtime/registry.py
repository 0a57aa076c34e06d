"""The runtime backends by name.  A backend's module is imported when it is chosen, and not before."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import TYPE_CHECKING

from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from types import ModuleType

    from rkdeploy.bundle import Bundle
    from rkdeploy.runtime.protocol import Runtime

BACKENDS: dict[str, str] = {
    "onnxruntime": "rkdeploy.runtime.onnxruntime",
    "opencv_dnn": "rkdeploy.runtime.opencv_dnn",
    "simulator": "rkdeploy.runtime.simulator",
}
"""Name on the command line -> module, which offers `open_bundle(bundle) -> Runtime`, not yet entered."""

AUTO = ("onnxruntime", "opencv_dnn")
"""What `auto` tries, best first."""


def open_runtime(name: str, bundle: Bundle) -> Runtime:
    """The backend `name` for a bundle, to be entered; `auto` takes the first of `AUTO` whose package is installed.

    Raises:
        BackendError: when no backend has that name, or it cannot be loaded.
    """
    if name == "auto":
        name = next((n for n in AUTO if _is_installed(n)), AUTO[-1])
    runtime: Runtime = backend_module(name).open_bundle(bundle)
    return runtime


def _is_installed(name: str) -> bool:
    package = {"onnxruntime": "onnxruntime", "opencv_dnn": "cv2"}[name]
    return importlib.util.find_spec(package) is not None


def backend_module(name: str) -> ModuleType:
    """Import the module of a backend.

    Raises:
        BackendError: when no backend has that name, or when something that its module needs is not installed.
    """
    module = BACKENDS.get(name)
    if module is None:
        close = difflib.get_close_matches(name.lower().replace("-", "_"), BACKENDS, n=1)
        hint = f'Did you mean "{close[0]}"?' if close else ""
        raise BackendError(f'Backend "{name}" does not exist, expected one of {", ".join(sorted(BACKENDS))}.', hint)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendError(f'Backend "{name}" cannot be loaded: {error}.') from error

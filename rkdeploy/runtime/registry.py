"""The runtime backends by name.  A backend's module is imported when it is chosen, and not before."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from types import ModuleType

BACKENDS: dict[str, str] = {
    "onnxruntime": "rkdeploy.runtime.onnxruntime",
    "opencv-dnn": "rkdeploy.runtime.opencv_dnn",
}
"""Name on the command line -> module."""


def backend_module(name: str) -> ModuleType:
    """Import the module of a backend.

    Raises:
        BackendError: when no backend has that name, or when something that its module needs is not installed.
    """
    module = BACKENDS.get(name)
    if module is None:
        close = difflib.get_close_matches(name.lower().replace("_", "-"), BACKENDS, n=1)
        hint = f'Did you mean "{close[0]}"?' if close else ""
        raise BackendError(f'Backend "{name}" does not exist, expected one of {", ".join(sorted(BACKENDS))}.', hint)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendError(f'Backend "{name}" cannot be loaded: {error}.') from error

"""The shared library librknnrt.so: found, loaded, and called with every return code checked."""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import re
from pathlib import Path
from typing import Any, Final

from rkdeploy.device.runtime.librknnrt.abi import PROTOTYPES, REQUIRED, RETURN_CODES
from rkdeploy.errors import BackendError

_LOG = logging.getLogger(__name__)

LIBRARY_VARIABLE: Final = "RKDEPLOY_LIBRKNNRT"
DEFAULT_LIBRARY: Final = Path("/usr/lib/librknnrt.so")
_BANNER: Final = re.compile(rb"librknnrt version: (\d+\.\d+\.\d+[^\0\n]{0,80})")
_INSTALL: Final = (
    f"Install librknnrt.so from Rockchip's rknn-toolkit2 repository as {DEFAULT_LIBRARY}, or name it in "
    f"${LIBRARY_VARIABLE}."
)


class CallError(BackendError):
    """An error returned by a function of the runtime.

    Attributes:
        function: name of the function.
        code: the return code.
    """

    def __init__(self, function: str, code: int, hint: str = "") -> None:
        super().__init__(f"{function} failed with {code}, {meaning(code)}.", hint)
        self.function = function
        self.code = code


def meaning(code: int) -> str:
    """The header's name of a return code and its meaning."""
    return RETURN_CODES.get(code, "which rkdeploy does not know")


def library_path() -> Path:
    """Path of the runtime: $RKDEPLOY_LIBRKNNRT, else the one place where the vendor's own tools look."""
    return Path(os.environ.get(LIBRARY_VARIABLE) or DEFAULT_LIBRARY)


def version_in_file(library: Path) -> str | None:
    """Version string in a librknnrt.so, read without loading it; None when there is none."""
    try:
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _BANNER.search(content)
            return found[1].decode("ascii", "replace") if found else None
    except (OSError, ValueError):  # missing, unreadable or empty
        return None


class Library:
    """A loaded librknnrt.so.

    Raises:
        BackendError: when it is missing, is built for another machine, or lacks a function that every runtime has.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or library_path()
        if not self.path.is_file():
            raise BackendError(f'The NPU runtime "{self.path}" does not exist.', _INSTALL)
        try:
            loaded = ctypes.CDLL(str(self.path))
        except OSError as error:
            raise BackendError(f'The NPU runtime "{self.path}" cannot be loaded: {error}.', _INSTALL) from error
        _LOG.debug("loaded %s, version %s", self.path, version_in_file(self.path) or "unknown")
        self._functions: dict[str, Any] = {}
        for name, (result, arguments) in PROTOTYPES.items():
            function = getattr(loaded, name, None)
            if function is not None:
                function.restype, function.argtypes = result, arguments
                self._functions[name] = function
        missing = [name for name in REQUIRED if name not in self._functions]
        if missing:
            raise BackendError(f'"{self.path}" is not librknnrt: it lacks {", ".join(missing)}.', _INSTALL)

    def has(self, *functions: str) -> bool:
        """True if the library has all of these functions; runtimes before 1.5 lack some."""
        return all(name in self._functions for name in functions)

    def call(self, function: str, *arguments: object) -> None:
        """Call a function that returns a code.

        Raises:
            CallError: when the code is not 0.
        """
        code = self._functions[function](*arguments)
        if code != 0:
            raise CallError(function, code)

    def pointer(self, function: str, *arguments: object) -> Any:
        """Call a function that returns a pointer; a null pointer is falsy."""
        return self._functions[function](*arguments)

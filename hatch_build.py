"""Puts the decode's C library into the wheel, where there is a C compiler; without one the wheel is pure Python.

CC names another compiler than `cc`, also one that compiles for another processor: the wheel is for what it made.
An editable install compiles into the source tree.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("rkdeploy", "device", "postprocess", "native")


class NativeDecodeHook(BuildHookInterface[Any]):
    """Hatchling's entry."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what the wheel is for.  Args: version: `standard` or `editable`."""
        compiling = _module(Path(self.root) / NATIVE / "compile.py")
        self._folder = Path(tempfile.mkdtemp())
        try:
            library, machine = compiling.compile_library(self._folder)
        except compiling.CompileError as error:
            self.app.display_warning(f"Without the C library, the decode is numpy's, which is slower. {error}")
            return
        if version == "editable":
            shutil.copyfile(library, Path(self.root) / NATIVE / library.name)
            return
        build_data["force_include"][str(library)] = str(NATIVE / library.name)
        build_data["pure_python"] = False
        # The library needs nothing of the C library; boards have glibc, and so have PCs unless this one has not.
        here = platform.machine() == machine and platform.libc_ver()[0] != "glibc"
        build_data["tag"] = f"py3-none-{'linux' if here else 'manylinux_2_17'}_{machine}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written."""
        del version, build_data, artifact_path
        shutil.rmtree(self._folder, ignore_errors=True)


def _module(path: Path) -> ModuleType:
    """A file of the package without the package, whose dependencies are not there."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

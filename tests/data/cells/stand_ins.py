"""Stand-ins for packages that a training package imports and its heads do not use."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import types
from collections.abc import Collection
from typing import Any


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Empty modules in place of those that are not used; any name in them is a class that takes anything, and
    works as a decorator."""

    def __init__(self, unused: Collection[str]) -> None:
        """Set the names of packages and modules; what is in them is meant too."""
        self._unused = tuple(unused)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Specification of a stand-in."""
        if not any(fullname == name or fullname.startswith(f"{name}.") for name in self._unused):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """An empty module."""
        module = types.ModuleType(spec.name)

        def named(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            methods = {"__init__": lambda self, *args, **options: None, "__call__": lambda self, argument: argument}
            return type(name, (object,), methods)

        module.__getattr__ = named  # type: ignore[method-assign]  # a module's own hook for missing names
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""

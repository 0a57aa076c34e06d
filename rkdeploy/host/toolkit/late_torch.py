"""Late import of PyTorch, at its first use: of a build, only bias correction needs it, and its import takes long.

rknn-toolkit2 imports torch together with itself, for its loader of PyTorch models and one algorithm that optimizes
weights.  During that import it only decorates a function with `torch.no_grad` and derives a class from
`torch.nn.Module`.  The stand-ins offer these two; any other access, in a later toolkit too, imports PyTorch there and
then.

Used by `worker.py`, whose interpreter need not be rkdeploy's own: imports the standard library only.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_STAND_INS = ("torch", "torch.nn")


class LateTorch(MetaPathFinder, Loader):
    """The deferred import of PyTorch.

    Attributes:
        loaded: True if a stand-in has imported PyTorch.
    """

    def __init__(self) -> None:
        self.loaded = False
        self._derived: list[type] = []

    @contextlib.contextmanager
    def stand_ins(self) -> Iterator[None]:
        """Let `import torch` give stand-ins within this context; modules imported in it keep them afterward.

        Nothing changes if PyTorch is already imported or not installed.
        """
        if "torch" in sys.modules or importlib.util.find_spec("torch") is None:
            yield
            return
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            self._withdraw()

    def _withdraw(self) -> None:
        """Let `import torch` give PyTorch again."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            for name in _STAND_INS:
                sys.modules.pop(name, None)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find PyTorch and its parts.

        Args:
            fullname: name of the module that is imported.
        """
        ours = fullname == "torch" or fullname.startswith("torch.")
        return ModuleSpec(fullname, self, is_package=True) if ours else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make a stand-in, or import the module if there is none for it.

        Args:
            spec: result of `find_spec`.
        """
        if spec.name in _STAND_INS:
            return _StandIn(spec.name, self)
        self.real("torch")
        return importlib.import_module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing: the module is complete.

        Args:
            module: from `create_module`.
        """

    def real(self, name: str) -> Any:
        """Import a module for real, and make its class a base of those derived from its stand-in.

        Args:
            name: `torch` or `torch.nn`.
        """
        if not self.loaded:
            self.loaded = True
            self._withdraw()
            module = importlib.import_module("torch.nn").Module
            for derived in self._derived:
                derived.__bases__ = tuple(module if hasattr(base, "_late") else base for base in derived.__bases__)
        return importlib.import_module(name)

    def no_grad(self) -> _NoGrad:
        """Stand in for `torch.no_grad()`."""
        return _NoGrad(self)

    def module_class(self) -> type:
        """Make the stand-in for `torch.nn.Module`: classes derive from it, and the first instance needs PyTorch."""
        late = self

        class Module:
            _late = True

            def __init_subclass__(cls) -> None:
                late._derived.append(cls)

            def __init__(self, *arguments: Any, **options: Any) -> None:
                late.real("torch.nn").Module.__init__(self, *arguments, **options)

        return Module


class _NoGrad:
    """`torch.no_grad()`, as a decorator or a context."""

    def __init__(self, late: LateTorch) -> None:
        self._late = late
        self._context: Any = None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def without_gradients(*arguments: Any, **options: Any) -> Any:
            with self._late.real("torch").no_grad():
                return function(*arguments, **options)

        return without_gradients

    def __enter__(self) -> None:
        self._context = self._late.real("torch").no_grad()
        self._context.__enter__()

    def __exit__(self, *raised: object) -> None:
        self._context.__exit__(*raised)


class _StandIn(ModuleType):
    """A module whose attributes are PyTorch's, except for the two that the toolkit uses while it is imported."""

    def __init__(self, name: str, late: LateTorch) -> None:
        super().__init__(name)
        self._late = late

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)  # the import system asks for these, and inspect does of every module
        late = self._late
        if late.loaded:
            return getattr(late.real(self.__name__), name)
        if (self.__name__, name) == ("torch", "no_grad"):
            return late.no_grad
        if (self.__name__, name) == ("torch.nn", "Module"):
            return late.module_class()
        return getattr(late.real(self.__name__), name)

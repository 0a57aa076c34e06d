"""The runtime backends by name.  A backend's module is only imported when it is chosen."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rkdeploy.device.runtime.backend_names import BACKENDS, NPU_BACKENDS, backend_names
from rkdeploy.device.runtime.board_identity import read_board
from rkdeploy.device.runtime.cores import CoreMask, core_count
from rkdeploy.device.runtime.protocol import NO_OPTIONS
from rkdeploy.errors import BackendError
from rkdeploy.system.plugins import BACKENDS as PLUGINS
from rkdeploy.system.plugins import load_plugin, plugins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.runtime.protocol import Runtime, RuntimeOptions

_LOG = logging.getLogger(__name__)

_ONE_CONTEXT = (
    "The SoC of this board is not known, nor how many NPU cores it has: one context is used, on the core that the "
    "runtime chooses. Name the cores (--cores) or the number of contexts (--contexts) to use more."
)

_HOST_PACKAGES = {"onnxruntime": "onnxruntime", "opencv_dnn": "cv2"}
"""Candidates of `auto` without an NPU, best first -> the package that each needs."""


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """The backend that `auto` takes.

    Attributes:
        backend: name of the backend.
        reason: one sentence saying why.
        degraded: True if there is an NPU that is not used, or that only a lesser backend can use; worth a warning.
    """

    backend: str
    reason: str
    degraded: bool = False


def open_runtime(
    name: str, bundle: Bundle, core: CoreMask | None = None, options: RuntimeOptions = NO_OPTIONS
) -> Runtime:
    """The backend `name` for a bundle, to be entered.  For `auto` see `choose_backend`.

    Args:
        name: name of the backend.
        bundle: bundle with the model to run.
        core: NPU cores; None leaves them to the runtime, and backends without an NPU ignore them.
        options: for the backends that they concern.

    Raises:
        BackendError: when no backend has that name, or it cannot be loaded.
    """
    name, notes = _resolved(name)
    runtime: Runtime = backend_module(name).open_bundle(bundle, core, options)
    runtime.notes = (*notes, *runtime.notes)
    return runtime


def open_runtimes(
    name: str,
    bundle: Bundle,
    cores: Sequence[int] | None = None,
    options: RuntimeOptions = NO_OPTIONS,
    contexts: int | None = None,
) -> list[Runtime]:
    """One runtime per context, each to be entered and then used by one thread.

    With librknnrt they share the weights of the first that is entered, even if it is left and entered again; with
    every other backend they are independent, and without an NPU they are separate copies.  They may be entered and left
    in any order.

    Args:
        name: name of the backend.
        bundle: bundle with the model to run.
        cores: NPU cores, counted from 0; None takes all cores of the board.  Backends without an NPU take their number
            only, and None as one.
        options: for the backends that they concern.
        contexts: number of runtimes, spread over the cores in turn; None takes one per core.

    Raises:
        BackendError: when no backend has that name, it cannot be loaded, or the board lacks a core.
    """
    name, notes = _resolved(name)
    module = backend_module(name)
    if name in NPU_BACKENDS:
        masks = _core_masks(cores)
        if cores is None and contexts is None and masks == [None] and _cores_present() is None:
            notes += (_ONE_CONTEXT,)
    else:
        masks = [None] * (1 if cores is None else len(cores))
    if contexts is not None and masks:
        masks = [masks[position % len(masks)] for position in range(contexts)]
    runtimes: list[Runtime] = (
        module.open_bundles(bundle, masks, options)
        if hasattr(module, "open_bundles")
        else [module.open_bundle(bundle, mask, options) for mask in masks]
    )
    _LOG.debug("backend %s, %d contexts, cores %s", name, len(runtimes), [str(mask) for mask in masks if mask] or "any")
    for runtime in runtimes:
        runtime.notes = (*notes, *runtime.notes)
    return runtimes


def _core_masks(cores: Sequence[int] | None) -> list[CoreMask | None]:
    """The mask of each core; None for an NPU with a single core, which has no masks."""
    soc, present = read_board().soc, _cores_present()
    if cores is None:
        cores = range(present or 1)
        if present is None:
            return [None]
    missing = [core for core in cores if present is not None and core >= present]
    if missing:
        raise BackendError(
            f"NPU core {missing[0]} does not exist: an {soc} has {present} core{'' if present == 1 else 's'}.",
            f"Choose from {', '.join(map(str, range(present or 0)))}.",
        )
    return [None if present == 1 else CoreMask.of_core(core) for core in cores]


def _cores_present() -> int | None:
    soc = read_board().soc
    return core_count(soc) if soc else None


def choose_backend() -> BackendChoice:
    """The best backend that works here: librknnrt, then rknnlite on a board; onnxruntime, then OpenCV on a PC.

    A board whose NPU runtime is missing gets a host backend, which runs the float network; the reason says so.
    """
    from rkdeploy.device.runtime.librknnrt.library import LIBRARY_VARIABLE, Library, library_path

    soc = read_board().soc
    if soc is not None or library_path().is_file():
        where = f"this board has an {soc}" if soc else f"{library_path()} exists"
        try:
            Library()
        except BackendError as error:
            failure = error.message
        else:
            return BackendChoice("librknnrt", f"Backend librknnrt, because {where}.")
        if _is_installed("rknnlite"):
            return BackendChoice("rknnlite", f"Backend rknnlite, because {where}, but: {failure}", degraded=True)
        name = _host_backend()
        return BackendChoice(
            name,
            f"Backend {name}, which runs the float network on the CPU: {where}, but its NPU is not used. {failure}",
            degraded=True,
        )
    name = _host_backend()
    return BackendChoice(
        name, f"Backend {name}: this is not a Rockchip board, and {LIBRARY_VARIABLE} names no runtime."
    )


def backend_module(name: str) -> ModuleType:
    """Import the module of a backend.

    Raises:
        BackendError: when no backend has that name, or when something that its module needs is not installed.
    """
    offered = plugins(PLUGINS)
    module = BACKENDS.get(name)
    if module is None and name in offered:
        return cast("ModuleType", load_plugin(offered[name]))
    if module is None:
        known = backend_names()
        close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
        hint = f'Did you mean "{close[0]}"?' if close else ""
        raise BackendError(f'Backend "{name}" does not exist, expected one of {", ".join(known)}.', hint)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendError(f'Backend "{name}" cannot be loaded: {error}.') from error


def _resolved(name: str) -> tuple[str, tuple[str, ...]]:
    """A backend's name, and for `auto` the reason if it is worth a warning."""
    if name != "auto":
        return name, ()
    choice = choose_backend()
    return choice.backend, (choice.reason,) if choice.degraded else ()


def _host_backend() -> str:
    return next((name for name, package in _HOST_PACKAGES.items() if _is_installed(package)), "opencv_dnn")


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None

"""One model for several contexts, one per core: loaded once, with shared weights if the runtime supports it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from rkdeploy.device.runtime.librknnrt.context import Context
from rkdeploy.device.runtime.librknnrt.library import Library
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path

    from rkdeploy.device.runtime.cores import CoreMask

_LOG = logging.getLogger(__name__)

_IDLE_S: Final = 1.0
"""Seconds to wait for a running context before duplicating it; one that takes longer is considered hung."""


class SharedModel:
    """Opener of contexts of one `.rknn`: the first loads it, each further one is a duplicate of an open one.

    So a context that failed and is opened again shares the weights of its siblings, whichever of them failed: it is
    duplicated from one that still works.  If none is left, or the runtime refuses to duplicate, the model is loaded
    again, with weights of its own.

    Duplicates use the weights of the context that loaded them, so that context is destroyed after all of them, even if
    it
    was given back long before.  Thread-safe.

    Args:
        rknn: the model.
        collect_perf: see `Context`.
        idle_s: seconds to wait for a running context before it is duplicated.
    """

    def __init__(self, rknn: Path, *, collect_perf: bool = False, idle_s: float = _IDLE_S) -> None:
        self.rknn = rknn
        self._collect_perf = collect_perf
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._library: Library | None = None
        self._loaded_by: dict[Context, Context] = {}
        """Each open context -> the context that loaded its weights, which may have been given back."""

    def open(self, core: CoreMask | None) -> tuple[Context, str]:
        """Open a context, to be given back to `close`.

        Returns:
            The context, and why it has weights of its own; empty if it shares them or is the first.

        Raises:
            BackendError: when the library is missing or refuses the model.
        """
        with self._lock:
            if self._library is None:
                self._library = Library()
            sibling = next(iter(self._loaded_by), None)
            reason = ""
            if sibling is not None:
                context, reason = self._duplicate(self._library, sibling, core)
                _LOG.debug("core %s: %s", core, reason or "shares the weights of the first context")
                if context is not None:
                    self._loaded_by[context] = self._loaded_by[sibling]
                    return context, ""
            context = Context(self._library, self.rknn, core=core, collect_perf=self._collect_perf)
            context.__enter__()
            self._loaded_by[context] = context
            return context, reason

    def close(self, context: Context) -> None:
        """Close a context from `open`."""
        with self._lock:
            loader = self._loaded_by.pop(context)
            if context is not loader:
                context.close()
            if loader not in self._loaded_by.values():
                loader.close()

    def _duplicate(self, library: Library, sibling: Context, core: CoreMask | None) -> tuple[Context | None, str]:
        """A context on the sibling's weights, or why there is none."""
        loads = "A further context loads the model again, with weights of its own"
        if not library.has("rknn_dup_context"):
            return None, f"{loads}: this librknnrt cannot share them."
        # Duplicating a context while it runs is not documented as safe, so it is not tried.
        if not sibling.busy.acquire(timeout=self._idle_s):
            return None, f"{loads}: the context that it would share them with does not return from the NPU."
        try:
            context = Context(library, sibling, core=core)
            context.__enter__()
        except BackendError as error:
            return None, f"{loads}: {error.message}"
        finally:
            sibling.busy.release()
        return context, ""

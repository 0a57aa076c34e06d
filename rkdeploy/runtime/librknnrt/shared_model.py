"""One model that several contexts run, one a core: loaded once, its weights shared where the runtime can."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rkdeploy.runtime.librknnrt.context import Context
from rkdeploy.runtime.librknnrt.library import Library

if TYPE_CHECKING:
    from pathlib import Path

    from rkdeploy.runtime.cores import CoreMask


class SharedModel:
    """Opens contexts of one `.rknn`: the first loads it, the others are duplicates of the first.

    Duplicates live on the first one's weights, so the first is destroyed last, whatever the order in which the users
    leave.  May be used from several threads.

    Args:
        rknn: the model.
        collect_perf: see `Context`.
    """

    def __init__(self, rknn: Path, *, collect_perf: bool = False) -> None:
        self.rknn = rknn
        self._collect_perf = collect_perf
        self._lock = threading.Lock()
        self._library: Library | None = None
        self._first: Context | None = None
        self._users = 0

    def open(self, core: CoreMask | None) -> Context:
        """An open context, to be given back to `close`.

        Raises:
            BackendError: when the library is missing or refuses the model.
        """
        with self._lock:
            if self._library is None:
                self._library = Library()
            if self._first is not None and self._library.has("rknn_dup_context"):
                context = Context(self._library, self._first, core=core)
            else:
                context = Context(self._library, self.rknn, core=core, collect_perf=self._collect_perf)
            context.__enter__()
            self._first = self._first or context
            self._users += 1
            return context

    def close(self, context: Context) -> None:
        """Close a context that `open` gave."""
        with self._lock:
            self._users -= 1
            if context is not self._first:
                context.close()
            if self._users == 0 and self._first is not None:
                self._first.close()
                self._first = None

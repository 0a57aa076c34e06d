"""The contexts of a model on the cores of the NPU: opened together, one thread each, opened again when they fail."""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rkdeploy.device.runtime.protocol import BufferedRuntime, MeasuredRuntime
from rkdeploy.errors import BackendError, RkdeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.runtime.protocol import MemorySize, Runtime
    from rkdeploy.device.stream.backoff import Backoff

_LOG = logging.getLogger(__name__)

BUFFERS: Final = 2
"""Inputs and outputs of each context: one runs while the other is decoded or filled."""


@dataclass(slots=True, eq=False)
class ContextState:
    """One context, used by one thread.

    Attributes:
        runtime: runs the model.
        is_open: False while it is being opened again, or after it was given up.
        inputs: input memory that it shares with the NPU, one per buffer, while it is open; empty if it shares none.
        failures: number in a row, of frames and of opening.
    """

    runtime: Runtime
    is_open: bool = False
    inputs: tuple[NDArray[np.uint8], ...] = ()
    failures: int = 0

    def open(self) -> None:
        """Open the runtime and its buffers.

        Raises:
            BackendError: when it cannot be opened.
        """
        self.runtime.__enter__()
        self.is_open = True
        if isinstance(self.runtime, BufferedRuntime):
            self.inputs = self.runtime.open_buffers(BUFFERS)

    def closing(self) -> None:
        """Forget the buffers before the runtime is closed: its memory is given back then."""
        self.is_open, self.inputs = False, ()


class Contexts:
    """The contexts of a run: opens them when entered, closes them when left.

    Args:
        runtimes: one per context, not entered yet.
        backoff: delays before a failed context is opened again.
        max_failures: the run ends when every context has failed this often in a row.
        pause: waits some seconds; True when no context is needed any more.
    """

    def __init__(
        self,
        runtimes: Sequence[Runtime],
        backoff: Backoff,
        max_failures: int,
        pause: Callable[[float], bool],
    ) -> None:
        self._backoff = backoff
        self._max_failures = max_failures
        self._pause = pause
        self._contexts = tuple(ContextState(runtime) for runtime in runtimes)
        self._noting = threading.Lock()
        self._rebuilt = 0
        self._last_failure = ""
        self._memory: tuple[MemorySize, ...] = ()

    def __enter__(self) -> Self:
        """Open all contexts.

        Raises:
            BackendError: when one cannot be opened; none stays open then.
        """
        try:
            for context in self._contexts:
                context.open()
                _LOG.debug("opened a context: %s", context.runtime.figures_from)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._memory = tuple(_memory_sizes(context.runtime for context in self._contexts))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all, the last first, even if closing one fails; then the first such failure is raised."""
        with contextlib.ExitStack() as stack:
            for context in self._contexts:
                if context.is_open:
                    stack.push(context.runtime.__exit__)
                    context.closing()

    def __len__(self) -> int:
        return len(self._contexts)

    def __getitem__(self, position: int) -> ContextState:
        return self._contexts[position]

    @property
    def figures_from(self) -> str:
        """Source of these contexts' figures."""
        opened = next((context for context in self._contexts if context.is_open), self._contexts[0])
        return opened.runtime.figures_from

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the runtimes for the user, without duplicates."""
        return tuple(dict.fromkeys(note for context in self._contexts for note in context.runtime.notes))

    @property
    def memory(self) -> tuple[MemorySize, ...]:
        """Memory of each context when it was opened; empty if the runtime does not say."""
        return self._memory

    @property
    def working(self) -> int:
        """Number of open contexts."""
        return sum(context.is_open for context in self._contexts)

    @property
    def rebuilt(self) -> int:
        """Number of times a context was opened again."""
        return self._rebuilt

    @property
    def last_failure(self) -> str:
        """Message of the last failure, empty when there was none."""
        return self._last_failure

    def succeeded(self, context: ContextState) -> None:
        """Reset a context's failures after an answer."""
        context.failures = 0

    def rebuild(self, context: ContextState, failure: BackendError) -> bool:
        """Close a failed context and open it again after a delay.

        Returns:
            False when it stays closed, because the run needs no context any more.

        Raises:
            BackendError: when every context has failed too often.
        """
        self._note(context, failure)
        _LOG.debug("a context failed, and is opened again: %s", failure.message)
        context.closing()
        # A context that failed may also fail to close; only the first failure is reported.
        with contextlib.suppress(Exception):
            context.runtime.__exit__(type(failure), failure, failure.__traceback__)
        while not self._pause(self._backoff.delay_s(context.failures)):
            try:
                context.open()
            except RkdeployError as error:
                self._note(context, error)
                continue
            with self._noting:
                self._rebuilt += 1
            return True
        return False

    def _note(self, context: ContextState, failure: RkdeployError) -> None:
        with self._noting:
            context.failures += 1
            self._last_failure = str(failure)
            fewest = min(c.failures for c in self._contexts)
        if fewest >= self._max_failures:
            count = len(self._contexts)
            which = "The only context has" if count == 1 else f"All {count} contexts have"
            raise BackendError(
                f"{which} failed {self._max_failures} times in a row. The last failure: {failure.message}", failure.hint
            ) from failure


def _memory_sizes(runtimes: Iterable[Runtime]) -> Iterator[MemorySize]:
    for runtime in runtimes:
        if isinstance(runtime, MeasuredRuntime):
            with contextlib.suppress(BackendError):  # an old runtime does not know
                yield runtime.memory_size()

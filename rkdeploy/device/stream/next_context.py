"""Choice of the context for the next piece of work: the one that waits, else the one that will be free first.

    claim -> (its input is written) -> prepared -> next_for -> (it runs) -> (it is decoded) -> release

The choice is made before the input is written, because the input belongs to the context: it may be the NPU's own
memory.  Few inputs are written ahead of a context that is still running: each one ahead makes a frame older, and more
than one do not make any context busier.

A context that fails is withdrawn.  What was prepared for it is left to the others, which write it into inputs of their
own.  All waiting happens here, under one lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class Slot(Protocol):
    """Input and outputs of one piece of work in a context.

    Attributes:
        position: of its context.
    """

    position: int


SlotT = TypeVar("SlotT", bound=Slot)
Work = TypeVar("Work")


class _Turn(Generic[SlotT]):
    """One context: its slots, and what it does.

    Attributes:
        slots: number of them; 0 while it is withdrawn.
        free: slots that nothing uses.
        filling: number of slots whose input is being written.
        ready: slots whose input is written, the next first.
        runs: True while it runs.
        since_s: when it began to run or to wait, by `time.perf_counter`.
        gone: True when it will not come back.
        changed: notified when there may be work for it, or when a slot came back.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.slots = 0
        self.free: list[SlotT] = []
        self.filling = 0
        self.ready: deque[SlotT] = deque()
        self.runs = self.gone = False
        self.since_s = 0.0
        self.changed = threading.Condition(lock)

    @property
    def takes(self) -> bool:
        """True if an input can be written for its next run."""
        return bool(self.free) and not self.filling and not self.ready


class NextContext(Generic[SlotT, Work]):
    """Work of one model, distributed over its contexts.  Each context is served by a thread of its own.

    Args:
        contexts: number of them; each is withdrawn until it is restored.
        ahead: inputs that are written for contexts that still run, at most one for each.
    """

    def __init__(self, contexts: int, *, ahead: int) -> None:
        lock = threading.Lock()
        self._turns: tuple[_Turn[SlotT], ...] = tuple(_Turn(lock) for _ in range(contexts))
        self._wanted = threading.Condition(lock)
        self._ahead = ahead
        self._orphans: deque[Work] = deque()
        self._closed = self._aborted = False

    def wait_until_wanted(self) -> bool:
        """Wait until a context takes an input, or no context is left; False after `abort`."""
        with self._wanted:
            self._wanted.wait_for(lambda: self._aborted or self._chosen() is not None or self._all_gone())
            return not self._aborted

    def claim(self) -> SlotT | None:
        """A slot of the chosen context, to write its input; waits for one.  None when no context is left."""
        with self._wanted:
            self._wanted.wait_for(lambda: self._aborted or self._chosen() is not None or self._all_gone())
            turn = self._chosen()
            if self._aborted or turn is None:
                return None
            turn.filling += 1
            return turn.free.pop()

    def prepared(self, slot: SlotT) -> None:
        """Take a slot whose input is written."""
        turn = self._turns[slot.position]
        with turn.changed:
            turn.filling -= 1
            turn.ready.append(slot)
            turn.changed.notify_all()

    def close(self) -> None:
        """No more inputs will be written; what is prepared is still worked on."""
        with self._wanted:
            self._closed = True
            self._tell_contexts()

    def abort(self) -> None:
        """End all waiting."""
        with self._wanted:
            self._closed = self._aborted = True
            self._wanted.notify_all()
            self._tell_contexts()

    def next_for(self, position: int) -> tuple[SlotT, Work | None] | None:
        """The next slot for a context to run; waits for one.

        Returns:
            The slot, and a failed context's work whose input is to be written into it first; None as work when it is
            prepared.  None when there is nothing more to do.
        """
        turn = self._turns[position]
        with turn.changed:
            turn.runs, turn.since_s = False, time.perf_counter()
            self._wanted.notify()
            turn.changed.wait_for(lambda: turn.ready or (self._orphans and turn.free) or self._is_over())
            if self._aborted or self._is_over():
                return None
            turn.runs, turn.since_s = True, time.perf_counter()
            adopts = bool(self._orphans and turn.free)
            slot = turn.free.pop() if adopts else turn.ready.popleft()
            work = self._orphans.popleft() if adopts else None
            self._wanted.notify()
            if self._closed:
                self._tell_contexts()
            return slot, work

    def release(self, slot: SlotT) -> None:
        """Take back a slot that nothing uses any more."""
        turn = self._turns[slot.position]
        with turn.changed:
            turn.free.append(slot)
            turn.changed.notify_all()
            self._wanted.notify()

    def withdraw(self, position: int) -> Sequence[SlotT]:
        """Give a context nothing more, and wait until nothing uses its slots.

        Returns:
            Those that are prepared; their work is to be given to `leave_to_others`.
        """
        turn = self._turns[position]
        with turn.changed:
            slots, turn.slots = turn.slots, 0
            # An input that is being written comes to `ready`; one that is being decoded comes back.
            turn.changed.wait_for(lambda: self._aborted or len(turn.free) + len(turn.ready) == slots)
            found = tuple(turn.ready)
            turn.free.clear()
            turn.ready.clear()
            return found

    def leave_to_others(self, work: Work) -> None:
        """Take the work of a context that was withdrawn."""
        with self._wanted:
            self._orphans.append(work)
            self._tell_contexts()

    def restore(self, position: int, slots: Sequence[SlotT]) -> None:
        """Give work to a context, again or for the first time."""
        turn = self._turns[position]
        with turn.changed:
            turn.free, turn.slots = list(slots), len(slots)
            self._wanted.notify()

    def leave(self, position: int) -> tuple[Work, ...] | None:
        """End a context.

        Returns:
            None while others are left.  For the last one, after all work was prepared: the work that nothing ran.
        """
        turn = self._turns[position]
        with turn.changed:
            turn.gone, turn.slots = True, 0
            if not self._all_gone():
                return None
            self._wanted.notify()
            turn.changed.wait_for(lambda: self._closed)
            return tuple(self._orphans)

    @property
    def aborted(self) -> bool:
        """True after `abort`."""
        return self._aborted

    def _chosen(self) -> _Turn[SlotT] | None:
        """The context to write an input for: of those that wait the first, else of those that run the first."""
        if self._orphans:
            return None
        takers = [turn for turn in self._turns if turn.slots and turn.takes]
        waiting = [turn for turn in takers if not turn.runs]
        ahead = sum(turn.runs and (turn.filling + len(turn.ready)) for turn in self._turns)
        fitting = waiting or (takers if ahead < self._ahead else ())
        return min(fitting, key=lambda turn: turn.since_s, default=None)

    def _all_gone(self) -> bool:
        return all(turn.gone for turn in self._turns)

    def _is_over(self) -> bool:
        """True when everything that was prepared is taken by a context, and nothing will follow."""
        return self._aborted or (
            self._closed and not self._orphans and not any(turn.filling or turn.ready for turn in self._turns)
        )

    def _tell_contexts(self) -> None:
        for turn in self._turns:
            turn.changed.notify_all()

"""The choice of a context, inputs written ahead, and the work of a context that failed: without threads and with."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from rkdeploy.device.stream.next_context import NextContext
from tests.device.stream.stand_ins import WAIT_S


@dataclass(eq=False)
class Place:
    """A slot."""

    position: int
    name: str = ""


class Served:
    """Contexts with two slots each, of which the first ones wait in threads of their own.

    Args:
        count: of contexts.
        ahead: see `NextContext`.
    """

    def __init__(self, count: int, ahead: int) -> None:
        self.next: NextContext[Place, str] = NextContext(count, ahead=ahead)
        self.got: list[tuple[Place, str | None] | None] = []
        for position in range(count):
            self.next.restore(position, [Place(position), Place(position)])

    def ask(self, position: int) -> threading.Thread:
        """Let a context ask for its next slot."""
        thread = threading.Thread(target=lambda: self.got.append(self.next.next_for(position)), daemon=True)
        thread.start()
        return thread

    def claimed(self) -> Place:
        """The slot to be written next."""
        assert self.next.wait_until_wanted()
        slot = self.next.claim()
        assert slot is not None
        return slot

    def start(self, position: int) -> Place:
        """Write an input, which must be for this context, and run it."""
        slot = self.claimed()
        assert slot.position == position
        self.next.prepared(slot)
        self.ask(position).join(WAIT_S)
        assert self.got.pop() == (slot, None)
        return slot


def wanted(served: Served) -> bool:
    """True if an input is wanted now."""
    with served.next._wanted:
        return served.next._chosen() is not None


def test_one_that_waits_is_served_before_those_that_run() -> None:
    """Contexts that wait come first, the longest wait first; then one input is written for the first that began."""
    served = Served(3, ahead=1)
    for position, since_s in enumerate((2.0, 3.0, 1.0)):
        served.next._turns[position].since_s = since_s
    served.start(2)
    served.start(0)
    served.start(1)
    ahead = served.claimed()
    assert ahead.position == 2
    assert not wanted(served)
    served.next.prepared(ahead)
    assert not wanted(served)
    served.ask(2).join(WAIT_S)
    assert served.got == [(ahead, None)]
    assert served.claimed().position == 0  # it has run longest now


@pytest.mark.parametrize("ahead", [0, 1, 2, 3])
def test_no_more_are_written_ahead_than_asked_for(ahead: int) -> None:
    """While all run, that many inputs are written, at most one for each context."""
    served = Served(2, ahead=ahead)
    served.start(0)
    served.start(1)
    written = 0
    while wanted(served):
        served.next.prepared(served.claimed())
        written += 1
    assert written == min(ahead, 2)


def test_a_failed_contexts_work_goes_to_another() -> None:
    """The next one that is free runs the input prepared for it, before anything new is taken."""
    served = Served(2, ahead=1)
    running = served.start(0)
    served.start(1)
    prepared = served.claimed()
    assert prepared.position == 0
    served.next.prepared(prepared)
    served.next.release(running)
    assert list(served.next.withdraw(0)) == [prepared]
    served.next.leave_to_others("left over")
    assert not wanted(served)
    served.ask(1).join(WAIT_S)
    ((slot, work),) = [one for one in served.got if one is not None]
    assert (slot.position, work) == (1, "left over")
    assert not wanted(served)  # its other slot runs
    served.next.restore(0, [Place(0), Place(0)])
    assert wanted(served)


def test_a_context_is_closed_when_nothing_uses_its_slots() -> None:
    """A failed context waits for an input that is being written and for outputs that are being decoded."""
    served = Served(1, ahead=1)
    decoded = served.start(0)
    written = served.claimed()
    done = threading.Event()
    found: list[Place] = []

    def withdraw() -> None:
        found.extend(served.next.withdraw(0))
        done.set()

    closing = threading.Thread(target=withdraw, daemon=True)
    closing.start()
    assert not done.wait(0.02)
    served.next.release(decoded)
    assert not done.wait(0.02)
    served.next.release(written)
    assert done.wait(WAIT_S)
    assert found == []
    closing.join(WAIT_S)


def test_a_context_without_others_ends_with_the_work() -> None:
    """The last one that leaves gets what no context ran, once nothing more is prepared; no input is wanted then."""
    served = Served(2, ahead=1)
    assert served.next.leave(0) is None
    served.next.withdraw(1)
    served.next.leave_to_others("lost")
    left: list[tuple[str, ...] | None] = []
    thread = threading.Thread(target=lambda: left.append(served.next.leave(1)), daemon=True)
    thread.start()
    assert served.next.wait_until_wanted()
    assert served.next.claim() is None
    served.next.close()
    thread.join(WAIT_S)
    assert left == [("lost",)]


def test_abort_ends_all_waiting() -> None:
    """A context, the writer and a withdrawal return at once."""
    served = Served(2, ahead=1)
    threads = [served.ask(0), served.ask(1)]
    served.next.abort()
    for thread in threads:
        thread.join(WAIT_S)
    assert served.got == [None, None]
    assert not served.next.wait_until_wanted()
    assert served.next.claim() is None

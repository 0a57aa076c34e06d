"""One connection of the web view: limited in number, and in the time it may be silent."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 160
KEEP_ALIVE_S = 8  # for silent clients; the deadline is for those that begin a request
_REQUEST_WITHIN_S = 10.0
_STUCK_S = 20.0


class Connection(H11Protocol):
    """uvicorn's connection with timeouts for clients that send no complete request, or do not read.

    At any time it either answers, or waits for a request and has a deadline: the first request and every later one must
    arrive, headers included, within 10 s of the connection or of the previous response.  When there are too many, the
    one
    that has waited longest is closed: clients that hold idle connections cannot lock others out.
    """

    _deadline: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    waits_since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Accept the connection, closing a waiting one if there is no room."""
        super().connection_made(transport)
        self._wait_for_request()
        if len(self.connections) > MAX_CONNECTIONS:
            others = [c for c in self.connections if isinstance(c, Connection) and c is not self and c.waits]
            (min(others, key=lambda c: c.waits_since_s) if others else self).leave()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        for handle in (self._deadline, self._stuck):
            if handle is not None:
                handle.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request, with a deadline; an unread rest of the response is dropped then."""
        self._wait_for_request()
        super().on_response_complete()

    @property
    def waits(self) -> bool:
        """True if no response is being sent."""
        cycle = getattr(self, "cycle", None)  # uvicorn's types leave out that it is None until a request comes
        return cycle is None or cycle.response_complete

    def pause_writing(self) -> None:
        """Start a timer: the viewer reads more slowly than data arrives."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(_STUCK_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timer: the viewer has read the data."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    def abort_if_stuck(self) -> None:
        """Close the connection now if its viewer does not read."""
        if self._stuck is not None:
            self.transport.abort()

    def _wait_for_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self.waits_since_s = self.loop.time()
        self._deadline = self.loop.call_later(_REQUEST_WITHIN_S, self._leave_if_waiting)

    def _leave_if_waiting(self) -> None:
        if self.waits:
            self.leave()

    def leave(self) -> None:
        """Close the connection now, whatever has not been sent yet."""
        self.connections.discard(self)  # free its place now, not when the loop reaches it
        self.transport.abort()

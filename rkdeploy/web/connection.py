"""One connection of the web view: bounded in number, in patience and in how long it may say nothing."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 160
_REQUEST_WITHIN_S = 10.0
_STUCK_S = 20.0


class Connection(H11Protocol):
    """uvicorn's connection, which also leaves whoever sends no request, or takes nothing for a while."""

    _deadline: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Let it in, while there is room."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._deadline = self.loop.call_later(_REQUEST_WITHIN_S, self._abort_without_request)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clocks."""
        for handle in (self._deadline, self._stuck):
            if handle is not None:
                handle.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The viewer is slower than what it is sent."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(_STUCK_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken what there was."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    def abort_if_stuck(self) -> None:
        """End it now if its viewer does not read."""
        if self._stuck is not None:
            self.transport.abort()

    def _abort_without_request(self) -> None:
        if getattr(self, "cycle", None) is None:  # uvicorn's types leave out that it is None until a request comes
            self.transport.abort()

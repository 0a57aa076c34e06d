"""Journal of a build: its events, the wall time of its stages, and its warnings."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.host.building.build_events import BuildEvents

_LOG = logging.getLogger(__name__)


class Journal:
    """Events and notes of a build.

    Attributes:
        events: callbacks.
        seconds: wall time per stage, in seconds.
        warnings: for the record.
    """

    def __init__(self, events: BuildEvents) -> None:
        self.events = events
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    @contextmanager
    def stage(self, key: str, title: str) -> Iterator[None]:
        """A timed stage, announced when it begins."""
        self.events.stage(title)
        _LOG.debug("%s", title)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[key] = round(self.seconds.get(key, 0.0) + time.perf_counter() - started, 3)
            _LOG.debug("%s took %.2f s", key, self.seconds[key])

    def warn(self, text: str) -> None:
        """A warning that the record keeps."""
        self.warnings.append(text)
        self.events.warning(text)

"""Results to a web address, as JSON by POST."""

from __future__ import annotations

import http.client
import logging
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from rkdeploy.device.messages.newest_results import NewestResults, StreamResult
from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.errors import RkdeployError
from rkdeploy.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame

_LOG = logging.getLogger(__name__)
_ANSWER_S: Final = 5.0
_PATIENCE_S: Final = 60.0
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
_RETRY: Final = Backoff(first_s=0.5, max_s=10.0)


@dataclass(frozen=True, slots=True)
class _Fault:
    """Reason that a post was not taken.

    Attributes:
        text: in words.
        final: whether the same post would be refused again.
    """

    text: str
    final: bool


class WebhookSink:
    """Posts results that have detections, the newest of each stream at a bounded rate, from a thread of its own.

    A post that is not answered, or with an error of the server, is repeated for a minute with growing pauses; one that
    the server refuses is not.  Meanwhile newer results replace those that wait.  The run never waits.

    Args:
        address: http or https.
        class_names: of the contract.
        every_s: least seconds between two posts of a stream.
        notify: called with one sentence when posts fail, and when they are taken again.

    Attributes:
        sent: results that were taken.
        lost: results that were not taken within a minute, or were refused.

    Raises:
        RkdeployError: when the address is not one of the web.
    """

    def __init__(
        self,
        address: str,
        class_names: Sequence[str],
        *,
        every_s: float = 1.0,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._address, self._name = address, _name_of(address)
        self._class_names = tuple(class_names)
        self._notify = notify or (lambda _text: None)
        self._results = NewestResults(every_s)
        self._ending = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._post_all, name="rkdeploy-webhook", daemon=True)
        self.sent = self.lost = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._results.close()
        self._thread.join(2 * _ANSWER_S)
        if self.lost:
            self._notify(f"{self._name}: {self.sent} results sent, {self.lost} lost.")

    def write(self, frame: Frame, detections: Detections) -> None:
        """Leave a result to the sender's thread; one without detections is not sent."""
        if len(detections):
            self._results.put(StreamResult.of(frame, detections))

    def _post_all(self) -> None:
        while (result := self._results.take()) is not None:
            if self._delivered(result.line(self._class_names).encode("ascii")):
                self.sent += 1
                if self._told:
                    self._notify(f"{self._name} takes results again.")
                self._told = False
            else:
                self.lost += 1

    def _delivered(self, body: bytes) -> bool:
        """Post until it is taken, refused or a minute has passed; when the run ends, the try under way is the last."""
        end = time.monotonic() + _PATIENCE_S
        failures = 0
        while (fault := self._post(body)) is not None:
            failures += 1
            self._tell(f"{self._name} does not take results: {fault.text}.")
            pause = _RETRY.delay_s(failures)
            if fault.final or time.monotonic() + pause > end or self._ending.wait(pause):
                return False
        return True

    def _post(self, body: bytes) -> _Fault | None:
        """Post once; None when it is taken."""
        request = urllib.request.Request(  # noqa: S310 - http and https only, see `_name_of`
            self._address,
            body,
            {"Content-Type": "application/json", "User-Agent": f"rkdeploy/{__version__}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_S):  # noqa: S310 - as above
                return None
        except urllib.error.HTTPError as error:
            error.close()
            return _Fault(f"HTTP {error.code}", final=error.code < _SERVER_ERROR and error.code not in _TRY_AGAIN)
        except (OSError, http.client.HTTPException, ValueError) as error:
            _LOG.debug("%s: %s", self._name, error)
            return _Fault(_reason(error), final=False)

    def _tell(self, text: str) -> None:
        """Say once that posts fail."""
        if not self._told:
            self._notify(text)
        self._told = True


def _name_of(address: str) -> str:
    """The address for messages: scheme and host; the rest may hold a secret."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RkdeployError("The address of --webhook is not http:// or https://, followed by a host.")
    return f"{parts.scheme}://{parts.hostname}"


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason) or type(error).__name__

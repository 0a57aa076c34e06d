"""Answers of a board, with limits: it may be a foreign machine, or not do what its script says."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

_FACT = re.compile(r"rkdeploy: ([a-z_]{1,20})(?: (.*))?")
_MAX_FACTS = 64
_MAX_VALUE = 1000  # a path has up to 4,096 bytes; all requested values are far shorter
_KEPT_BYTES = 1 << 16  # the end is kept: facts come last, after the output of a login shell
MAX_SAID_BYTES = 16 << 20
_REST_WITHIN_S = (
    2.0  # after the process's end; ssh's shared connections (ControlPersist) keep the stream open for longer
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of a script on the board.

    Attributes:
        code: its exit code; 255 is ssh's own.
        facts: its facts by key.
        stderr: other output of the script and of ssh.
    """

    code: int
    facts: dict[str, str]
    stderr: str


@dataclass(slots=True)
class OutputReader:
    """Reads a stream to its end in a thread, so that the other side never blocks, and keeps the last 64 KiB.

    Args:
        stream: of the process.
        on_too_much: called once when more than 16 MiB have come; further data is discarded.
    """

    stream: BinaryIO
    on_too_much: Callable[[], None]
    too_much: bool = False
    _kept: bytes = b""
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._listen, name="rkdeploy-push-ear", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """The text that was kept; call it when the process has ended."""
        self._thread.join(_REST_WITHIN_S)
        if not self._thread.is_alive():
            self.stream.close()
        return self._kept.decode(errors="replace")

    def _listen(self) -> None:
        total = 0
        while block := self.stream.read1(_KEPT_BYTES):  # type: ignore[attr-defined]  # a buffered reader
            self._kept = (self._kept + block)[-_KEPT_BYTES:]
            total += len(block)
            if total > MAX_SAID_BYTES and not self.too_much:
                self.too_much = True
                self.on_too_much()


def facts_in(text: str) -> dict[str, str]:
    """The lines `rkdeploy: KEY VALUE`, the last of each key.  Values are truncated and stripped of non-printable
    characters.
    """
    found: dict[str, str] = {}
    for line in text.split("\n"):
        fact = _FACT.fullmatch(line.rstrip("\r"))
        if fact is not None and (fact[1] in found or len(found) < _MAX_FACTS):
            found[fact[1]] = "".join(filter(str.isprintable, (fact[2] or "")[:_MAX_VALUE])).strip()
    return found

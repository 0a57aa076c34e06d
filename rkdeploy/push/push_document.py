"""The document of `rkdeploy push`: what was sent, and what is current on the board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PushDocument:
    """Result of a push.

    Attributes:
        board: `user@board`, as ssh takes it.
        current: the board's current bundle; empty if it has none.
        previous: the bundle that was current before; empty if there was none.
        bundle: name of the pushed bundle on the board; None if nothing was sent (`--rollback`).
        copied_bytes: bytes that were sent, further models included; 0 if all was there already.
        then: names of the further models of a chain on the board.
        restarted: True if rkdeploy.service was restarted.
        document: tag of the document.
        schema_version: version of this schema.
    """

    board: str
    current: str
    previous: str
    bundle: str | None = None
    copied_bytes: int = 0
    restarted: bool = False
    then: tuple[str, ...] = ()
    document: Literal["rkdeploy push"] = "rkdeploy push"
    schema_version: Literal[1] = 1

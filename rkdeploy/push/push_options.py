"""Options of a push."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rkdeploy.contract.bundle import BOARD_HOME
from rkdeploy.option import Option


@dataclass(frozen=True, slots=True)
class PushOptions:
    """A push to a board.

    Attributes:
        then: further models of a chain, which are sent too, before the bundle.
        everything: True sends the whole bundle, False what a board needs.
        activate: True makes the bundle the board's current one.
        rollback: True sends nothing and makes the previous bundle current again.
        restart: True restarts rkdeploy.service at the end.
        port: of ssh; None leaves it to ssh.
        identity: file of a private key; None leaves it to ssh.
        home: the board's folder for bundles.
    """

    then: Annotated[
        tuple[Path, ...],
        Option(
            "--then",
            "Bundle of a further model of a chain: sent too, not made current; run --then finds it by its name. "
            "Repeatable.",
            metavar="BUNDLE",
            often=True,
        ),
    ] = ()
    everything: Annotated[
        bool,
        Option("--all", "Send the whole bundle, not only the model, its contract and its record.", often=True),
    ] = False
    activate: Annotated[
        bool,
        Option(
            "--activate",
            "Make it the board's current bundle, or do not.",
            off="--no-activate",
            default="--activate",
            often=True,
        ),
    ] = True
    rollback: Annotated[
        bool, Option("--rollback", "Send nothing: make the previous bundle current again.", often=True)
    ] = False
    restart: Annotated[
        bool, Option("--restart", "Then restart rkdeploy.service, and check that it runs.", often=True)
    ] = False
    port: Annotated[int | None, Option("--port", "Port of ssh.", low=1, high=65535, default="as ssh is set up")] = None
    identity: Annotated[
        Path | None, Option("--identity", "File of a private key.", metavar="FILE", default="as ssh is set up")
    ] = None
    home: Annotated[str, Option("--home", "The board's folder for bundles; RKDEPLOY_HOME there.", metavar="FOLDER")] = (
        BOARD_HOME
    )

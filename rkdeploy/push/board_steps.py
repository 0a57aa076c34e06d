"""Steps on a board; each is one connection and can be repeated."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from rkdeploy.contract.bundle import BOARD_HOME
from rkdeploy.errors import PushError, shown
from rkdeploy.push import scripts
from rkdeploy.push.answer import Answer
from rkdeploy.push.bundle_upload import BundleUpload
from rkdeploy.push.ssh import Ssh, last_line

_LOG = logging.getLogger(__name__)

_SPARE_BYTES = 8 << 20
_KILOBYTES = re.compile("[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class BoardState:
    """State of a board.

    Attributes:
        free_bytes: for bundles.
        current, previous: names of the bundles they point to; empty when there is none.
        present: True if the requested bundle is there and its hashes are right.
        compatible: the machine's name in the device tree; empty when it has none.
        has_program: True if `rkdeploy` itself is installed.
    """

    free_bytes: int
    current: str
    previous: str
    present: bool
    compatible: tuple[str, ...]
    has_program: bool


def check_home(home: str) -> str:
    """The board's folder for bundles, normalized.

    Raises:
        PushError: when it is not an absolute path.
    """
    path = PurePosixPath(home)
    if not path.is_absolute() or ".." in path.parts or not home.isprintable():
        raise PushError(f"{shown(home)} is not an absolute path on the board.", f"The default is {BOARD_HOME}.")
    return str(path)


def examine(ssh: Ssh, home: str, name: str = "") -> BoardState:
    """Read the board's state before anything is sent.

    Raises:
        PushError: not reachable, not installed, not writable, or a program is missing.
    """
    facts = _facts(ssh, home, ssh.run(scripts.EXAMINE, check_home(home), name), "free_kb", "current", "previous")
    free = facts["free_kb"]
    if not _KILOBYTES.fullmatch(free):
        raise PushError(f'The board "{ssh.address}" does not report its free space: {shown(free)}.')
    _LOG.debug("%s: %s KiB free, current %s", ssh.address, free, facts["current"] or "none")
    return BoardState(
        free_bytes=int(free) << 10,
        current=PurePosixPath(facts["current"]).name,
        previous=PurePosixPath(facts["previous"]).name,
        present=bool(name) and facts.get("present") == name,
        compatible=tuple(facts.get("compatible", "").split()),
        has_program="program" in facts,
    )


def upload(ssh: Ssh, home: str, payload: BundleUpload, state: BoardState, on_bytes: Callable[[int], None]) -> None:
    """Copy a bundle, let the board check its hashes, then give it its name.  A failure leaves nothing behind.

    Raises:
        PushError: no space, the connection broke, the received files differ from the sent ones, or the board does not
            confirm.
    """
    needed = payload.size_bytes + _SPARE_BYTES
    if state.free_bytes < needed:
        raise _no_room(ssh, home, f"{state.free_bytes >> 20} MiB free, {needed >> 20} MiB are needed")
    answer = ssh.run(
        scripts.UPLOAD, check_home(home), payload.name, send=lambda stream: payload.write_tar(stream, on_bytes)
    )
    stored = _facts(ssh, home, answer, "stored")["stored"]
    if stored != payload.name:
        raise PushError(f'The board "{ssh.address}" reports that it stored {shown(stored)}, expected "{payload.name}".')


def refresh(ssh: Ssh, home: str, name: str) -> None:
    """Make a bundle that is on the board the newest of its name, without switching `current`.

    Raises:
        PushError: when it is not there.
    """
    _facts(ssh, home, ssh.run(scripts.REFRESH, check_home(home), name), "refreshed")


def activate(ssh: Ssh, home: str, name: str) -> str | None:
    """Point `current` to a bundle in one step and `previous` to the bundle that was current.

    Returns:
        The bundle that was current, empty for none; None when nothing had to change.

    Raises:
        PushError: when it cannot be done, or the board does not confirm.
    """
    now, before = _switched(ssh, home, ssh.run(scripts.ACTIVATE, check_home(home), name))
    _LOG.debug("%s: current is %s, before %s", ssh.address, now, before if before is not None else "the same")
    if now != f"bundles/{name}":
        raise PushError(f'The board "{ssh.address}" says that {shown(now)} is current, expected "bundles/{name}".')
    return before


def roll_back(ssh: Ssh, home: str) -> tuple[str, str]:
    """Exchange `current` and `previous`.

    Returns:
        The bundle that is current now, and the one that was.

    Raises:
        PushError: also when there is no previous bundle, or it is damaged.
    """
    now, before = _switched(ssh, home, ssh.run(scripts.ROLL_BACK, check_home(home)))
    return PurePosixPath(now).name, before or ""


def restart_service(ssh: Ssh, home: str) -> None:
    """Restart rkdeploy.service and check it two seconds later.

    Raises:
        PushError: when it does not run then.
    """
    answer = ssh.run(scripts.RESTART, check_home(home))
    state = _facts(ssh, home, answer, "state")["state"]
    if state != "active":
        said = f": {last_line(answer)}" if answer.stderr.strip() else ""
        raise PushError(
            f'rkdeploy.service on "{ssh.address}" is {state} after the restart{said}.',
            "On the board: journalctl -u rkdeploy. To undo the push: --rollback --restart",
        )


def _switched(ssh: Ssh, home: str, answer: Answer) -> tuple[str, str | None]:
    """Target of `current`, and the name of the bundle that was current; None when nothing had to change."""
    facts = _facts(ssh, home, answer)
    if "unchanged" in facts:
        return facts["unchanged"], None
    facts = _facts(ssh, home, answer, "current", "replaced")
    return facts["current"], PurePosixPath(facts["replaced"]).name


def _no_room(ssh: Ssh, home: str, figures: str) -> PushError:
    return PushError(
        f'The board "{ssh.address}" has no free space in "{home}": {figures}.',
        f'Remove bundles there that are neither current nor previous: ls -l "{home}" "{home}/bundles"',
    )


def _facts(ssh: Ssh, home: str, answer: Answer, *wanted: str) -> dict[str, str]:
    """The facts that a script was to report.

    Raises:
        PushError: when the script failed or did not report all of them.
    """
    if answer.code == 0 and "refused" not in answer.facts:
        missing = [key for key in wanted if key not in answer.facts]
        if missing:
            raise PushError(
                f'The board "{ssh.address}" ended without an error, but did not report "{missing[0]}": it is not known '
                "whether anything was done there.",
                "Is that a shell on the board? A forced command, or a restricted account, runs something else.",
            )
        return answer.facts
    reason, _, detail = answer.facts.get("refused", "").partition(" ")
    board = f'The board "{ssh.address}"'
    if "no space left" in answer.stderr.lower() or "disk quota" in answer.stderr.lower():
        raise _no_room(ssh, home, "it became full while the bundle was written; the partial copy is removed")
    if "read-only file system" in answer.stderr.lower():
        raise PushError(f'{board} has a read-only file system at "{home}".', "Check the board's storage.")
    if reason == "tool":
        raise PushError(f'{board} lacks the program "{detail}".', "On the board: apt-get install coreutils tar")
    if reason == "no-home":
        raise PushError(
            f'{board} has no folder "{home}".', "Install rkdeploy there first (board/install.sh), or give --home."
        )
    if reason == "not-writable":
        raise PushError(
            f'User "{detail}" on "{ssh.address}" may not write in "{home}".',
            f"On the board: sudo usermod -aG rkdeploy {detail}  and log in again; or push as root.",
        )
    if reason == "sums":
        raise PushError(f"{board} has a bundle whose files do not match SHA256SUMS.", "Push it again.")
    if reason == "gone":
        raise PushError(f'{board} does not have the bundle "{detail}" any more.', "Push it again.")
    if reason == "no-previous":
        raise PushError(f"{board} has no previous bundle to return to.")
    if reason == "no-link":
        raise PushError(f'"{home}/{detail}" on "{ssh.address}" is not a symbolic link.', "Move it away.")
    if reason == "no-folder":
        raise PushError(
            f'"{home}/{detail}" on "{ssh.address}" is a link, expected a folder.',
            "It is never followed: find out who made it, and remove it.",
        )
    if reason == "no-root":
        raise PushError(
            f'User "{detail}" on "{ssh.address}" may not restart a service.',
            "Push as root, or allow it sudo.",
        )
    if reason == "not-started":
        raise PushError(f"rkdeploy.service did not restart: {last_line(answer)}.", "There: journalctl -u rkdeploy")
    raise PushError(f"{board} failed (code {answer.code}): {last_line(answer)}.")

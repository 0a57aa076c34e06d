"""The system's own ssh, so that the user's keys, agent, jump hosts and host aliases work as usual."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rkdeploy.errors import PushError, shown
from rkdeploy.push.answer import MAX_SAID_BYTES, Answer, OutputReader, facts_in

_LOG = logging.getLogger(__name__)

_USER, _HOST = r"[A-Za-z0-9_][\w.+-]*@", r"[A-Za-z0-9_][\w.-]*"
_IPV6 = r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:]*(?:%\w+)?"
_ADDRESS = re.compile(f"(?:{_USER})?(?:{_HOST}|{_IPV6})", re.ASCII)
_ANSWER_WITHIN_S = 1800.0  # after all is sent; a slow SD card allows hashing 10 MB per second
_NO_WAY = ("timed out", "no route to host", "unreachable", "host is down", "not responding")
_OPTIONS = (
    "BatchMode=yes",  # never asks: no password, no passphrase, no "continue connecting?"
    "ConnectTimeout=10",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
)


@dataclass(frozen=True, slots=True)
class Ssh:
    """Connection to a board.

    Attributes:
        address: `user@host`, or a host that ssh's configuration knows.
        port: None leaves it to ssh's configuration.
        identity: a private key's file; None leaves it to ssh's configuration and agent.
    """

    address: str
    port: int | None = None
    identity: Path | None = None

    def __post_init__(self) -> None:
        if not _ADDRESS.fullmatch(self.address):
            raise PushError(
                f"{shown(self.address)} is not the address of a board, expected user@host.", "A port goes into --port."
            )
        if self.identity is not None and not self.identity.is_file():
            raise PushError(f'There is no key file "{self.identity}".', "Name a private key with --identity.")

    def command(self, script: str, *parameters: str) -> list[str]:
        """The command line that starts ssh.  The board's login shell sees one command whose every word is quoted."""
        remote = " ".join(["exec sh -c", shlex.quote(script), "rkdeploy-push", *map(shlex.quote, parameters)])
        words = ["ssh", "-T", "-x"]
        for option in _OPTIONS:
            words += ["-o", option]
        if self.port is not None:
            words += ["-p", str(self.port)]
        if self.identity is not None:
            words += ["-i", str(self.identity), "-o", "IdentitiesOnly=yes"]
        return [*words, "--", self.address, remote]

    def run(self, script: str, *parameters: str, send: Callable[[BinaryIO], None] | None = None) -> Answer:
        """Run a script on the board; `send` writes to its stdin.

        Raises:
            PushError: when ssh is missing, or the connection failed.
        """
        try:
            process = subprocess.Popen(  # noqa: S603  (no local shell; the remote words are quoted)
                self.command(script, *parameters),
                stdin=subprocess.DEVNULL if send is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise PushError('The program "ssh" is missing.', "apt-get install openssh-client") from error
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = (OutputReader(stream, process.kill) for stream in (process.stdout, process.stderr))  # type: ignore[arg-type]
        try:
            if send is not None:
                _send(process, send)
            code = process.wait(_ANSWER_WITHIN_S)
        except subprocess.TimeoutExpired as error:
            raise PushError(
                f'The board "{self.address}" has not answered for {_ANSWER_WITHIN_S / 60:g} minutes.', "Restart it."
            ) from error
        finally:  # the board sees the stream end too early, and removes the partial copy
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        answer = Answer(code, facts_in(out.text()), err.text())
        _LOG.debug("%s answered with code %d: %s", self.address, code, answer.facts)
        if out.too_much or err.too_much:
            raise PushError(
                f'The board "{self.address}" sent more than {MAX_SAID_BYTES >> 20} MiB.',
                "Check the output of its login shell: ssh BOARD true",
            )
        if "refused" not in answer.facts and code != 0 and (code in {127, 255} or code < 0):
            raise connection_failure(self, answer)
        return answer


def connection_failure(ssh: Ssh, answer: Answer) -> PushError:
    """The error for ssh's output: what failed and what to do."""
    said, where = answer.stderr.lower(), f'"{ssh.address}"'
    own = f"ssh{f' -p {ssh.port}' if ssh.port else ''} {ssh.address}"
    if answer.code == 127:
        return PushError(f"The board {where} has no usable shell: {last_line(answer)}.", f"Try: {own} sh -c true")
    if "identification has changed" in said:
        return PushError(
            f"The host key of {where} is not the one known from before: another board, a new image, or an attack.",
            f"If you know why: ssh-keygen -R HOST, then {own}",
        )
    if "host key verification failed" in said:
        return PushError(f"The host key of {where} is not known here.", f"Connect once and compare it: {own}")
    if "permission denied" in said or "too many authentication failures" in said:
        key = f' with the key "{ssh.identity}"' if ssh.identity else ""
        return PushError(
            f"The board {where} refused the login{key}. rkdeploy does not ask for passwords.",
            f"Give the board your key: ssh-copy-id {own.removeprefix('ssh ')}",
        )
    if "could not resolve" in said:
        return PushError(f"The host of {where} is not known: no such name.", "Check it, or use the IP address.")
    if "connection refused" in said:
        return PushError(
            f"The host of {where} is reachable, but no ssh server answers.",
            "On the board: apt-get install openssh-server",
        )
    if any(words in said for words in _NO_WAY):
        return PushError(f"The board {where} cannot be reached: {last_line(answer)}.", "Check its power and network.")
    return PushError(f"The connection to {where} failed: {last_line(answer)}.", f"Try: {own}")


def _send(process: subprocess.Popen[bytes], send: Callable[[BinaryIO], None]) -> None:
    assert process.stdin is not None
    stream = process.stdin
    try:
        send(stream)  # type: ignore[arg-type]  # Popen types it as text or bytes
        stream.close()
    except BrokenPipeError:
        pass  # its exit code and output tell more


def last_line(answer: Answer) -> str:
    """The last line printed by the board or ssh, without its full stop."""
    lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else f"ssh ended with code {answer.code} without any output"

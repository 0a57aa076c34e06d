"""Pushing through the real ssh to a real sshd, on this machine's loopback."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rkdeploy.contract.bundle import read_bundle
from tests.board_install.small_bundle import program, write_bundle, write_program
from tests.command_line import rkdeploy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not program("sshd") or not program("ssh"), reason="sshd or ssh is not installed: bash tests/needs.sh"
    ),
]

USER = pwd.getpwuid(os.geteuid()).pw_name


class Server:
    """An sshd with keys of its own, and a client that knows its host key and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.home.mkdir()
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "authorized_keys").write_bytes((folder / "user.pub").read_bytes())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        host_key = (folder / "host.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        )
        self.use_known_hosts("known_hosts")

    def use_known_hosts(self, name: str) -> None:
        wrapper = f'#!/bin/sh\nexec {program("ssh")} -F none -o UserKnownHostsFile={self.folder}/{name} "$@"\n'
        write_program(self.folder / "bin" / "ssh", wrapper)

    def start(self, *words: str | Path, key: str = "user", port: int | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "rkdeploy", *self._arguments(words, key, port)],
            env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def push(self, *words: str | Path, key: str = "user", port: int | None = None) -> tuple[int, str]:
        ran = rkdeploy(*self._arguments(words, key, port), env=self._environment())
        return ran.returncode, ran.stdout + ran.stderr

    def _arguments(self, words: Sequence[str | Path], key: str, port: int | None) -> list[str]:
        to = [f"{USER}@127.0.0.1", "--home", self.home, "--port", port or self.port, "--identity", self.folder / key]
        return ["push", *map(str, [*words, *to])]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    def names(self) -> list[str]:
        return sorted(p.name for p in (self.home / "bundles").iterdir()) if (self.home / "bundles").is_dir() else []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd's own rule
    daemon = subprocess.Popen([program("sshd"), "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.PIPE)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", made.port), timeout=1):
                break
            time.sleep(0.05)
        yield made
    finally:
        daemon.terminate()
        daemon.communicate(timeout=10)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "best-rk3588-int8")


def test_push_and_back(server: Server, bundle: Path) -> None:
    """A bundle goes over, is whole and current; a newer one replaces it; --rollback brings the first back."""
    code, said = server.push(bundle)
    assert code == 0, said
    first = (server.home / "current").readlink()
    assert read_bundle(server.home / "current").rknn.read_bytes() == b"RKNN"
    assert server.push(write_bundle(bundle, os.urandom(3_000_000)))[0] == 0
    assert (server.home / "current").readlink() != first
    assert server.push("--rollback")[0] == 0
    assert (server.home / "current").readlink() == first


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_push_leaves_current(server: Server, bundle: Path, signal_number: signal.Signals) -> None:
    """Killed in the middle of the copy: `current` is untouched, and the board clears away what had arrived."""
    assert server.push(bundle)[0] == 0
    before = (server.home / "current").readlink(), server.names()
    with (bundle.parent / "large").open("wb") as large:
        large.truncate(200_000_000)
    newer = write_bundle(bundle.parent / "newer", (bundle.parent / "large").read_bytes())
    process = server.start(newer)
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size > 1_000_000 for p in (server.home / "bundles").glob(".*.partial-*/best.rknn")):
        assert (process.poll(), time.monotonic() < deadline) == (None, True)
        time.sleep(0.005)
    process.send_signal(signal_number)
    process.communicate(timeout=30)
    assert process.returncode != 0
    while server.names() != before[1] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ((server.home / "current").readlink(), server.names()) == before
    assert read_bundle(server.home / "current").rknn.read_bytes() == b"RKNN"


def test_refusals_of_the_real_ssh(server: Server, bundle: Path) -> None:
    """A key that is not allowed, an unknown and a changed host key, and a closed port: each says which it is."""
    assert "refused the login with the key" in " ".join(server.push(bundle, key="stranger")[1].split())
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        code, said = server.push(bundle, port=closed.getsockname()[1])
    assert (code, "no ssh server answers" in said) == (1, True), said
    server.use_known_hosts("nothing")
    code, said = server.push(bundle)
    assert (code, "is not known here" in said) == (1, True), said
    other = (server.folder / "stranger.pub").read_text()
    (server.folder / "nothing").write_text(f"[127.0.0.1]:{server.port} {other}")
    code, said = server.push(bundle)
    assert (code, "not the one known from before" in said) == (1, True), said
    assert not (server.home / "current").exists()


def test_a_board_that_runs_full(server: Server, bundle: Path) -> None:
    """A real file system without room: known before the copy, and `current` stays."""
    if os.geteuid() != 0 or subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "none", server.home], check=False, capture_output=True
    ).returncode:  # fmt: skip
        pytest.skip("a small file system needs root")
    try:
        assert server.push(bundle)[0] == 0
        current = (server.home / "current").readlink()
        code, said = server.push(write_bundle(bundle, os.urandom(9_000_000)))
        assert (code, "has no free space" in said) == (1, True), said
        assert (server.home / "current").readlink() == current
    finally:
        subprocess.run(["umount", server.home], check=True)

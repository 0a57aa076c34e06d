"""install.sh on an arm64 Debian 12, here under qemu: no NPU, and no running systemd."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.board_install.small_bundle import program

HERE = Path(__file__).parent
BOARD = HERE.parents[1] / "board"
KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
# useradd and userdel leave the file before their change and a lock, as on every Debian.
SHADOW_TOOLS = {f"etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow")} | {"etc/.pwd.lock"}
# A signal to the whole installation, as Ctrl-C sends it, once pip runs.
INTERRUPTED = """set -m
/kit/install.sh &
while kill -0 $! && ! [ -e /opt/rkdeploy.new/requirements.txt ]; do sleep 0.3; done
kill -- -$!
wait $!
"""
NOT_THE_DISK = ("dev", "proc", "tmp", "kit")


def namespaces() -> bool:
    """True where a process may have namespaces of its own for users and mounts: not in every container or chroot."""
    command = ["unshare", "--user", "--mount", "true"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or KERNEL < (6, 7), reason="a private binfmt handler: root, Linux 6.7"),
    pytest.mark.skipif(not namespaces(), reason="a private binfmt handler: no user namespaces here"),
    pytest.mark.skipif(
        not program("qemu-aarch64-static"), reason="qemu-aarch64-static is not installed: bash tests/needs.sh"
    ),
]  # fmt: skip

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arm64") / "root"
    subprocess.run(
        [HERE / "arm64_root.sh", folder], check=True, timeout=240, env={**os.environ, "PYTHON": sys.executable}
    )
    return folder


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    kit = tmp_path_factory.mktemp("kit") / "kit"
    subprocess.run(
        [BOARD / "make_wheels.sh", "--python", "3.11", "--out", kit],
        check=True, timeout=240, env={**os.environ, "PYTHON": sys.executable},
    )  # fmt: skip

    def run_there(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(HERE / "in_arm64_root.sh"), str(root), str(kit), *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert result.returncode == code, result.stdout + result.stderr
        return result

    return run_there


def listing(root: Path, *, times: bool = False) -> dict[str, tuple[object, ...]]:
    """Every name below a root with its kind, mode, owner and content, and, where asked for, its time and inode."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name not in NOT_THE_DISK]
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            content = ""
            if path.is_symlink():
                content = str(path.readlink())
            elif stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            moment = (status.st_mtime_ns, status.st_ino) if times else ()
            found[str(path.relative_to(root))] = (status.st_mode, status.st_uid, status.st_gid, content, *moment)
    return {name: facts for name, facts in found.items() if name not in SHADOW_TOOLS}


def test_install_twice_and_take_away(root: Path, run: Run) -> None:
    """A dry and an interrupted run change nothing, nor does a second run; removal is to the byte."""
    before = listing(root)

    dry = run("/kit/install.sh", "--dry-run")
    lines = (BOARD / "requirements.txt").read_text().splitlines()
    pinned = [line for line in lines if "==" in line and 'python_version >= "3.13"' not in line]
    planned = f'make "/opt/rkdeploy": rkdeploy and {len(pinned)} packages from /kit/wheels, Python 3.11'
    assert planned in dry.stdout
    assert (dry.stderr, "librknnrt.so: 2.5.0" in dry.stdout) == ("", True)
    assert listing(root) == before

    interrupted = run("/bin/bash", "-c", INTERRUPTED, code=143)
    assert "What was done has been taken back." in interrupted.stdout + interrupted.stderr
    assert listing(root) == before

    run("/kit/install.sh", "--enable")
    installed = listing(root, times=True)
    assert not [name for name in installed if name.startswith(("opt/rkdeploy.new", "opt/rkdeploy.old"))]
    assert (root / "etc/systemd/system/multi-user.target.wants/rkdeploy.service").is_symlink()
    assert oct((root / "var/lib/rkdeploy/bundles").stat().st_mode) == "0o42775"

    again = run("/kit/install.sh", "--enable")
    assert "Nothing to change." in again.stdout
    assert listing(root, times=True) == installed

    # Debian's own scripts would have compiled its library here; without them Python would do it now.
    imports = "rkdeploy --version && /opt/rkdeploy/bin/python -c 'import rknnlite.api, cv2, numpy'"
    works = run("/usr/bin/env", "PYTHONDONTWRITEBYTECODE=1", "/bin/sh", "-c", imports)
    assert works.stdout.startswith("rkdeploy ")
    for name in listing(root):  # nothing remembers where it was built
        if name.startswith(("opt/rkdeploy/bin/", "opt/rkdeploy/pyvenv")) and not (root / name).is_symlink():
            assert b"rkdeploy.new" not in (root / name).read_bytes()

    run("/kit/install.sh", "--uninstall")
    assert listing(root) == before

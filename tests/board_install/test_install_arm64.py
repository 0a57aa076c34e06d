"""install.sh on an arm64 Debian 12, here under qemu: no NPU, and no running systemd."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.board.board_files import write_bundle
from tests.board.sample_model import shim_text
from tests.board_install.small_bundle import program
from tests.device.messages.broker import Broker, Listener, free_port, until

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


def has_rtsp_server() -> bool:
    """True where the system's Python can serve an RTSP camera."""
    check = 'import gi; gi.require_version("GstRtspServer", "1.0")'
    return subprocess.run(["/usr/bin/python3", "-c", check], capture_output=True, check=False).returncode == 0


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

    def run_there(*words: str, code: int = 0, mounted: Path = kit) -> subprocess.CompletedProcess[str]:
        command = [str(HERE / "in_arm64_root.sh"), str(root), str(mounted), *words]
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


@pytest.fixture(scope="module")
def before(root: Path) -> dict[str, tuple[object, ...]]:
    """Listing of the root before anything is installed."""
    return listing(root)


@pytest.fixture(scope="module")
def installed(root: Path, run: Run, before: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Listing of the root, with times, after an installation; `before` is made first."""
    assert before
    run("/kit/install.sh", "--enable")
    return listing(root, times=True)


def test_a_dry_and_an_interrupted_run_change_nothing(
    root: Path, run: Run, before: dict[str, tuple[object, ...]]
) -> None:
    """One says what would be done, the other takes back what was done."""
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


def test_a_second_run_changes_nothing(root: Path, run: Run, installed: dict[str, tuple[object, ...]]) -> None:
    """Not a time stamp; the first one left nothing half-done."""
    assert not [name for name in installed if name.startswith(("opt/rkdeploy.new", "opt/rkdeploy.old"))]
    assert (root / "etc/systemd/system/multi-user.target.wants/rkdeploy.service").is_symlink()
    assert oct((root / "var/lib/rkdeploy/bundles").stat().st_mode) == "0o42775"

    again = run("/kit/install.sh", "--enable")
    assert "Nothing to change." in again.stdout
    assert listing(root, times=True) == installed


@pytest.mark.usefixtures("installed")
def test_what_is_installed_works(root: Path, run: Run) -> None:
    """The packages are imported, and nothing remembers where it was built."""
    # Debian's own scripts would have compiled its library here; without them Python would do it now.
    imports = "rkdeploy --version && /opt/rkdeploy/bin/python -c 'import rknnlite.api, cv2, numpy'"
    works = run("/usr/bin/env", "PYTHONDONTWRITEBYTECODE=1", "/bin/sh", "-c", imports)
    assert works.stdout.startswith("rkdeploy ")
    for name in listing(root):
        if name.startswith(("opt/rkdeploy/bin/", "opt/rkdeploy/pyvenv")) and not (root / name).is_symlink():
            assert b"rkdeploy.new" not in (root / name).read_bytes()


@pytest.mark.skipif(not program("mosquitto"), reason="mosquitto is not installed: bash tests/needs.sh")
@pytest.mark.skipif(not has_rtsp_server(), reason="Debian's gst-rtsp-server is not installed: bash tests/needs.sh")
@pytest.mark.usefixtures("installed")
def test_a_network_camera_becomes_messages(root: Path, run: Run, tmp_path: Path) -> None:
    """The page on a camera as a service, command by command, but for systemd: what the unit starts sends counts of an
    RTSP camera to a broker, on a stand-in for the runtime.
    """
    broker, port = Broker(program("mosquitto"), tmp_path), free_port()
    kit = tmp_path / "kit"
    kit.mkdir()
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu"]
    source = BOARD.parent / "tests" / "board" / "librknnrt_shim.c"
    subprocess.run([*zig, "-O1", "-shared", "-fPIC", "-o", kit / "runtime.so", source, "-lm", "-lpthread"], check=True)
    (kit / "model.txt").write_text(shim_text())
    bundle = write_bundle(tmp_path / "best", toolkit="2.5.0").folder
    placed = root / "var/lib/rkdeploy/bundles/best"
    shutil.copytree(bundle, placed)
    (root / "var/lib/rkdeploy/current").symlink_to("bundles/best")
    config, arguments = root / "etc/rkdeploy/line.toml", root / "etc/rkdeploy/run.conf"
    kept = arguments.read_text()
    words = f"rtsp://127.0.0.1:{port}/cam --mqtt mqtt://127.0.0.1:{broker.port}/yard --mqtt-every 0 --max-frames 15"
    environment = (
        "PYTHONDONTWRITEBYTECODE=1",
        "RKDEPLOY_LIBRKNNRT=/kit/runtime.so",
        "RKNN_SHIM_SPEC=/kit/model.txt",
    )
    server = BOARD.parent / "tests" / "device" / "stream" / "rtsp_camera.py"
    started = unit_command(root)
    broker.start()
    try:
        printed = run("/usr/bin/env", *environment, "rkdeploy", "run", *words.split(), "--print-config").stdout
        config.write_text(printed)
        arguments.write_text('RKDEPLOY_RUN_ARGS="--config /etc/rkdeploy/line.toml"\n')
        with (
            subprocess.Popen(["/usr/bin/python3", server, str(port)], stdout=subprocess.PIPE, text=True) as camera,
            Listener(broker.port) as listener,
        ):
            assert camera.stdout is not None
            assert camera.stdout.readline() == "ready\n"
            run("/usr/bin/env", *environment, "/bin/sh", "-c", started, mounted=kit)
            until(lambda: listener.last.get("yard/status") == "offline", "the run has said goodbye")
            camera.kill()
    finally:
        broker.kill()
        arguments.write_text(kept)
        config.unlink(missing_ok=True)
        (root / "var/lib/rkdeploy/current").unlink()
        shutil.rmtree(placed)
    counts = json.loads(listener.last[f"yard/127.0.0.1_{port}_cam/counts"])
    assert counts["time"].endswith("Z")
    assert ("yard/status", "online") in listener.all


def unit_command(root: Path) -> str:
    """A shell line that does as systemd does with the unit: its folder, its file of variables, its command."""
    unit = dict(
        line.split("=", 1)
        for line in (root / "etc/systemd/system/rkdeploy.service").read_text().splitlines()
        if line.startswith(("ExecStart=", "WorkingDirectory=", "EnvironmentFile="))
    )
    return f". {unit['EnvironmentFile']} && cd {unit['WorkingDirectory']} && exec {unit['ExecStart']}"


@pytest.mark.usefixtures("installed")
def test_removal_is_to_the_byte(root: Path, run: Run, before: dict[str, tuple[object, ...]]) -> None:
    """Nothing that was installed is left, and nothing else is gone."""
    run("/kit/install.sh", "--uninstall")
    assert listing(root) == before

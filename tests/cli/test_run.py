"""`rkdeploy run` as a user meets it, with a stand-in network."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.board.board_files import write_bundle
from tests.board.shim import Shim
from tests.cli.run_with_stand_ins import stand_in_network
from tests.command_line import rkdeploy, without_times

ROOT = Path(__file__).parents[2]
BACKEND = ("--backend", "onnxruntime")  # never opened
VAL = ROOT / "calib_data" / "images" / "val"


def command(*arguments: str | Path, ms: float = 0.0) -> list[str]:
    program = [sys.executable, "-m", "tests.cli.run_with_stand_ins", str(ms), "-"]
    return [*program, "run", "x.rknn", *BACKEND, *map(str, arguments)]


def run(*arguments: str | Path, ms: float = 0.0, failing: str = "-") -> subprocess.CompletedProcess[str]:
    with stand_in_network(ms, failing):
        return rkdeploy("run", "x.rknn", *BACKEND, *arguments)


def write_video(path: Path, count: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for i in range(count):
        writer.write(np.full((48, 64, 3), i % 200, np.uint8))
    writer.release()
    return path


def frame_count(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    return count


def test_a_lone_model_file_is_named_before_a_missing_source(tmp_path: Path) -> None:
    """No option mends a model without its contract, so that is said also where a source is missing too."""
    lone = tmp_path / "x.rknn"
    lone.write_bytes(b"RKNN")
    result = rkdeploy("run", lone)
    assert result.returncode == 1
    assert "is one file, and a bundle is needed" in result.stderr.replace("\n", " ")


def test_a_video_on_three_contexts(tmp_path: Path) -> None:
    """Every frame of a file goes to both sinks in order; the summary gives the rate, and that it is not an NPU's
    figure.
    """
    video = write_video(tmp_path / "v.avi", 60)
    result = run(video, "--cores", "0,1,2", "--save", tmp_path / "o", "-o", tmp_path / "o.jsonl", ms=2)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(60))
    assert {line["detections"][0]["class_name"] for line in lines} == {"value 7"}
    assert frame_count(tmp_path / "o" / "v.mp4") == 60
    assert "60 frames: 60 value 7" in result.stdout
    assert "3 contexts (a stand-in)" in result.stdout
    assert "p50/p99 ms: capture" in result.stdout


@pytest.mark.parametrize(
    ("number", "line"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")],
)
def test_a_signal_ends_it_cleanly(number: signal.Signals, line: str, tmp_path: Path) -> None:
    """The signal's exit code, one line that says so, a video that plays and as many JSON lines as it has frames."""
    video = write_video(tmp_path / "v.avi", 3000)
    save, jsonl = tmp_path / "o", tmp_path / "o.jsonl"
    with subprocess.Popen(
        command(video, "--save", save, "-o", jsonl, ms=5),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        end = time.monotonic() + 30
        while sum(path.stat().st_size for path in tmp_path.glob("o.jsonl")) < 4000:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number, stderr
    assert stderr.splitlines()[1:] == [line]
    assert "Traceback" not in stderr
    lines = jsonl.read_text().splitlines()
    assert 10 < len(lines) < 3000
    assert [json.loads(line)["frame"] for line in lines] == list(range(len(lines)))
    assert frame_count(save / "v.mp4") == len(lines)
    assert f"{len(lines)} frames: " in stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o", "o.jsonl", "v.avi"]


def test_a_failed_frame_of_a_file_is_told(tmp_path: Path) -> None:
    """The other frames are answered and written; the run reports the failed share and the reason, and does not
    succeed.
    """
    jsonl = tmp_path / "o.jsonl"
    result = run(write_video(tmp_path / "v.avi", 10), "-o", jsonl, failing="3")
    assert result.returncode == 1
    assert result.stderr.count("error:") == 1
    assert "rknn_run answered -1" in result.stderr
    assert "3 of 10 frames failed" in result.stderr
    assert "Contexts were opened again 3 times." in result.stdout  # the third call of each new one fails, too
    frames = [json.loads(line)["frame"] for line in jsonl.read_text().splitlines()]
    assert frames == [0, 1, 3, 4, 6, 7, 9]


def test_a_dead_runtime_ends_it(tmp_path: Path) -> None:
    """When every call fails there is one error with the cause, code 1, and no half-written file."""
    result = run(write_video(tmp_path / "v.avi", 30), "-o", tmp_path / "o.jsonl", failing="all")
    assert result.returncode == 1
    assert "failed 5 times in a row. The last failure: rknn_run answered -1." in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["v.avi"]


def test_quiet_and_max_frames(tmp_path: Path) -> None:
    """--quiet leaves nothing but the JSON lines; --max-frames ends after so many."""
    result = run(write_video(tmp_path / "v.avi", 30), "--json", "--quiet", "--max-frames", "4")
    assert result.returncode == 0
    assert [json.loads(line)["frame"] for line in result.stdout.splitlines()] == [0, 1, 2, 3]
    assert result.stderr == ""


def test_without_sinks_a_line_a_frame() -> None:
    """With nothing to save, each frame is reported on stderr."""
    result = run(VAL / "val_0000.jpg")
    assert result.returncode == 0
    assert "val_0000.jpg [0]: 1 value 7" in result.stderr
    assert result.stdout.startswith("1 frame: 1 value 7\n")


def test_a_run_that_read_nothing_is_no_success(tmp_path: Path) -> None:
    """One error that says so, and the results of the run before are still there; --allow-empty takes it as it is."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"no picture")
    jsonl = tmp_path / "o.jsonl"
    jsonl.write_text("before\n")
    arguments = (tmp_path / "images", "-o", jsonl)
    result = run(*arguments)
    assert result.returncode == 1
    assert "has a result (1 file could not be read)" in result.stderr
    assert "--allow-empty" in result.stderr
    assert jsonl.read_text() == "before\n"
    allowed = run(*arguments, "--allow-empty")
    assert (allowed.returncode, jsonl.read_text()) == (0, "")
    assert "0 frames: nothing" in allowed.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x.mp4", "--camera", "0"],
        ["x.mp4", "--size", "640x480"],
        ["x.mp4", "--map-masks"],
        ["--camera", "0", "--size", "big"],
        ["x.mp4", "--cores", "a"],
        ["x.mp4", "--backend", "tpu"],
        ["--camera", "-1"],
    ],
)
def test_wrong_usage_is_code_2(arguments: list[str]) -> None:
    """Contradictory arguments are refused before anything is opened."""
    assert run(*arguments).returncode == 2


def test_known_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing camera, a stream that is not there and a missing display are one message each.

    In a process, as FFmpeg reads when it is first used whether it may talk.
    """
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for arguments, says in (
        (["--camera", "63"], "Camera 63 cannot be opened"),
        (["rtsp://admin:secret@127.0.0.1:1/x"], 'Stream "rtsp://***@127.0.0.1:1/x" cannot be opened'),
        ([str(VAL), "--show"], "--show needs a display"),
    ):
        result = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 1
        assert says in result.stderr
        assert "secret" not in result.stdout + result.stderr
        assert result.stderr.startswith("error:")  # OpenCV and FFmpeg say nothing of their own
        assert result.stderr.count("\n") == 2, result.stderr


def test_record_and_replay(make_shim: Callable[..., Shim], tmp_path: Path) -> None:
    """A recording of three contexts by --record is played by --replay on any number, without a runtime: the same
    JSON.
    """
    make_shim()
    bundle = write_bundle(tmp_path / "best", recorded=False).folder
    base = ("run", bundle, VAL, "--max-frames", "12", "--json")
    live = rkdeploy(*base, "--backend", "librknnrt", "--cores", "0,1,2", "--record", tmp_path / "r")
    assert live.returncode == 0, live.stderr
    assert len(live.stdout.splitlines()) == 12
    assert any(json.loads(line)["detections"] for line in live.stdout.splitlines())
    assert f"Recorded: {tmp_path / 'r'}" in live.stderr.replace("\n", "")
    make_shim(fail="rknn_init:-3")
    for more in ((), ("--cores", "0,1"), ("--backend", "replay")):
        played = rkdeploy(*base, "--replay", tmp_path / "r", *more)
        assert played.returncode == 0, played.stderr
        assert without_times(played.stdout) == without_times(live.stdout)
        assert "a recording of librknnrt 2.3.2 (shim@" in played.stderr.replace("\n", " ")
    again = rkdeploy(*base, "--replay", tmp_path / "r", "--record", tmp_path / "r")
    assert again.returncode == 1
    assert "is not empty; a recording needs a folder of its own" in " ".join(again.stderr.split())
    other = rkdeploy("run", bundle, VAL / "val_0050.jpg", "--replay", tmp_path / "r")
    assert other.returncode == 1
    assert "does not hold this image" in " ".join(other.stderr.split())
    assert rkdeploy(*base, "--replay", tmp_path / "r", "--backend", "librknnrt").returncode == 2


@pytest.mark.parametrize("command", ["run", "profile"])
def test_the_toolkits_interpreter_is_handed_over(tmp_path: Path, command: str) -> None:
    """--toolkit-python names the interpreter of the simulator, as it does for build."""
    bundle = write_bundle(tmp_path / "best").folder
    (bundle.parent / "python").write_text("#!/bin/sh\nexit 3\n")
    given = ("--toolkit-python", tmp_path / "python", "--backend", "simulator", VAL / "val_0000.jpg")
    ran = rkdeploy(command, bundle, *given)
    assert ran.returncode == 1
    assert str(tmp_path / "python") in "".join(ran.stderr.split("\n  "))
    assert "Traceback" not in ran.stderr


def test_the_simulator_needs_the_record(tmp_path: Path) -> None:
    """A bundle that was made small for a board says what it lacks."""
    bundle = write_bundle(tmp_path / "best", recorded=False).folder
    ran = rkdeploy("run", bundle, "--backend", "simulator", VAL / "val_0000.jpg")
    assert ran.returncode == 1
    assert "has no build.json" in " ".join(ran.stderr.split())

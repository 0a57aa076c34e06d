"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rkdeploy.option import read_size
from tests.command_line import rkdeploy

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "calib_data" / "best.pt"
CALIB = ("--calib", SAMPLE.parent)
REFERENCE = ROOT / "tests" / "data" / "yolov5"


def test_inspect_shows_the_anchors() -> None:
    """The sample's anchors in pixels, and that they are not COCO's."""
    result = rkdeploy("inspect", SAMPLE)
    assert result.returncode == 0, result.stderr
    assert "20.2031,19.8281" in result.stdout
    assert "Not COCO's default anchors" in result.stdout
    assert "1,767,976" in result.stdout


def test_inspect_json_is_complete() -> None:
    """--json prints one document with the same facts."""
    facts = json.loads(rkdeploy("inspect", SAMPLE, "--json").stdout)
    assert facts["class_names"] == ["bolt", "nut", "washer"]
    assert facts["anchors"]["levels_px"][2][1] == [31.609375, 61.21875]
    assert facts["anchor_comparison"]["are_defaults"] is False
    assert facts["training"]["image_size"] == 384


def test_help_needs_nothing() -> None:
    """--help and --version work at once, on every command."""
    assert rkdeploy("--version").stdout.startswith("rkdeploy ")
    for command in ("inspect", "build", "run"):
        assert "Usage" in rkdeploy(command, "--help").stdout


def test_wrong_usage_is_code_2() -> None:
    """An unknown option or a missing argument is usage, not failure."""
    assert rkdeploy("build").returncode == 2
    assert rkdeploy("build", SAMPLE, "--nonsense").returncode == 2
    assert rkdeploy("build", SAMPLE, "--imgsz", "big").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "missing.pt"], 'Cannot read "missing.pt"'),
        (["build", "missing.pt"], 'Cannot read "missing.pt"'),
        (["build", "best.engine"], "expected .pt, .pth, .weights or .onnx"),
        (["build", SAMPLE, *CALIB, "--imgsz", "384x400"], "not a multiple of the largest stride, 32"),
        (["build", SAMPLE, *CALIB, "--weights", SAMPLE], "is a checkpoint itself"),
        (["build", SAMPLE, *CALIB, "--sigmoid", "scores"], "Add --split boxes_scores"),
        (["build", SAMPLE, *CALIB, "--min-agreement", "90"], "expected a share from 0 to 1"),
        (["run", "nowhere", "x.jpg"], "is not a bundle"),
        (["run", "x.jpg"], "There is no bundle"),
    ],
)
def test_known_failures(arguments: list[str | Path], message: str, tmp_path: Path) -> None:
    """One message on stderr, exit code 1, no traceback, nothing written."""
    result = rkdeploy(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_int8_without_images_is_refused(tmp_path: Path) -> None:
    """No calibration set is an error for int8; random data is never an answer."""
    result = rkdeploy("build", SAMPLE, cwd=tmp_path)
    assert result.returncode == 1
    assert "--calib" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    """Without the host's packages inspect still works, and build says what to install, with no traceback."""
    blocked = (
        "import sys; sys.modules['onnx'] = None; sys.argv[0] = 'rkdeploy'\nfrom rkdeploy.cli.entry import main; main()"
    )
    for command, code in (("inspect", 0), ("build", 1)):
        result = subprocess.run(
            [sys.executable, "-c", blocked, command, str(SAMPLE)],
            cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
    assert 'needs the package "onnx"' in result.stderr
    assert "rkdeploy[graph]" in result.stderr


@pytest.mark.parametrize(
    ("library", "hint"), [("libxcb.so.1", "apt install libxcb1"), ("libother-2.so", "the system's package")]
)
def test_a_missing_system_library_is_named(library: str, hint: str, tmp_path: Path) -> None:
    """OpenCV's wheel on a system without a desktop: one message, no traceback."""
    (tmp_path / "cv2.py").write_text(
        f'raise ImportError("{library}: cannot open shared object file: No such file or directory")'
    )
    (tmp_path / "a.jpg").write_bytes(b"")
    result = subprocess.run(
        [sys.executable, "-m", "rkdeploy", "run", "a.jpg"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert f'The system library "{library}" is missing' in result.stderr
    assert hint in result.stderr


def test_the_help_of_run_needs_no_arrays() -> None:
    """`rkdeploy run -h` imports neither numpy nor OpenCV nor the documents' types, on which a board spends a second."""
    heavy = {"numpy", "cv2", "msgspec"}
    code = (
        "import sys, rkdeploy.cli.run, rkdeploy.cli.main as m; m.loaded('run', 'run:run_command')\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("text", "size"), [("640", (640, 640)), ("640x384", (384, 640)), ("640X384", (384, 640))])
def test_size(text: str, size: tuple[int, int]) -> None:
    """One number is a square, two are width and height."""
    assert read_size(text) == size


@pytest.mark.slow
def test_fp16_non_square_build_and_run(tmp_path: Path) -> None:
    """A size WIDTHxHEIGHT, fp16, another target; then a run that finds the bundle by itself."""
    built = rkdeploy(
        "build", SAMPLE, "--dtype", "fp16", "--imgsz", "384x256", "--target", "rk3576", "--calib",
        ROOT / "calib_data", "--proof-count", "2", cwd=tmp_path,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "384x256" in built.stdout
    bundle = tmp_path / "build" / "best-rk3576-fp16"
    contract = json.loads((bundle / "contract.json").read_text())
    assert [o["shape"][2:] for o in contract["outputs"]] == [[32, 48], [16, 24], [8, 12]]
    image = ROOT / "calib_data" / "images" / "val" / "val_0000.jpg"
    ran = rkdeploy("run", image, "--json", "--conf", "0.5", "--conf", "bolt=0.99", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "the only bundle" in ran.stderr
    (line,) = ran.stdout.splitlines()
    names = {d["class_name"] for d in json.loads(line)["detections"]}
    assert "nut" in names
    assert "bolt" not in names


@pytest.mark.slow
def test_focus_as_convolution_reads_in_opencv(tmp_path: Path) -> None:
    """A v5.0 checkpoint with its Focus written as a convolution builds, and OpenCV runs it."""
    built = rkdeploy(
        "build", REFERENCE / "v5_s_focus_spp.pt", "--stem", "convolution", "--imgsz", "128", "--calib",
        ROOT / "calib_data", "--calib-count", "5", "--min-agreement", "0", "--no-remedies", "--proof-count", "2",
        cwd=tmp_path,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    image = ROOT / "calib_data" / "images" / "val" / "val_0000.jpg"
    ran = rkdeploy("run", image, "--backend", "opencv_dnn", "--save", "drawn", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert [p.name for p in (tmp_path / "drawn").iterdir()] == ["val_0000.jpg"]

"""Doing in small what the commands do, with packages that are whole and with one that is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import tomllib

from rkdeploy.device.profiling.package_versions import installed
from rkdeploy.doctor.tested_versions import read_known_versions
from rkdeploy.doctor.trial_process import Trial, read_trials, try_work
from rkdeploy.doctor.trials import TRIALS, VIDEO, VIDEO_GRAYS
from tests.doctor.make_trial_video import SIZE_WH

ROOT = Path(__file__).parents[2]
ALL = {"onnx", "onnxsim", "onnxruntime", "jinja2", "pycocotools", "starlette", "uvicorn"}
_NO_VIDEO = """
import os, cv2
os.environ["RKDEPLOY_VIDEO"] = "opencv"
capture = cv2.VideoCapture
cv2.VideoCapture = lambda *_: capture()
"""


def test_every_command_works_here() -> None:
    """Every trial passes whose packages are in the tests' environment."""
    trials = try_work(installed(ALL))
    assert {trial.error for trial in trials} == {""}
    assert len(trials) == (len(TRIALS) if installed(ALL).keys() == ALL else len(trials))
    assert try_work({}) == (Trial("run", ""),)


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("import cv2\ndel cv2.imencode\n", "AttributeError: "),
        ("import sys\nsys.modules['cv2'] = None\n", "ModuleNotFoundError: "),
        ("import os, cv2\ncv2.imencode = lambda *_: os.abort()\n", "ended by signal 6"),
        ("import cv2\ncv2.videoio_registry.getCameraBackends = lambda: ()\n", "is built without V4L2"),
        (_NO_VIDEO, "H.264 video is not decoded by OpenCV"),
        ("import cv2\ncv2.imencode = lambda *_: print('[1, 2]') or (False, None)\n", "no PNG was encoded"),
    ],
    ids=["a function that is gone", "no package", "a crash", "no cameras", "no decoder of video", "a wrong answer"],
)
def test_an_opencv_that_breaks_run(tmp_path: Path, broken: str, error: str) -> None:
    """The doctor tells what `run` would meet, as a problem and with exit code 1, and does not die of it."""
    (tmp_path / "sitecustomize.py").write_text(broken)
    ran = subprocess.run(
        [sys.executable, "-m", "rkdeploy", "doctor", "--no-toolkit", "--sysroot", tmp_path, tmp_path / "bundle"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "problem  trial run" in ran.stdout
    assert "rkdeploy run: " in ran.stdout
    assert error in ran.stdout
    assert "No problems." not in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr


def test_the_trial_video_is_what_its_script_makes() -> None:
    """An H.264 video of the sizes and gray values that the trial expects, of less than 2 KB."""
    av = pytest.importorskip("av")
    with av.open(str(VIDEO)) as container:
        stream = container.streams.video[0]
        found = [round(float(frame.to_ndarray(format="bgr24").mean())) for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", *SIZE_WH)
    assert found == pytest.approx(VIDEO_GRAYS, abs=5)
    assert VIDEO.stat().st_size < 2048


def test_reading_the_lines_of_the_child() -> None:
    """The first error of a command counts, one that was begun and not ended too; foreign lines are passed over."""
    lines = [
        '["run", "images", "begun"]', "hello", '["run", "images", "E: 1"]', '["run", "drawing", "E: 2"]',
        '["eval", "accuracy", ""]', '["build", "graph", "begun"]',
    ]  # fmt: skip
    assert read_trials(lines, "died") == {"run": "E: 1", "eval": "", "build": "died"}


def test_bounds_are_those_of_the_project() -> None:
    """The doctor's reference versions are those of pyproject.toml, and hold in the tests' environment."""
    tested = read_known_versions()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(tested.python.split(",")) == set(project["requires-python"].split(","))
    numpy = next(one for one in tested.packages if one.package == "numpy")
    stated = next(text for text in project["dependencies"] if text.startswith("numpy") and "< '3.13'" in text)
    if sys.version_info < (3, 13):
        assert set(numpy.bounds.split(",")) == set(stated.partition(" ;")[0].removeprefix("numpy").split(","))
    assert (numpy.extra, version("numpy") != "") == ("", True)
    extras = {one.extra for one in tested.packages}
    assert {"", "graph", "eval", "report", "web", "tune"} <= extras
    assert "pytest" not in {one.package for one in tested.packages}

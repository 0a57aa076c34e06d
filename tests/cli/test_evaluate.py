"""`rkdeploy eval` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.accuracy.tiny_model import make_bundle, make_data
from tests.command_line import rkdeploy

COMMAND = (sys.executable, "-m", "rkdeploy", "eval")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    make_bundle(tmp_path / "b")
    make_data(tmp_path / "set")
    return [str(tmp_path / "b"), "--data", str(tmp_path / "set/data.yaml"), "--backend", "onnxruntime"]


def test_the_table(arguments: list[str]) -> None:
    """Figures, classes and their source on stdout; no progress where there is no terminal."""
    result = rkdeploy("eval", *arguments, "--workers", "2")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "boxes (IoU)" in result.stdout
    assert "onnxruntime 1." in result.stdout
    assert "val split" in result.stdout


def test_json(arguments: list[str]) -> None:
    """One document with every figure."""
    report = json.loads(rkdeploy("eval", *arguments, "--json", "--conf", "0.95").stdout)
    found = report["evaluations"][0]["objects"][0]
    assert found["classes"][0] | {"map50": 0, "map50_95": 0} == {
        "name": "bolt", "truths": 10, "map50": 0, "map50_95": 0, "precision": None, "recall": 0.0
    }  # fmt: skip
    assert report["confidence"] == "0.95"


def test_the_report_finds_the_result(arguments: list[str], tmp_path: Path) -> None:
    """It is kept next to the bundle, and not taken for another model of the same name, nor twice."""
    printed = rkdeploy("eval", *arguments, "--json").stdout
    kept = tmp_path / "b.eval" / "eval.json"
    assert kept.read_text() == printed

    def evaluations(*more: Path) -> int:
        result = rkdeploy("report", tmp_path / "b", *more, "--json")
        assert result.returncode == 0, result.stderr
        return len(json.loads(result.stdout)["models"][0]["accuracy"])

    assert evaluations() == evaluations(kept) == 1
    kept.write_text(printed.replace(json.loads(printed)["model_sha256"], "0" * 64))  # before it was built again
    assert evaluations() == 0


def test_two_backends_side_by_side(arguments: list[str]) -> None:
    """Both columns, and the change between them."""
    result = rkdeploy("eval", *arguments, "--backend", "opencv_dnn")
    assert result.returncode == 0, result.stderr
    assert "Change: mAP50" in result.stdout
    assert "OpenCV" in result.stdout


def test_what_fails(arguments: list[str], tmp_path: Path) -> None:
    """A known failure is one message and code 1; wrong usage is code 2."""
    missing = rkdeploy("eval", arguments[0], "--data", str(tmp_path / "none.yaml"))
    assert missing.returncode == 1
    assert "does not exist" in missing.stderr
    assert "Traceback" not in missing.stderr
    assert rkdeploy("eval", arguments[0]).returncode == 2
    assert rkdeploy("eval", *arguments, "--backend", "abacus").returncode == 2
    assert rkdeploy("eval", *arguments, "--workers", "0").returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_is_clean(arguments: list[str], tmp_path: Path, workers: str) -> None:
    """Interrupted as a terminal does it, the whole group at once: code 130, one word, and no process left."""
    make_data(tmp_path / "many", 3000)
    process = subprocess.Popen(
        [*COMMAND, *arguments[:2], str(tmp_path / "many/data.yaml"), *arguments[3:], "--workers", workers],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("b.eval/*/part-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.strip() == "interrupted"
    assert _ended(process.pid)
    assert list(tmp_path.glob("b.eval/*/part-*"))
    assert not list(tmp_path.glob("b.eval/*/*.partial*"))


def _ended(group: int) -> bool:
    """True if all processes of a group end: Python's own tracker of shared memory follows a moment later."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False

"""Evaluations: their figures, several workers, stopping and going on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rkdeploy.accuracy.evaluation import EvaluationOptions, evaluate
from rkdeploy.accuracy.prediction_store import default_folder
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.bundle import Bundle
from rkdeploy.datasets.truth import DataError
from rkdeploy.errors import RkdeployError
from rkdeploy.system import worker_processes
from rkdeploy.system.piped_process import PipedProcess
from tests.accuracy.tiny_model import make_bundle, make_data

Run = Callable[..., AccuracyReport]


def silent(_backend: str, _done: int, _total: int) -> None:
    """A progress callback that does nothing."""


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "best-rk3588-int8")


@pytest.fixture
def options(tmp_path: Path) -> EvaluationOptions:
    return EvaluationOptions(make_data(tmp_path / "set"), backends=("onnxruntime",))


def test_figures_by_hand(bundle: Bundle, options: EvaluationOptions) -> None:
    """Ten of twenty images show the bolt that is said of all: half of what is said is right, all is found.

    All have one score, and stand in the order of the images, right, wrong, right, ...: precision is 1 at first, then
    near 1/2.
    """
    report = evaluate(bundle, options, silent)
    found = report.evaluations[0].objects[0]
    bolt = found.classes[0]
    assert (bolt.truths, bolt.precision, bolt.recall) == (10, 0.5, 1.0)
    hits = [(2 * k - 1, k) for k in range(1, 11)]  # the k-th hit is said at place 2k - 1
    precisions = [k / place for place, k in hits]
    coco = sum(max(precisions[max(0, -(-r // 10) - 1) :]) for r in range(101)) / 101
    assert found.coco_map50_95 == pytest.approx(coco, abs=1e-4)  # the tool compares recalls as floats
    assert report.validator == "YOLOv5's val.py"
    assert report.evaluations[0].figures_from.startswith("onnxruntime")
    assert report.evaluations[0].computes == "float"


def test_unreadable_images_alone_are_nothing_measured(bundle: Bundle, options: EvaluationOptions) -> None:
    """If not one image can be read there is no figure, and so no success."""
    for image in options.data.parent.rglob("*.png"):
        image.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"No image of the val split of .* could be read: "):
        evaluate(bundle, options, silent)


def test_workers_agree(bundle: Bundle, options: EvaluationOptions, tmp_path: Path) -> None:
    """Two processes give the figures of one."""
    one = evaluate(bundle, replace(options, state=tmp_path / "one"), silent)
    two = evaluate(bundle, replace(options, state=tmp_path / "two", workers=2), silent)
    assert one == two


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_run_goes_on(bundle: Bundle, options: EvaluationOptions, workers: int) -> None:
    """After Ctrl-C the parts that are done are not computed again, no process is left, and the figures are the same."""
    seen: list[int] = []

    def stop(_backend: str, done: int, _total: int) -> None:
        if done >= 17:
            raise KeyboardInterrupt

    def watch(_backend: str, done: int, _total: int) -> None:
        seen.append(done)

    with pytest.raises(KeyboardInterrupt):
        evaluate(bundle, replace(options, workers=workers), stop)
    again = evaluate(bundle, replace(options, workers=workers), watch)
    assert seen[0] in (8, 12, 16)  # whole parts, of 8, 8 and 4 images
    assert seen[-1] == 20
    fresh = evaluate(bundle, replace(options, fresh=True), silent)
    assert again == fresh
    seen.clear()
    evaluate(bundle, replace(options, confidences=("0.95",)), watch)
    assert seen == [20]  # another confidence needs no prediction


def test_what_predictions_depend_on(bundle: Bundle, options: EvaluationOptions, tmp_path: Path) -> None:
    """Another threshold, another image or another build computes anew; of other builds nothing is kept."""
    seen: list[int] = []

    def first(_backend: str, done: int, _total: int) -> None:
        seen.append(done)

    def starts_at(changed: EvaluationOptions) -> int:
        seen.clear()
        evaluate(bundle, changed, first)
        return seen[0]

    assert starts_at(options) == 0
    assert starts_at(replace(options, iou=0.5)) == 0
    assert starts_at(replace(options, best_class=True)) == 0
    assert starts_at(options) == 20
    picture = tmp_path / "set/images/val/001.png"
    os.utime(picture, ns=(1, 1))
    assert starts_at(options) == 0
    base = default_folder(bundle)
    assert len(list(base.glob("*/"))) == 4
    about = next(base.glob("*/about.json"))
    about.write_text(json.dumps(json.loads(about.read_text()) | {"bundle": "0" * 64}))
    assert starts_at(options) in (0, 20)
    assert len(list(base.glob("*/"))) in (3, 4)
    assert not any(json.loads(a.read_text())["bundle"] == "0" * 64 for a in base.glob("*/about.json"))


def test_a_damaged_part_is_computed_again(bundle: Bundle, options: EvaluationOptions) -> None:
    """Cut off or of other images: the part is not trusted."""
    expected = evaluate(bundle, options, silent)
    parts = sorted(default_folder(bundle).glob("*/part-*.msgpack"))
    assert len(parts) == 3
    parts[0].write_bytes(parts[0].read_bytes()[:50])
    parts[1].write_bytes(parts[2].read_bytes())
    seen: list[int] = []
    again = evaluate(bundle, options, lambda _backend, done, _total: seen.append(done))
    assert seen[0] == 4
    assert again == expected


def test_a_backend_that_cannot_open_says_so(bundle: Bundle, options: EvaluationOptions) -> None:
    """From a worker as from this process: one message."""
    (bundle.folder / "best-cut.onnx").write_bytes(b"nothing")
    for workers in (1, 2):
        with pytest.raises(RkdeployError, match="cannot open"):
            evaluate(bundle, replace(options, workers=workers), silent)


def test_a_killed_worker_is_noticed(
    bundle: Bundle, options: EvaluationOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signal is named; what is done is kept, and the next run goes on."""
    pids: list[int] = []

    class Remembered(PipedProcess):
        def __init__(self, name: str, work: Callable[..., None], arguments: Sequence[Any], stop_s: float) -> None:
            super().__init__(name, work, arguments, stop_s)
            pids.append(self.pid)

    def kill(_backend: str, done: int, _total: int) -> None:
        if done == 3:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(worker_processes, "PipedProcess", Remembered)
    with pytest.raises(RkdeployError, match="killed by signal 9"):
        evaluate(bundle, replace(options, workers=2), kill)
    assert evaluate(bundle, options, silent).evaluations[0].images == 20


def test_a_place_that_cannot_be_written(bundle: Bundle, options: EvaluationOptions, tmp_path: Path) -> None:
    """The error has a hint."""
    (tmp_path / "file").touch()
    with pytest.raises(RkdeployError, match="cannot be kept") as caught:
        evaluate(bundle, replace(options, state=tmp_path / "file" / "x"), silent)
    assert "--state" in caught.value.hint

"""Calls of a model: one image, lists, threads, asyncio, failures, closing."""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

import rkdeploy
from rkdeploy.api.model import _per_class
from rkdeploy.contract.bundle import Bundle
from rkdeploy.errors import BackendError, BundleError, RkdeployError, SourceError
from tests.api.stand_in_model import Opened, gray, stand_in_model
from tests.device.stream.stand_ins import WAIT_S


def test_one_image_and_a_list(tmp_path: Path) -> None:
    """An array, a path as text, a Path, and a list of all: each has its own answer and knows its source."""
    file = tmp_path / "nine.png"
    cv2.imwrite(str(file), gray(9))
    with stand_in_model(Opened()) as model:
        assert list(model(gray(7)).boxes.class_id) == [7]
        assert model(file).source == model(str(file)).source == file.as_posix()
        results = model([gray(1), file, gray(3, side=64)])
    assert [list(result.boxes.class_id) for result in results] == [[1], [9], [3]]
    assert [result.source for result in results] == ["", file.as_posix(), ""]
    assert [result.image_hw for result in results] == [(32, 32), (32, 32), (64, 64)]


def test_contexts_open_when_they_are_needed() -> None:
    """One thread opens one context; the end of the block closes it, and later calls are refused."""
    opened = Opened(contexts=3)
    with stand_in_model(opened) as model:
        assert [runtime.opened for runtime in opened.groups[0]] == [0, 0, 0]
        for value in range(5):
            model(gray(value))
        assert sorted(runtime.opened for runtime in opened.groups[0]) == [0, 0, 1]
    assert not any(runtime.is_open for runtime in opened.groups[0])
    with pytest.raises(BackendError, match=r"The model is closed"):
        model(gray(1))
    model.close()


def test_threads_share_the_contexts() -> None:
    """Three contexts serve three calls at a time: each waits for the others, so one context alone would hang."""
    together = threading.Barrier(3)
    opened = Opened(contexts=3, before=lambda _: together.wait(WAIT_S))
    with stand_in_model(opened) as model, ThreadPoolExecutor(12) as threads:
        results = list(threads.map(lambda value: model(gray(value)), range(60)))
    assert [int(result.boxes.class_id[0]) for result in results] == list(range(60))
    assert [runtime.opened for runtime in opened.groups[0]] == [1, 1, 1]


def test_asyncio_runs_side_by_side() -> None:
    """`infer` leaves the event loop free, and runs one call per context."""
    together = threading.Barrier(2)

    async def both() -> list[int]:
        results = await asyncio.gather(*(model.infer(gray(value)) for value in range(8)))
        return [int(result.boxes.class_id[0]) for result in results]

    with stand_in_model(Opened(contexts=2, before=lambda _: together.wait(WAIT_S))) as model:
        assert asyncio.run(both()) == list(range(8))


def test_a_context_that_failed_is_opened_again() -> None:
    """The failure is raised; the next call opens the context anew."""

    def fail_on_13(value: int) -> None:
        if value == 13:
            raise BackendError("rknn_run answered -1.")

    opened = Opened(before=fail_on_13)
    with stand_in_model(opened) as model:
        model(gray(1))
        with pytest.raises(BackendError, match="answered -1"):
            model(gray(13))
        assert not opened.groups[0][0].is_open
        assert list(model(gray(2)).boxes.class_id) == [2]
    assert opened.groups[0][0].opened == 2


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "cv2.imread returns None"),
        (np.zeros((4, 4), np.uint8), "COLOR_GRAY2BGR"),
        (np.zeros((4, 4, 4), np.uint8), "COLOR_BGRA2BGR"),
        (np.zeros((4, 4, 3), np.float32), r"\(4, 4, 3\) and the type float32, expected \(H, W, 3\) uint8 BGR"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (object(), r"convert\('RGB'\)"),
        ("no such.jpg", '"no such.jpg" does not exist'),
    ],
)
def test_what_is_not_an_image_is_refused(image: object, words: str) -> None:
    """Each with what was expected, and what to do."""
    with stand_in_model(Opened()) as model, pytest.raises(SourceError) as caught:
        model(image)  # type: ignore[call-overload]  # on purpose
    assert re.search(words, str(caught.value))


def test_thresholds_by_class() -> None:
    """`class_conf` replaces `conf` for a class, `classes` leaves out the others."""
    names = ("person", "car", "cat")
    assert _per_class(names, 0.25, {}, None) == {}
    assert _per_class(names, 0.25, {"car": 0.5, 2: 0.1}, None) == {1: 0.5, 2: 0.1}
    assert _per_class(names, 0.25, {"car": 0.5}, ["car", 0]) == {0: 0.25, 1: 0.5, 2: 1.0}
    with pytest.raises(RkdeployError, match='Did you mean "person"'):
        _per_class(names, 0.25, {}, ["persn"])
    with pytest.raises(RkdeployError, match="Class 3 does not exist: the model has 3 classes"):
        _per_class(names, 0.25, {3: 0.5}, None)
    with pytest.raises(RkdeployError, match=r'Write classes=\["person"\]'):
        _per_class(names, 0.25, {}, "person")


def test_classes_and_confidences_of_the_sample(sample_bundle: Bundle) -> None:
    """The class filter keeps what the whole result has of that class, and nothing else."""
    image = Path("calib_data/images/val/val_0000.jpg")
    with (
        rkdeploy.load(sample_bundle, backend="onnxruntime") as whole,
        rkdeploy.load(sample_bundle.folder, backend="onnxruntime", classes=["washer"]) as filtered,
        rkdeploy.load(str(sample_bundle.rknn), backend="onnxruntime", class_conf={"nut": 0.94}) as raised,
    ):
        every, washers, sure = whole(image), filtered(image), raised(image)
    assert every.counts() == {"bolt": 1, "nut": 6, "washer": 4}
    assert washers.counts() == {"washer": 4}
    kept = every.boxes.class_id == every.names.index("washer")
    np.testing.assert_array_equal(washers.boxes.xyxy, every.boxes.xyxy[kept])
    expected = sum(box.class_name != "nut" or box.confidence > 0.94 for box in every.boxes)
    assert len(sure) == expected < len(every)


def test_a_missing_bundle_and_backend(tmp_path: Path) -> None:
    """The errors are those of the commands."""
    with pytest.raises(BundleError):
        rkdeploy.load(tmp_path / "none")
    with pytest.raises(BackendError, match="Did you mean"):
        rkdeploy.load(_written(tmp_path), backend="onnxruntim")


def _written(folder: Path) -> Bundle:
    from tests.board.board_files import write_bundle

    return write_bundle(folder / "bundle")

"""Streams of a model: order, what is dropped, ends, failures, several sources."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.stream.frames import Frame
from rkdeploy.errors import BackendError, SourceError
from tests.api.stand_in_model import Opened, gray, stand_in_model
from tests.device.stream.stand_ins import StandInSource, frame
from tests.threads import no_thread_stays


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    interval = sys.getswitchinterval()
    with no_thread_stays():
        yield
    assert sys.getswitchinterval() == interval


def grays(count: int) -> Iterator[NDArray[np.uint8]]:
    """Images of the gray values 0, 1, ..."""
    return (gray(value) for value in range(count))


def test_all_images_in_order_on_three_contexts() -> None:
    """Every image has its own answer, in order; the figures add up, and the contexts are closed."""
    opened = Opened(contexts=3, before=lambda value: time.sleep(0.002 * (value % 3)))
    with stand_in_model(opened) as model:
        stream = model.stream(grays(60))
        unread = stream.stats
        results = list(stream)
    assert [int(result.boxes.class_id[0]) for result in results] == list(range(60))
    assert [result.index for result in results] == list(range(60))
    assert {result.source for result in results} == {"arrays"}
    times = [result.time for result in results]
    assert all(a is not None and b is not None and a <= b for a, b in itertools.pairwise(times))
    stats = stream.stats
    assert unread is None
    assert stats is not None
    assert (stats.captured, stats.processed, stats.dropped) == (60, 60, 0)
    assert not any(runtime.is_open for group in opened.groups for runtime in group)


def test_a_buffer_that_the_program_reuses() -> None:
    """The images of an iterable are copied: its owner may write the next one over them."""
    buffer = gray(0)

    def images() -> Iterator[NDArray[np.uint8]]:
        for value in range(20):
            buffer.fill(value)
            yield buffer

    with stand_in_model(Opened()) as model:
        results = list(model.stream(images()))
    assert [int(result.frame[0, 0, 0]) for result in results] == list(range(20))
    assert [int(result.boxes.class_id[0]) for result in results] == list(range(20))


def test_leaving_the_loop_ends_it() -> None:
    """After `break` no thread is left (the fixture looks), and the model takes the next stream and calls."""
    with stand_in_model(Opened(contexts=2)) as model:
        for result in model.stream(itertools.cycle(grays(9))):
            if result.index == 5:
                break
        assert [result.index for result in model.stream(grays(3))] == [0, 1, 2]
        assert list(model(gray(4)).boxes.class_id) == [4]


def test_close_and_with_end_it() -> None:
    """`close` ends the iteration; so does leaving the stream's own block, by an exception too."""
    with stand_in_model(Opened()) as model:
        stream = model.stream(itertools.cycle(grays(9)))
        next(stream)
        stream.close()
        assert list(stream) == []
        with pytest.raises(ZeroDivisionError), model.stream(itertools.cycle(grays(9))) as again:  # noqa: PT012
            next(again)
            1 / 0  # noqa: B018


def test_max_frames() -> None:
    """No more than that many are asked of the source."""
    asked = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for value in range(100):
            asked.append(value)
            yield gray(value)

    with stand_in_model(Opened()) as model:
        assert len(list(model.stream(images(), max_frames=7))) == 7
    assert asked == list(range(7))


def test_calls_within_the_loop() -> None:
    """A call of the same model inside its own stream's loop does not wait for the stream."""
    with stand_in_model(Opened()) as model:
        for result in model.stream(grays(5)):
            assert model(gray(result.index + 50)).boxes.class_id[0] == result.index + 50


def test_a_failing_source_and_a_failing_network() -> None:
    """An error is raised in the loop, not later."""

    def images() -> Iterator[NDArray[np.uint8]]:
        yield gray(1)
        yield np.zeros((2, 2), np.uint8)

    def fail(_: int) -> None:
        raise BackendError("rknn_run answered -1.", "Reboot.")

    with stand_in_model(Opened()) as model, pytest.raises(SourceError, match="COLOR_GRAY2BGR"):
        list(model.stream(images()))
    with stand_in_model(Opened(before=fail)) as model, pytest.raises(BackendError, match="5 times in a row"):
        list(model.stream(grays(100)))


def test_a_live_source_drops_what_the_loop_is_too_slow_for() -> None:
    """The newest frames win, each result is later than the one before, and the dropped ones are counted."""
    source = StandInSource(_paced(400, 0.001), live=True)
    seen = []
    with stand_in_model(Opened()) as model:
        stream = model.stream(source)
        for result in stream:
            seen.append(result.index)
            time.sleep(0.02)
    assert seen == sorted(set(seen))
    assert seen[-1] >= 390
    assert stream.stats is not None
    assert stream.stats.captured == 400
    assert len(seen) + stream.stats.dropped == 400
    assert stream.stats.dropped > 100


def test_several_files_and_folders(tmp_path: Path) -> None:
    """One after the other, each result with its own source and index."""
    for name, value in (("b.png", 2), ("a.png", 1)):
        cv2.imwrite(str(tmp_path / name), gray(value))
    single = tmp_path / "other" / "c.png"
    single.parent.mkdir()
    cv2.imwrite(str(single), gray(3))
    with stand_in_model(Opened()) as model:
        results = list(model.stream(tmp_path, single))
    assert [(Path(r.source).name, r.index, int(r.boxes.class_id[0])) for r in results] == [
        ("a.png", 0, 1),
        ("b.png", 1, 2),
        ("c.png", 0, 3),
    ]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ((), "There is no source"),
        (("nowhere.mp4",), '"nowhere.mp4" does not exist'),
        ((3.5,), "type float"),
        ((True,), "type bool"),
        (("a.jpg", "a.jpg"), '"a.jpg" is given twice'),
    ],
)
def test_sources_that_are_none(
    sources: tuple[object, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused when the stream is made, not when it is read."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.jpg", gray(1))
    with stand_in_model(Opened()) as model, pytest.raises(SourceError, match=words):
        model.stream(*sources)  # type: ignore[arg-type]  # on purpose


def _paced(count: int, seconds: float) -> Iterator[Frame]:
    for index in range(count):
        time.sleep(seconds)
        yield frame(index)

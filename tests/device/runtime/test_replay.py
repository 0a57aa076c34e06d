"""Recording head tensors and playing them again."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.device.runtime.recording import recorded
from rkdeploy.device.runtime.replay import INDEX, Replay
from rkdeploy.errors import BackendError, RkdeployError
from tests.board.sample_model import SPEC, picture


class Counting:
    """A runtime whose n-th frame holds n in every value, int8 in NC1HWC2 and NHWC."""

    name = "counting"

    def __init__(self) -> None:
        self.figures_from = "a counter"
        self.notes: tuple[str, ...] = ("a note",)
        self.frames = 0
        self.is_open: bool | None = None

    def __enter__(self) -> Self:
        self.is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_open = False

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        self.frames += 1
        if self.frames == 3:
            raise BackendError("The third frame fails.")
        packed = np.full((1, 2, 4, 8, 16), self.frames, np.int8)
        nhwc = np.full((1, 2, 4, 18), self.frames, np.int8)
        return HeadTensor(packed, 0.1, -3, 18), HeadTensor(nhwc.transpose(0, 3, 1, 2), 0.2, 4)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Pictures 0, 1, 0; the third frame failed."""
    folder = tmp_path / "recording"
    with recorded([Counting()], folder)[0] as recorder:
        assert recorder.figures_from == "a counter"
        assert recorder.notes == ("a note",)
        recorder.infer(picture(0))
        recorder.infer(picture(1))
        with pytest.raises(BackendError, match="third frame"):
            recorder.infer(picture(2))
        recorder.infer(picture(0))
    return folder


def test_what_was_recorded_is_played(recording: Path) -> None:
    """Values, layout, scale and zero point come back, found by the input, equal inputs one after the other."""
    with Replay(recording, SPEC) as runtime:
        assert runtime.figures_from == "a recording of a counter"
        for seed, value in ((1, 2), (0, 1), (0, 4), (0, 1)):
            first, second = runtime.infer(picture(seed))
            assert (first.scale, first.zero_point, first.packed_channels) == (0.1, -3, 18)
            assert (second.scale, second.zero_point, second.packed_channels) == (0.2, 4, None)
            assert (first.shape, second.shape) == (SPEC.outputs[0].shape, SPEC.outputs[1].shape)
            assert (first.values == value).all()
            assert (second.values == value).all()


def test_what_was_not_recorded_is_an_error(recording: Path) -> None:
    """An image that failed, or was never seen, gets no other image's boxes."""
    with Replay(recording, SPEC) as runtime:
        for seed in (2, 9):
            with pytest.raises(BackendError, match="does not hold this image"):
                runtime.infer(picture(seed))
    with pytest.raises(BackendError, match="is not open"):
        runtime.infer(picture(0))


def test_a_recording_needs_a_folder_of_its_own(recording: Path) -> None:
    """Nothing is written over, and the runtime does not stay open."""
    runtime = Counting()
    with pytest.raises(RkdeployError, match="is not empty"), recorded([runtime], recording)[0]:
        pass
    assert runtime.is_open is False


def test_contexts_record_together(tmp_path: Path) -> None:
    """Several runtimes, used at once and opened again after a failure, fill one recording without a gap."""
    folder = tmp_path / "new" / "recording"
    recorders = recorded([Counting() for _ in range(3)], folder)

    def work(place: int) -> None:
        for seed in range(place * 10, place * 10 + 8):
            with suppress(BackendError), recorders[place]:  # each fails once
                recorders[place].infer(picture(seed))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Replay(folder, SPEC) as runtime:
        for place in range(3):
            for number in range(8):
                if number == 2:
                    with pytest.raises(BackendError, match="does not hold this image"):
                        runtime.infer(picture(place * 10 + number))
                else:
                    assert (runtime.infer(picture(place * 10 + number))[0].values == number + 1).all()


def test_a_recording_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    """A failure to record is not a failure of the runtime, which would be opened again: a recording with a gap is
    useless.
    """
    (recorder,) = recorded([Counting()], tmp_path / "recording")
    with recorder:
        recorder.infer(picture(0))
        (tmp_path / "recording").rename(tmp_path / "gone")
        with pytest.raises(RkdeployError, match="Cannot record into") as caught:
            recorder.infer(picture(1))
    assert not isinstance(caught.value, BackendError)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RkdeployError, match="Cannot record into"), recorded([Counting()], tmp_path / "file" / "x")[0]:
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / INDEX).unlink(), "holds no recording"),
        (lambda folder: (folder / INDEX).write_text(""), "not the index of a recording"),
        (lambda folder: (folder / INDEX).write_text('{"replay_schema": 9, "figures_from": ""}'), "replay schema 9"),
        (
            lambda folder: (folder / INDEX).write_text(
                '{"replay_schema": 1, "figures_from": ""}\n{"file": "../../x.npz", "input_sha256": ""}'
            ),
            "outside the recording",
        ),
        (lambda folder: (folder / "000000.npz").write_bytes(b"PK no zip"), "is not a recorded frame"),
        (lambda folder: (folder / "000000.npz").unlink(), "is not a recorded frame"),
    ],
)
def test_a_damaged_recording_is_refused(recording: Path, change: Any, message: str) -> None:
    """A missing or damaged index or frame is named."""
    change(recording)
    with pytest.raises(BackendError, match=message), Replay(recording, SPEC) as runtime:
        runtime.infer(picture(0))

r"""Detections as JSON lines: one object per frame.

    {"source": "a.jpg", "frame": 0, "time": "2026-12-01T04:20:00.123456Z", "monotonic_s": 1234.5, "detections": [
        {"xyxy": [x1, y1, x2, y2], "confidence": 0.9, "class_id": 0, "class_name": "bolt"}]}

`xyxy` is in source pixels with 2 decimals, `confidence` has 5; a frame without objects has an empty list.  Further
results are added by `result_json`.  The text is ASCII (other characters as `\uXXXX`), so that it survives every
terminal and locale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.device.stream.result_json import result_object
from rkdeploy.errors import RkdeployError
from rkdeploy.system.line_file import LineFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import CaptureTime, Frame

STDOUT = "-"


def jsonl_line(
    frame: Frame,
    detections: Detections,
    class_names: Sequence[str],
    *,
    map_masks: bool = False,
    embeddings: bool = True,
) -> str:
    """One frame as one line of JSON, without the line end; the options are those of `result_object`."""
    return json_line(
        frame.source,
        frame.index,
        frame.size_hw,
        detections,
        class_names,
        captured=frame.captured,
        position_ms=frame.timestamp_ms,
        map_masks=map_masks,
        embeddings=embeddings,
    )


def json_line(
    source: str,
    frame_index: int,
    image_hw: tuple[int, int],
    detections: Detections,
    class_names: Sequence[str],
    *,
    captured: CaptureTime | None = None,
    position_ms: float | None = None,
    map_masks: bool = False,
    embeddings: bool = True,
) -> str:
    """One frame as one line of JSON, without its image; the arguments are those of `result_object`."""
    result = result_object(
        source,
        frame_index,
        image_hw,
        detections,
        class_names,
        captured=captured,
        position_ms=position_ms,
        map_masks=map_masks,
        embeddings=embeddings,
    )
    return json.dumps(result, allow_nan=False)


class JsonlSink:
    """Writes JSON lines to a file or, for `-`, to stdout, each line as soon as its frame is finished.

    The file has its name from the start, so that other programs can follow it.  Of recorded sources it replaces an
    earlier file, which comes back if the context is left with an exception.  Of live sources, lines are appended to it;
    a line that cannot be written, since the disk is full, is lost and counted, and the next ones are tried.  If the
    reader of stdout closes it (`| head`), a BrokenPipeError is raised.

    Args:
        target: the file, or `-`.
        class_names: of the contract.
        live: whether the frames are of a live source.
        map_masks: True to include the pixels of each class of class maps.
        embeddings: False to leave embeddings out.
        notify: called with one sentence when lines are lost, and when they can be written again.

    Attributes:
        lost: number of lines that could not be written.
    """

    def __init__(
        self,
        target: str | Path,
        class_names: Sequence[str],
        *,
        live: bool = False,
        map_masks: bool = False,
        embeddings: bool = True,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._file = None if str(target) == STDOUT else LineFile(Path(target), keep=live)
        self._class_names = tuple(class_names)
        self._live = live
        self._map_masks, self._embeddings = map_masks, embeddings
        self._notify = notify or (lambda _text: None)
        self._failing = False
        self.lost = 0

    def __enter__(self) -> Self:
        if self._file is not None:
            self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.__exit__(kind, error, trace)
            if self._failing:
                self._notify(f'{self.lost} lines of "{self._file.target}" were lost.')

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write one line.

        Raises:
            RkdeployError: when a recorded source's line, or one to stdout, cannot be written.
        """
        line = jsonl_line(frame, detections, self._class_names, map_masks=self._map_masks, embeddings=self._embeddings)
        try:
            self._append(line)
        except BrokenPipeError:
            raise
        except OSError as error:
            name = "stdout" if self._file is None else self._file.target
            if self._file is None or not self._live:
                raise RkdeployError(f'"{name}" cannot be written: {error.strerror}.') from error
            self._lose(f'"{name}" cannot be written: {error.strerror}. Its lines are lost until it can.')
        else:
            self._recovered()

    def _append(self, line: str) -> None:
        if self._file is not None:
            self._file.write(line)
            return
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def _lose(self, text: str) -> None:
        self.lost += 1
        if not self._failing:
            self._notify(text)
        self._failing = True

    def _recovered(self) -> None:
        if self._failing:
            self._notify(f"JSON lines are written again; {self.lost} were lost.")
        self._failing = False

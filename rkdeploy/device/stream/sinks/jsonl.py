r"""Detections as JSON lines: one object per frame.

    {"source": "a.jpg", "frame": 0, "detections": [
        {"xyxy": [x1, y1, x2, y2], "confidence": 0.9, "class_id": 0, "class_name": "bolt"}]}

`xyxy` is in source pixels with 2 decimals, `score` has 5; a frame without objects has an empty list.  Further results
are added by `result_json`.  The text is ASCII (other characters as `\uXXXX`), so that it survives every terminal
and locale.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.device.stream.result_json import result_object
from rkdeploy.errors import RkdeployError
from rkdeploy.system.atomic_file import followed, is_device, make_folder, refuse_folder
from rkdeploy.system.partial_file import PartialFile, clear_partials

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import TextIO

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame

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
    height, width = frame.image.shape[:2]
    return json_line(
        frame.source,
        frame.index,
        (height, width),
        detections,
        class_names,
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
    map_masks: bool = False,
    embeddings: bool = True,
) -> str:
    """One frame as one line of JSON, without its image; the arguments are those of `result_object`."""
    result = result_object(
        source, frame_index, image_hw, detections, class_names, map_masks=map_masks, embeddings=embeddings
    )
    return json.dumps(result, allow_nan=False)


class JsonlSink:
    """Writes JSON lines to a file or, for `-`, to stdout, each line flushed.

    A file is written next to its name and renamed when the context is left without an exception; with one, it is
    removed.  The rest of a killed run is removed at the start.  If the reader of stdout closes it (`| head`), a
    BrokenPipeError is raised.

    Args:
        target: the file, or `-`.
        class_names: of the contract.
        map_masks: True to include the pixels of each class of class maps.
        embeddings: False to leave embeddings out.
    """

    def __init__(
        self, target: str | Path, class_names: Sequence[str], *, map_masks: bool = False, embeddings: bool = True
    ) -> None:
        self._target = None if str(target) == STDOUT else followed(Path(target))
        self._class_names = tuple(class_names)
        self._map_masks, self._embeddings = map_masks, embeddings
        self._partial: PartialFile | None = None
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        if self._target is None:
            self._file = sys.stdout
            return self
        refuse_folder(self._target)
        make_folder(self._target.parent)
        try:
            if is_device(self._target):
                self._file = self._target.open("w", encoding="ascii", newline="\n")
                return self
            clear_partials(self._target.parent, self._target)
            self._partial = PartialFile(self._target)
            self._file = self._partial.path.open("w", encoding="ascii", newline="\n")
        except OSError as error:
            raise RkdeployError(f'"{self._target}" cannot be written: {error.strerror}.') from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is None or self._target is None:
            return
        if self._partial is None:
            with suppress(OSError):  # every line was flushed; a failure was raised then
                file.close()
            return
        try:
            if kind is None:
                file.flush()
                os.fsync(file.fileno())
            file.close()
            if kind is None:
                self._partial.commit()
        except OSError as failure:
            if kind is None:
                raise RkdeployError(f'"{self._target}" cannot be written: {failure.strerror}.') from failure
        finally:
            self._partial.discard()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write one line.

        Raises:
            RkdeployError: when the file cannot be written.
        """
        assert self._file is not None, "a sink takes frames between enter and exit"
        line = jsonl_line(frame, detections, self._class_names, map_masks=self._map_masks, embeddings=self._embeddings)
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            name = self._target or "stdout"
            raise RkdeployError(f'"{name}" cannot be written: {error.strerror}.') from error

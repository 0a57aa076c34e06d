"""A sink: `--sink csv:FILE` writes a line per object."""

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame


class CsvSink:
    """Sink of one file.

    Args:
        argument: the text after the colon: the path of the file.
        class_names: of the model, by class id.
    """

    def __init__(self, argument: str, class_names: Sequence[str]) -> None:
        self._path, self._names = Path(argument), class_names

    def __enter__(self) -> Self:
        self._file = self._path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(("source", "frame", "class", "confidence", "x1", "y1", "x2", "y2"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Take one frame; called in order, from one thread."""
        rows = zip(detections.class_ids.tolist(), detections.scores.tolist(), detections.xyxy.tolist(), strict=True)
        for class_id, score, xyxy in rows:
            self._writer.writerow((frame.source, frame.index, self._names[class_id], score, *xyxy))

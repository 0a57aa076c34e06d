"""Crops of what was found as JPEG files, in a folder per class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from rkdeploy.device.stream.sinks.folder_sink import FolderSink
from rkdeploy.device.stream.sinks.images import write_image
from rkdeploy.system.atomic_file import make_folder
from rkdeploy.system.file_names import readable_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame

_LONGEST_NAME: Final = 100


class CropFilesSink(FolderSink):
    """Cuts the box of each detection out of the frame, without anything drawn.

    `person/clip_000012_0.jpg` is the first object of frame 12 of `clip.mp4`; of a live source the time in UTC stands
    for the number, so that a second run replaces nothing.  Of several sources all but the first have their position
    in the name.  Of rotated boxes it is the upright box around them.

    Args:
        folder: created if it is missing.
        class_names: of the contract.
        limit: number of crops of a run; further ones are counted.
        live: whether the sources are cameras or streams.
        notify: called with one sentence when the limit is reached, and at the end with the number that is left out.
    """

    def __init__(
        self, folder: Path, class_names: Sequence[str], limit: int, *, live: bool, notify: Callable[[str], None]
    ) -> None:
        super().__init__(folder)
        self._class_folders = [_class_folder(name, i) for i, name in enumerate(class_names)]
        self._limit, self._live, self._notify = limit, live, notify
        self._made: set[Path] = set()
        self._count = self._left_out = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._left_out:
            self._notify(f"{self._left_out} crops beyond --save-crops-limit {self._limit} were not written.")

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write the crops of one frame; boxes without a pixel in the frame have none.

        Raises:
            RkdeployError: when a file cannot be written.
        """
        if not len(detections):
            return
        stem = self._stem(frame)
        height, width = frame.size_hw
        corners = np.clip(np.rint(detections.xyxy), 0, (width, height, width, height)).astype(int).tolist()
        for n, ((left, top, right, bottom), class_id) in enumerate(zip(corners, detections.class_ids, strict=True)):
            if right > left and bottom > top:
                self._write(f"{stem}_{n}.jpg", int(class_id), frame.image[top:bottom, left:right])

    def _write(self, name: str, class_id: int, crop: NDArray[np.uint8]) -> None:
        if self._count >= self._limit:
            if not self._left_out:
                self._notify(f"{self._limit} crops are written; further ones are counted only (--save-crops-limit).")
            self._left_out += 1
            return
        folder = self._folder / self._class_folders[class_id]
        if folder not in self._made:
            make_folder(folder)
            self._made.add(folder)
        write_image(folder / name, crop)
        self._count += 1

    def _stem(self, frame: Frame) -> str:
        words = re.findall(r"[\w.-]+", re.sub(r"^[a-z]+://", "", readable_name(frame.source)).partition("?")[0])
        name = "_".join(words) if self._live else Path(readable_name(frame.source)).stem
        stem = re.sub(r"[^\w.-]", "_", name)[-_LONGEST_NAME:].lstrip(".") or "frame"
        at = frame.captured.iso.replace(":", "").replace("-", "") if self._live else f"{frame.index:06d}"
        return f"{stem}_{at}" if frame.origin == 0 else f"{stem}_{frame.origin}_{at}"


def _class_folder(name: str, class_id: int) -> str:
    """The name of a class as that of a folder; its id where nothing is left."""
    return re.sub(r"[^\w .+-]", "_", readable_name(name))[:_LONGEST_NAME].strip(" .") or str(class_id)

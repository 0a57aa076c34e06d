"""Annotated images in a folder, each named like its source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from rkdeploy.device.drawing import draw_detections
from rkdeploy.device.stream.sinks.folder_sink import FolderSink
from rkdeploy.errors import RkdeployError
from rkdeploy.system.atomic_file import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame

_WRITTEN_AS_THEY_CAME = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
_JPEG_QUALITY = 92


class ImagesSink(FolderSink):
    """Draws and writes every frame.

    The file has the source's name; a second source of that name (from another folder) becomes `name_2.jpg`, and so on.
    Formats that few programs show (TIFF, PNM) are written as PNG.  Files of an earlier run are replaced.

    Args:
        folder: created if it is missing.
        class_names: of the contract.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        super().__init__(folder)
        self._class_names = tuple(class_names)
        self._taken: set[str] = set()

    def __enter__(self) -> Self:
        self._taken.clear()
        return super().__enter__()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Draw and write one image.

        Raises:
            RkdeployError: when the folder is the source's own (the originals would be overwritten), or when the
                file cannot be written.
        """
        source = Path(frame.source)
        self._refuse_folder_of(frame.source)
        target = self._folder / self._free_name(source)
        drawn = draw_detections(frame.image, detections, self._class_names)
        write_image(target, drawn)

    def _free_name(self, source: Path) -> str:
        suffix = source.suffix if source.suffix.lower() in _WRITTEN_AS_THEY_CAME else ".png"
        stem = source.stem or "frame"
        name, number = f"{stem}{suffix}", 1
        while name.casefold() in self._taken:  # some file systems ignore case
            number += 1
            name = f"{stem}_{number}{suffix}"
        self._taken.add(name.casefold())
        return name


def write_image(target: Path, image: NDArray[np.uint8]) -> None:
    """Write an image in the format that the name's ending says; an existing file is replaced when the new one is whole.

    Args:
        target: `.jpg`, `.png` or another ending that OpenCV writes.
        image: (H, W, 3) uint8 BGR.

    Raises:
        RkdeployError: when OpenCV does not write that format, or the file cannot be written.
    """
    suffix = target.suffix.lower()
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix in {".jpg", ".jpeg"} else []
    try:
        done, encoded = cv2.imencode(suffix, image, options)
    except cv2.error as error:
        reason = " ".join(str(error.err).split())
        raise RkdeployError(f'"{target}" cannot be encoded: {reason}.') from error
    if not done:
        raise RkdeployError(f'"{target}" cannot be encoded by OpenCV {cv2.__version__}.')
    write_atomically(target, encoded.tobytes(), clear=False)

"""Maps of the whole image as files, one per frame, in the forms that `rkdeploy eval` reads as labels."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from rkdeploy.device.stream.sinks.folder_sink import FolderSink
from rkdeploy.errors import RkdeployError
from rkdeploy.images.file import is_image_name
from rkdeploy.system.atomic_file import write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame

_LONGEST_STEM: Final = 120
_MILLIMETERS: Final = 1000.0
_MOST_MILLIMETERS: Final = 65535


class MapFilesSink(FolderSink):
    """Writes class maps as PNG files of class ids, depth as 16-bit PNG files in millimeters or as `.npy` in float32.

    Named like the source: `a.png` for the image `a.jpg`, `clip_000012.png` for the frame 12 of `clip.mp4`; a model with
    several class maps gets `a_lane_line.png`.  Files of an earlier run are replaced.

    Args:
        folder: created if it is missing.
        spec: the contract.
        npy: True for `.npy`; depth without a unit is always written so, since millimeters would have no meaning.

    Raises:
        RkdeployError: when the model gives no map.
    """

    def __init__(self, folder: Path, spec: ModelSpec, *, npy: bool = False) -> None:
        if not spec.class_maps and spec.depth is None:
            raise RkdeployError("The model gives no class maps and no depth.", "Leave out --maps.")
        super().__init__(folder)
        self._several = len(spec.class_maps) > 1
        self._npy = npy or (spec.depth is not None and spec.depth.kind != "metric")
        self._taken: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._taken.clear()
        return super().__enter__()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write the maps of one frame.

        Raises:
            RkdeployError: when the folder is the source's own, or when a file cannot be written.
        """
        if is_image_name(Path(frame.source).name):
            self._refuse_folder_of(frame.source)
        stem = self._stem(frame)
        for found in detections.class_maps:
            name = f"{stem}_{re.sub(r'[^A-Za-z0-9._-]', '_', found.name)}" if self._several else stem
            self._write(f"{name}.png", _png(found.class_ids))
        if detections.depth is None:
            return
        values = detections.depth.values
        if self._npy:
            data = io.BytesIO()
            np.save(data, values, allow_pickle=False)
            self._write(f"{stem}.npy", data.getvalue())
        else:
            self._write(f"{stem}.png", _png(_in_millimeters(values)))

    def _write(self, name: str, data: bytes) -> None:
        target = self._folder / name
        write_atomically(target, data, clear=False)

    def _stem(self, frame: Frame) -> str:
        """A name without suffix that no other source has."""
        still = is_image_name(Path(frame.source).name)
        text = Path(frame.source).stem if still else Path(frame.source.partition("?")[0]).stem
        wanted = re.sub(r"[/\\\x00]", "_", text)[:_LONGEST_STEM] or "frame"
        name, number = wanted, 1
        while self._taken.setdefault(name.casefold(), frame.source) != frame.source:  # from another folder
            number += 1
            name = f"{wanted}_{number}"
        return name if still else f"{name}_{frame.index:06}"


def _in_millimeters(meters: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Depth in whole millimeters, 0 where there is none; beyond 65.535 m the largest number."""
    scaled = np.rint(np.nan_to_num(meters, nan=0.0, posinf=0.0, neginf=0.0) * np.float32(_MILLIMETERS))
    millimeters: NDArray[np.uint16] = np.clip(scaled, 0, _MOST_MILLIMETERS).astype(np.uint16)
    return millimeters


def _png(image: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise RkdeployError(f"A map cannot be encoded by OpenCV {cv2.__version__}.")
    return encoded.tobytes()

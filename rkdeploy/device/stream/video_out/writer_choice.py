"""The choice of what writes video: PyAV with an encoder of H.264 where there is one, else OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2

from rkdeploy.device.stream.sources.video_capture import tries_hardware, uses_pyav, video_package
from rkdeploy.device.stream.video_out.h264_encoder import EncoderChoice, available_encoders

_OLD_FORMAT: Final = "MPEG-4 part 2, which browsers do not play"


@dataclass(frozen=True, slots=True)
class WriterChoice:
    """Package and encoder of the videos of a run.

    Attributes:
        encoder: of PyAV; None where OpenCV writes.
        text: package and encoder, for users, with the reason where OpenCV writes.
        notes: sentences on hardware that cannot be used.
    """

    encoder: EncoderChoice | None
    text: str
    notes: tuple[str, ...] = ()


def chosen_writer() -> WriterChoice:
    """Choose the package and encoder of this process; `RKDEPLOY_VIDEO` decides as it does for reading.

    Raises:
        SourceError: when `RKDEPLOY_VIDEO` has a value that it does not know, or asks for PyAV and there is none.
    """
    by_opencv = f"OpenCV {cv2.__version__} ({_OLD_FORMAT}"
    if not uses_pyav():
        return WriterChoice(None, f"{by_opencv}; PyAV writes H.264)")
    encoder = available_encoders(hardware=tries_hardware())
    if encoder is None:
        return WriterChoice(None, f"{by_opencv}; {video_package()} has no encoder of H.264)")
    return WriterChoice(encoder, str(encoder), encoder.notes)

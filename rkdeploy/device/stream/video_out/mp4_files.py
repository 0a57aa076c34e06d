"""Packets of a run into one MP4 file, or one for each format that they have."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from rkdeploy.device.stream.video_out.fragmented_mp4 import FragmentedMp4
from rkdeploy.device.stream.video_out.video_target import FULL_DISK, prepare_video_target
from rkdeploy.errors import RkdeployError
from rkdeploy.system.partial_file import PartialFile

if TYPE_CHECKING:
    from pathlib import Path

    from rkdeploy.device.stream.video_out.video_packet import VideoFormat, VideoPacket


class Mp4Files:
    """Writes one video; where the format changes, `name_2.mp4` and so on follow.

    Args:
        target: the video.
        at_once: True for what cannot be recorded again: the video has its name from the first picture on, and stays
            whatever happens.  False: it appears when the run has ended without an error.
    """

    def __init__(self, target: Path, *, at_once: bool) -> None:
        self._target, self._at_once = target, at_once
        self._count = 0
        self._writer: FragmentedMp4 | None = None
        self._partials: list[PartialFile] = []

    def open(self) -> None:
        """Check the target, and remove what killed runs left.

        Raises:
            RkdeployError: when it cannot be written.
        """
        prepare_video_target(self._target)

    def begin(self, video: VideoFormat) -> None:
        """Begin the next file."""
        try:
            self._close()
            self._count += 1
            name = self._target.name if self._count == 1 else f"{self._target.stem}_{self._count}{self._target.suffix}"
            path = self._target.with_name(name)
            if not self._at_once:
                self._partials.append(PartialFile(path))
                path = self._partials[-1].path
            self._writer = FragmentedMp4(path, video)
        except OSError as error:
            raise self._failure(error) from error

    def take(self, packet: VideoPacket) -> None:
        """Write a packet.

        Raises:
            RkdeployError: when the file cannot be written.
        """
        assert self._writer is not None, "a format comes before its packets"
        try:
            self._writer.write(packet)
        except OSError as error:
            raise self._failure(error) from error

    def end(self, *, whole: bool) -> None:
        """Close the file, and put it in place or remove it.

        Raises:
            RkdeployError: when it cannot be written.
        """
        try:
            self._close()
            if whole:
                for partial in self._partials:
                    partial.commit()
        except OSError as error:
            if whole:
                raise self._failure(error) from error
        finally:
            for partial in self._partials:
                partial.discard()

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _failure(self, error: OSError) -> RkdeployError:
        with suppress(OSError):
            self._close()
        stays = " What was written until then can be played." if self._at_once else ""
        return RkdeployError(f'Video "{self._target}" was not written: {error.strerror}.{stays}', FULL_DISK)

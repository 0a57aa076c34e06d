"""A recording in numbered files of some seconds, each of which plays by itself."""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rkdeploy.device.stream.video_out.fragmented_mp4 import FragmentedMp4, cut_to_whole_fragments
from rkdeploy.device.stream.video_out.resumed_folder import resume_folder
from rkdeploy.device.stream.video_out.video_packet import TICKS_PER_S
from rkdeploy.device.stream.video_out.video_target import FULL_DISK
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rkdeploy.device.stream.video_out.recording_shelf import RecordingShelf
    from rkdeploy.device.stream.video_out.video_packet import VideoFormat, VideoPacket

_RETRY_S: Final = 10.0
_GAP_TICKS: Final = 5 * TICKS_PER_S
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class SegmentFiles:
    """Writes `000001_20261201-104500.mp4` and so on: a number that goes on from run to run, and the local time.

    A segment ends at the first key picture after its time, at a gap of more than 5 s, and where the format changes.
    Each has its name from its first picture on.  The last one of a run that was killed loses an incomplete fragment
    when the next run begins.

    Where a segment of a live source cannot be written, it ends there, the pictures until the next attempt are left out
    and counted, and the run goes on: where files are removed by limits, with the oldest one removed, else 10 s later.

    Args:
        folder: of this source alone.
        seconds: length of a segment.
        shelf: removes the oldest files.
        live: whether pictures may be left out; otherwise a full disk ends the run.
        name: of the source, for messages.
        notify: called with one sentence when segments cannot be written, and when they are written again.
    """

    def __init__(
        self,
        folder: Path,
        seconds: float,
        shelf: RecordingShelf,
        *,
        live: bool,
        name: str,
        notify: Callable[[str], None],
    ) -> None:
        self._folder, self._ticks, self._shelf = folder, seconds * TICKS_PER_S, shelf
        self._live, self._name, self._notify = live, name, notify
        self._video: VideoFormat | None = None
        self._writer: FragmentedMp4 | None = None
        self._path = folder
        self._number = 1
        self._begun = self._last = 0
        self._retry_s = 0.0
        self._pending = 0  # packets that are in no fragment yet
        self._lost = 0  # since segments could not be written
        self.lost = 0

    def open(self) -> None:
        """Create the folder, and finish the last file of a run that was killed.

        Raises:
            RkdeployError: when the folder cannot be created.
        """
        self._number = resume_folder(self._folder)

    def begin(self, video: VideoFormat) -> None:
        """Begin another segment with the next picture."""
        self._finish()
        self._video = video

    def take(self, packet: VideoPacket) -> None:
        """Write a packet.

        Raises:
            RkdeployError: when it cannot be written, and nothing may be left out.
        """
        over = packet.time - self._begun >= self._ticks or packet.time - self._last > _GAP_TICKS
        self._last = packet.time
        if packet.key:
            self._at_key(packet, over=over)
        self._pending += 1
        if self._writer is None:
            self._count_lost()
            return
        try:
            self._writer.write(packet)
        except OSError as error:
            self._fail(error)
        else:
            self._count_written(packet)

    def end(self, *, whole: bool) -> None:
        """Close the segment, also that of a run that failed."""
        del whole
        self._finish()
        if self._lost:
            self._notify(f"{self._name}: {self._lost} frames are missing in the recording.")

    def _at_key(self, packet: VideoPacket, *, over: bool) -> None:
        if self._writer is not None and over:
            self._finish()
        if self._writer is None and time.monotonic() >= self._retry_s:
            self._start(packet)
        self._shelf.trim()

    def _start(self, packet: VideoPacket) -> None:
        assert self._video is not None, "a format comes before its packets"
        self._path = self._folder / f"{self._number:06d}_{time.strftime('%Y%m%d-%H%M%S')}.mp4"
        try:
            self._writer = FragmentedMp4(self._path, self._video, new=True)
        except OSError as error:
            self._fail(error)
            return
        self._number += 1
        self._begun = packet.time
        self._shelf.begin(self._path)

    def _finish(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            self._fail(error)
            return
        self._writer, self._pending = None, 0
        self._shelf.finish(self._path)

    def _count_written(self, packet: VideoPacket) -> None:
        """A key picture that is taken means that the fragment before it is in the file."""
        if not packet.key:
            return
        self._pending = 1
        if self._lost and packet.time > self._begun:
            self._notify(f"{self._name}: segments are written again; {self._lost} frames are missing.")
            self._lost = 0

    def _count_lost(self) -> None:
        self._lost += self._pending
        self.lost += self._pending
        self._pending = 0

    def _fail(self, error: OSError) -> None:
        """End the segment at its last whole fragment; without one, remove it."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()
            cut_to_whole_fragments(self._path)
            self._shelf.finish(self._path)
        if not self._live:
            raise RkdeployError(f'"{self._path}" was not written: {error.strerror}.', FULL_DISK)
        made_room = error.errno in _FULL and self._shelf.make_room()
        self._retry_s = time.monotonic() + (0.0 if made_room else _RETRY_S)
        known = self._lost > 0
        self._count_lost()
        if not known and not made_room:
            self._notify(
                f"{self._name}: segments cannot be written ({error.strerror}); frames are left out of the recording, "
                f"and it is tried again each {_RETRY_S:g} s."
            )

"""Clips of events: the video before, during and after objects of chosen classes, with a snapshot of the best one."""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2

from rkdeploy.device.stream.video_out.fragmented_mp4 import FragmentedMp4, cut_to_whole_fragments
from rkdeploy.device.stream.video_out.resumed_folder import resume_folder
from rkdeploy.device.stream.video_out.video_packet import TICKS_PER_S
from rkdeploy.device.stream.video_out.video_target import FULL_DISK
from rkdeploy.errors import RkdeployError
from rkdeploy.system.atomic_file import write_atomically
from rkdeploy.system.file_names import readable_name
from rkdeploy.system.line_file import LineFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame
    from rkdeploy.device.stream.video_out.event_rule import EventObject, EventRule
    from rkdeploy.device.stream.video_out.recording_shelf import RecordingShelf
    from rkdeploy.device.stream.video_out.video_packet import VideoFormat, VideoPacket

EVENTS_FILE: Final = "events.jsonl"
_LONGEST_TICKS: Final = 300 * TICKS_PER_S
_RING_BYTES: Final = 64 << 20
_BETTER: Final = 0.05
"""A snapshot is replaced by one whose score is higher by this much."""
_JPEG_QUALITY: Final = 90


@dataclass(slots=True)
class _Event:
    """An event under way.

    Attributes:
        path: of the clip.
        writer: of the clip.
        best: the object with the highest score so far.
        zones: those of the rule that its objects were in.
        began: time of the first object, in UTC as ISO 8601.
        first, last: time of the first object and of the last one, in ticks.
    """

    path: Path
    writer: FragmentedMp4
    best: EventObject
    zones: frozenset[str]
    began: str
    first: int
    last: int


class EventClips:
    """Writes `000001_20261201-104500_person.mp4` with a snapshot of the same name, and a line in `events.jsonl`.

    Encoded pictures of the last seconds are kept, at most 64 MB of them.  An event begins with an object of a chosen
    class, with the key picture before `before_s`, and ends `after_s` after the last object, or after 5 minutes.  A clip
    has its name from its first picture on; that of a run that was killed loses an incomplete fragment when the next run
    begins.  Where a clip of a live source cannot be written, it is left out and counted, and the run goes on.

    Args:
        folder: of the events of this source alone.
        rule: which objects, and how much before and after.
        class_names: of the contract.
        shelf: removes the oldest files.
        live: whether clips may be left out; otherwise a full disk ends the run.
        name: of the source.
        notify: called with one sentence when a clip cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        rule: EventRule,
        class_names: Sequence[str],
        shelf: RecordingShelf,
        *,
        live: bool,
        name: str,
        notify: Callable[[str], None],
    ) -> None:
        self._folder, self._rule, self._class_names, self._shelf = folder, rule, tuple(class_names), shelf
        self._live, self._name, self._notify = live, name, notify
        self._ring: deque[VideoPacket] = deque()
        self._ring_bytes = 0
        self._video: VideoFormat | None = None
        self._event: _Event | None = None
        self._number = 1
        self._lines = LineFile(folder / EVENTS_FILE, keep=True)
        self.written = self.lost = 0

    def open(self) -> None:
        """Create the folder, and finish the last clip of a run that was killed.

        Raises:
            RkdeployError: when it cannot be created, or another run writes there.
        """
        self._number = resume_folder(self._folder)
        self._lines.__enter__()

    def see(self, frame: Frame, detections: Detections, drawn: NDArray[np.uint8], ticks: int) -> None:
        """Look at the objects of a picture that was given to the encoder.

        Args:
            frame: the frame.
            detections: of it.
            drawn: (H, W, 3) uint8 BGR, the picture with its detections.
            ticks: time of its packet.

        Raises:
            RkdeployError: when the snapshot cannot be written, and nothing may be left out.
        """
        best = self._rule.best(detections)
        if best is None:
            return
        if self._event is None:
            self._begin_event(frame, best, drawn, ticks)
            return
        self._event.last = ticks
        self._event.zones |= best.zones
        if best.confidence > self._event.best.confidence + _BETTER:
            self._event.best = best
            self._write_snapshot(self._event, drawn)

    def begin(self, video: VideoFormat) -> None:
        """Take packets of another format: an event under way ends."""
        self._end_event()
        self._video = video
        self._ring.clear()
        self._ring_bytes = 0

    def take(self, packet: VideoPacket) -> None:
        """Keep a packet, and write it where an event is under way.

        Raises:
            RkdeployError: when it cannot be written, and nothing may be left out.
        """
        event = self._event
        if event is not None:
            over = packet.time > event.last + self._rule.after_s * TICKS_PER_S
            if over or packet.time - event.first > _LONGEST_TICKS:
                self._end_event()
            else:
                self._write(event, packet)
        self._ring.append(packet)
        self._ring_bytes += len(packet.data)
        self._forget_old(packet.time)

    def end(self, *, whole: bool) -> None:
        """Close the clip under way, also that of a run that failed."""
        del whole
        self._end_event()
        self._lines.__exit__(None, None, None)
        if self.lost:
            self._notify(f"{self._name}: {self.lost} of {self.lost + self.written} clips of events were not written.")

    def _begin_event(self, frame: Frame, best: EventObject, drawn: NDArray[np.uint8], ticks: int) -> None:
        packets = self._since(ticks - round(self._rule.before_s * TICKS_PER_S))
        if self._video is None or not packets:  # the encoder has given nothing yet; the next picture comes soon
            return
        label = readable_name(self._class_names[best.class_id])[:40].replace(" ", "_") or "event"
        safe = "".join(one if one.isascii() and (one.isalnum() or one in "_.-") else "_" for one in label)
        path = self._folder / f"{self._number:06d}_{time.strftime('%Y%m%d-%H%M%S')}_{safe}.mp4"
        try:
            writer = FragmentedMp4(path, self._video, new=True)
        except OSError as error:
            self._fail(error, path)
            return
        self._number += 1
        self._shelf.begin(path)
        self._event = event = _Event(path, writer, best, best.zones, frame.captured.iso, ticks, ticks)
        for packet in packets:
            if self._event is not None:
                self._write(event, packet)
        self._write_snapshot(event, drawn)

    def _since(self, ticks: int) -> list[VideoPacket]:
        """Kept packets from the last key picture at or before a time on; from the first one where there is none."""
        kept = list(self._ring)
        keys = [place for place, packet in enumerate(kept) if packet.key]
        before = [place for place in keys if kept[place].time <= ticks]
        start = before[-1] if before else keys[0] if keys else len(kept)
        return kept[start:]

    def _forget_old(self, now: int) -> None:
        """Drop groups of pictures that no event needs: the next one begins early enough, or there is no room."""
        oldest = now - self._rule.before_s * TICKS_PER_S
        while self._ring:
            following = next((packet for place, packet in enumerate(self._ring) if place and packet.key), None)
            early = following is not None and following.time <= oldest
            if not early and self._ring_bytes <= _RING_BYTES:
                return
            self._drop_group()

    def _drop_group(self) -> None:
        """Drop packets up to the next key picture."""
        self._ring_bytes -= len(self._ring.popleft().data)
        while self._ring and not self._ring[0].key:
            self._ring_bytes -= len(self._ring.popleft().data)

    def _write(self, event: _Event, packet: VideoPacket) -> None:
        try:
            event.writer.write(packet)
        except OSError as error:
            self._event = None
            with suppress(OSError):
                event.writer.close()
            cut_to_whole_fragments(event.path)
            self._shelf.finish(event.path)
            self._fail(error, event.path)

    def _write_snapshot(self, event: _Event, drawn: NDArray[np.uint8]) -> None:
        encoded, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not encoded:
            return
        try:
            write_atomically(event.path.with_suffix(".jpg"), data.tobytes(), clear=False)
        except RkdeployError:
            if not self._live:
                raise

    def _end_event(self) -> None:
        event, self._event = self._event, None
        if event is None:
            return
        try:
            event.writer.close()
            self._lines.write(json.dumps(self._line(event)))
        except OSError as error:
            self._fail(error, event.path)
            return
        finally:
            self._shelf.finish(event.path)
            self._shelf.finish(event.path.with_suffix(".jpg"))
            self._shelf.trim()
        self.written += 1

    def _line(self, event: _Event) -> dict[str, object]:
        return {
            "source": self._name,
            "time": event.began,
            "seconds": round((event.last - event.first) / TICKS_PER_S, 3),
            "class_id": event.best.class_id,
            "class_name": self._class_names[event.best.class_id],
            "confidence": round(event.best.confidence, 5),
            **({"zones": sorted(event.zones)} if self._rule.zones else {}),
            "clip": event.path.name,
            "snapshot": event.path.with_suffix(".jpg").name,
        }

    def _fail(self, error: OSError, path: Path) -> None:
        if not self._live:
            raise RkdeployError(f'"{path}" was not written: {error.strerror}.', FULL_DISK) from error
        if not self.lost:
            self._notify(f"{self._name}: a clip of an event cannot be written ({error.strerror}); the run goes on.")
        self.lost += 1
        self._shelf.make_room()

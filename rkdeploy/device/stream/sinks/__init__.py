"""Sinks: destinations of frames and detections.  One file per kind."""

from __future__ import annotations

import difflib
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.device.postprocess.thresholds import chosen_class_ids
from rkdeploy.device.stream.sinks.images import ImagesSink
from rkdeploy.device.stream.sinks.video_writer import DEFAULT_FRAMES_PER_SECOND, VideoSink
from rkdeploy.device.stream.sources.image_files import ImageFiles
from rkdeploy.device.stream.sources.several import parts_of
from rkdeploy.device.stream.sources.stream_address import redacted
from rkdeploy.device.stream.video_out.encoded_video import EncodedVideoSink
from rkdeploy.device.stream.video_out.event_clips import EventClips
from rkdeploy.device.stream.video_out.event_rule import EventRule
from rkdeploy.device.stream.video_out.mp4_files import Mp4Files
from rkdeploy.device.stream.video_out.publish_address import STREAM_PLACE, publish_address
from rkdeploy.device.stream.video_out.publisher import Publisher
from rkdeploy.device.stream.video_out.recording_options import RecordingOptions
from rkdeploy.device.stream.video_out.recording_shelf import RecordingShelf
from rkdeploy.device.stream.video_out.segments import SegmentFiles
from rkdeploy.device.stream.video_out.video_target import refuse_source
from rkdeploy.errors import RkdeployError
from rkdeploy.system.atomic_file import make_folder
from rkdeploy.system.file_names import readable_name
from rkdeploy.system.plugins import SINKS, load_plugin, plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame
    from rkdeploy.device.stream.sinks.sink import Sink
    from rkdeploy.device.stream.sources.source import Source
    from rkdeploy.device.stream.video_out.h264_encoder import EncoderChoice
    from rkdeploy.device.stream.video_out.video_packet import PacketReceiver


def open_save_folder(
    folder: Path | None,
    source: Source,
    class_names: Sequence[str],
    encoder: EncoderChoice | None = None,
    notify: Callable[[str], None] = lambda _text: None,
    recording: RecordingOptions | None = None,
) -> Sink:
    """The sink for `--save DIR`: images for image files, one mp4 named like its source for videos, cameras and streams.

    With segments, each of these has a folder of its own name instead; with events a folder of clips.  Videos are sent
    to the addresses of `recording.publish`, too.

    Call it when the source is open: a video's frame rate is only known then.

    Args:
        folder: for all of them; None where videos are sent and nothing is saved.
        source: of the run.
        class_names: of the contract.
        encoder: of the videos; None to write them with OpenCV.
        notify: called with one sentence when an encoder fails, or frames are missing in a recording.
        recording: segments, their limits, and addresses.

    Raises:
        RkdeployError: for segments or an address without an encoder, and for an address that several sources share.
    """
    parts = parts_of(source)
    given = recording or RecordingOptions()
    shelf = None if folder is None else RecordingShelf(folder, given.keep)
    chosen = frozenset(chosen_class_ids(given.events, class_names))
    zones = frozenset(given.event_zones)
    rule = EventRule(chosen, given.before_s, given.after_s, zones, given.event_stay_s) if chosen else None
    saving = _Saving(folder, tuple(class_names), encoder, notify, given, shelf, rule)
    needing = "--publish needs" if given.publish else "--event needs" if given.events else "Segments need"
    if (given.segment_s is not None or given.publish or given.events) and encoder is None:
        raise RkdeployError(
            f"{needing} an encoder of H.264, and there is none here.",
            'Install PyAV with: pip install "rkdeploy[video]", on a board "rkdeploy[rkmpp]".',
        )
    shared = [text for text in given.publish if STREAM_PLACE not in text]
    if source.live and len(parts) > 1 and shared:
        raise RkdeployError(
            f'{len(parts)} sources cannot be sent to one address, "{redacted(shared[0])}".',
            f"Write {STREAM_PLACE} into it, which stands for the name of each source.",
        )
    if len(parts) == 1:
        return _sink_of(saving, source, set())
    return SeveralSinks(saving, parts)


@dataclass(frozen=True, slots=True)
class _Saving:
    """The arguments of `open_save_folder`."""

    folder: Path | None
    class_names: tuple[str, ...]
    encoder: EncoderChoice | None
    notify: Callable[[str], None]
    recording: RecordingOptions
    shelf: RecordingShelf | None
    rule: EventRule | None

    def passes_over(self, part: Source) -> bool:
        """Tell whether nothing comes of a source: images that are not saved."""
        return self.folder is None and isinstance(part, ImageFiles)


def open_plugin_sink(text: str, class_names: Sequence[str]) -> Sink:
    """The sink for `--sink NAME:TEXT`.

    Args:
        text: name of a plug-in of the group `rkdeploy.sinks`, and what it is given behind a colon.
        class_names: of the contract.

    Raises:
        RkdeployError: when no package offers that name, or it cannot be loaded.
    """
    name, _, argument = text.partition(":")
    offered = plugins(SINKS)
    if name not in offered:
        close = difflib.get_close_matches(name, offered, n=1)
        hint = f'Did you mean "{close[0]}"?' if close else "A sink comes with a package that offers it as a plug-in."
        raise RkdeployError(f'Sink "{name}" does not exist, expected one of {", ".join(offered) or "none"}.', hint)
    sink: Sink = load_plugin(offered[name])(argument, class_names)
    return sink


def _sink_of(saving: _Saving, source: Source, taken: set[str]) -> Sink:
    """The sink of one source; `taken` has the names of the videos so far, and gets the new one."""
    if isinstance(source, ImageFiles):
        assert saving.folder is not None, "images that are not saved are passed over"
        return ImagesSink(saving.folder, saving.class_names)
    name = _free_name(source, taken)
    if saving.encoder is None:
        assert saving.folder is not None, "checked before: only PyAV sends video"
        timed = f"{name}{_time_of(source)}.mp4"
        return VideoSink(saving.folder / timed, saving.class_names, source.frames_per_second, keep_time=source.live)
    addresses = [publish_address(text, name) for text in saving.recording.publish]
    publishers = [Publisher(one, paced=not source.live, notify=saving.notify) for one in addresses]
    clips = _clips_of(saving, source, name)
    return EncodedVideoSink(
        source.text,
        saving.class_names,
        saving.encoder,
        [*_files_of(saving, source, name), *clips, *publishers],
        frames_per_second=source.frames_per_second or DEFAULT_FRAMES_PER_SECOND,
        live=source.live,
        notify=saving.notify,
        observers=clips,
    )


def _clips_of(saving: _Saving, source: Source, name: str) -> list[EventClips]:
    """The clips of events of one video, where they are wanted."""
    if saving.folder is None or saving.shelf is None or saving.rule is None:
        return []
    folder = saving.folder / f"{name}_events"
    names, notify = saving.class_names, saving.notify
    return [EventClips(folder, saving.rule, names, saving.shelf, live=source.live, name=source.text, notify=notify)]


def _files_of(saving: _Saving, source: Source, name: str) -> list[PacketReceiver]:
    """The files of one video: none, one, or segments in a folder."""
    if saving.folder is None or saving.shelf is None:
        return []
    if saving.recording.segment_s is not None:
        folder, seconds = saving.folder / name, saving.recording.segment_s
        return [SegmentFiles(folder, seconds, saving.shelf, live=source.live, name=source.text, notify=saving.notify)]
    if saving.rule is not None:
        return []
    target = saving.folder / f"{name}{_time_of(source)}.mp4"
    if not source.live:
        refuse_source(target, Path(source.text))
    return [Mp4Files(target, at_once=source.live)]


def _time_of(source: Source) -> str:
    """The end of a live source's name: a second run overwrites nothing."""
    return time.strftime("_%Y%m%d-%H%M%S") if source.live else ""


def _free_name(source: Source, taken: set[str]) -> str:
    """The name of a source's video; it is added to `taken`."""
    if source.live:
        # rtsp://***@10.0.0.7:554/cam1?x=1 becomes 10.0.0.7_554_cam1_x_1
        words = re.findall(r"[A-Za-z0-9.-]+", re.sub(r"^[a-z]+://", "", source.text))
        stem = "_".join(words) or "live"
    else:
        stem = readable_name(Path(source.text.partition("?")[0]).stem) or "video"
    name = stem = stem[:120]
    number = 1
    while name.casefold() in taken:  # a video of that name from another folder
        number += 1
        name = f"{stem}_{number}"
    taken.add(name.casefold())
    return name


class SeveralSinks:
    """Sink of several sources: one video per video or camera, and one folder of images for all image files.

    A video's sink is opened with its first frame, since its source is open then; of files, it is closed when the next
    one begins.

    Args:
        saving: where and how.
        parts: the sources, by `Frame.origin`.
    """

    def __init__(self, saving: _Saving, parts: Sequence[Source]) -> None:
        self._saving, self._parts = saving, tuple(parts)
        self._taken: set[str] = set()
        self._videos: dict[int, Sink] = {}
        self._images: Sink | None = None
        self._open = ExitStack()  # the videos; nothing of the images stays open

    def __enter__(self) -> Self:
        if self._saving.folder is not None:
            make_folder(self._saving.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Draw one frame into what its source has.

        Raises:
            RkdeployError: see `ImagesSink`, `EncodedVideoSink` and `VideoSink`.
        """
        if not self._saving.passes_over(self._parts[frame.origin]):
            self._sink(frame.origin).write(frame, detections)

    def _sink(self, origin: int) -> Sink:
        part = self._parts[origin]
        if isinstance(part, ImageFiles):
            if self._images is None:
                self._images = _sink_of(self._saving, part, self._taken)
                self._images.__enter__()
            return self._images
        if origin not in self._videos:
            self._close_ended()
            sink = _sink_of(self._saving, part, self._taken)
            self._videos[origin] = self._open.enter_context(sink)
        return self._videos[origin]

    def _close_ended(self) -> None:
        """Put the videos of files in place that have ended: files come one after the other."""
        if any(part.live for part in self._parts) or not self._videos:
            return
        self._open.close()
        self._videos.clear()

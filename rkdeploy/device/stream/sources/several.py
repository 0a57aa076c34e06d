"""Several sources as one: files one after the other, cameras and streams side by side."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from rkdeploy.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from rkdeploy.device.stream.frames import Frame
    from rkdeploy.device.stream.sources.source import Source

_JOIN_S = 1.0


def combined(sources: Sequence[Source]) -> Source:
    """One source of all the frames; each frame keeps the name of its source, and `origin` says which one it is.

    Args:
        sources: at least one, not entered; those that are made of several themselves count as these.

    Raises:
        SourceError: when files and live sources are mixed: files wait for the network, cameras do not.
    """
    if len(sources) == 1:
        return sources[0]
    sources = [part for source in sources for part in parts_of(source)]
    live = [one.live for one in sources]
    if all(live):
        return LiveSources(sources)
    if any(live):
        raise SourceError(
            f'"{sources[live.index(True)].text}" is live and "{sources[live.index(False)].text}" is a file; one run '
            "cannot take both.",
            "Start one run for the cameras and streams and another one for the files.",
        )
    return FileSources(sources)


def parts_of(source: Source) -> tuple[Source, ...]:
    """The single sources that a source is made of, by `Frame.origin`."""
    return source.parts if isinstance(source, FileSources | LiveSources) else (source,)


def stream_names(source: Source) -> tuple[str, ...]:
    """Names of the cameras and streams of an open source, each once; of files, which follow each other, one."""
    parts = parts_of(source) if source.live else (source,)
    names: list[str] = []
    for part in parts:
        name, number = part.text, 1
        while name in names:  # two passwords of one address are hidden alike
            number += 1
            name = f"{part.text} ({number})"
        names.append(name)
    return tuple(names)


def _names(sources: Sequence[Source]) -> str:
    more = len(sources) - 1
    return f"{sources[0].text} and {more} more"


class FileSources:
    """Images and videos, one after the other; each is opened when the one before has ended.

    Args:
        parts: at least two, not entered.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = tuple(parts)
        self.text = _names(parts)
        counts = [part.frame_count for part in parts]
        self.frame_count: int | None = None if None in counts else sum(count or 0 for count in counts)
        self.frames_per_second: float | None = None
        self.live = False
        self.reconnects = 0
        self._stopped = False

    def __enter__(self) -> Iterator[Frame]:
        self._stopped = False
        return self._frames()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Each part is closed when its frames end, or with the iterator."""

    def stop(self) -> None:
        """End the frames after the one that is being read."""
        self._stopped = True
        for part in self.parts:
            part.stop()

    def _frames(self) -> Iterator[Frame]:
        for origin, part in enumerate(self.parts):
            if self._stopped:
                return
            with part as frames:
                for frame in frames:
                    yield replace(frame, origin=origin)


class LiveSources:
    """Cameras and streams side by side, each read by a thread of its own, so that none waits for another.

    The next frame of each is read when its last one was taken: where the machine is too busy to take them, frames do
    not pile up, and those that come then are recent.

    Args:
        parts: at least two, not entered.

    Entering raises:
        SourceError: when one of them cannot be opened, or is a recording.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = tuple(parts)
        self.text = _names(parts)
        self.frame_count: int | None = None
        self.frames_per_second: float | None = None
        self.live = True
        self._arrived: SimpleQueue[Frame | BaseException | None] = SimpleQueue()
        self._room: tuple[threading.Semaphore, ...] = ()
        self._stopping = threading.Event()
        self._opened = ExitStack()
        self._threads: list[threading.Thread] = []

    @property
    def reconnects(self) -> int:
        """Number of times that the parts were opened again, in total."""
        return sum(part.reconnects for part in self.parts)

    def __enter__(self) -> Iterator[Frame]:
        self._arrived, self._stopping = SimpleQueue(), threading.Event()
        self._room = tuple(threading.Semaphore() for _ in self.parts)
        with ExitStack() as stack:
            opened = [stack.enter_context(part) for part in self.parts]
            for part in self.parts:
                if not part.live:
                    raise SourceError(
                        f'"{part.text}" is a recording, which cannot be run together with live sources.',
                        "Give it a run of its own.",
                    )
            self._opened = stack.pop_all()
        self._threads = [
            threading.Thread(target=self._read, args=(origin, frames), name=f"rkdeploy-source-{origin}", daemon=True)
            for origin, frames in enumerate(opened)
        ]
        for thread in self._threads:
            thread.start()
        return self._frames()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(_JOIN_S)
        self._opened.__exit__(kind, error, trace)

    def stop(self) -> None:
        """End all parts; the frames end at once, also where a camera is being read."""
        self._stopping.set()
        for part in self.parts:
            part.stop()
        for room in self._room:
            room.release()
            self._arrived.put(None)

    def _read(self, origin: int, frames: Iterator[Frame]) -> None:
        room, stopping = self._room[origin], self._stopping
        try:
            while room.acquire() and not stopping.is_set() and (frame := next(frames, None)) is not None:
                self._arrived.put(replace(frame, origin=origin))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that takes the frames
            self._arrived.put(error)
        else:
            self._arrived.put(None)

    def _frames(self) -> Iterator[Frame]:
        left = len(self.parts)
        while left:
            arrived = self._arrived.get()
            if isinstance(arrived, BaseException):
                raise arrived
            if arrived is None:
                left -= 1
            else:
                self._room[arrived.origin].release()
                yield arrived

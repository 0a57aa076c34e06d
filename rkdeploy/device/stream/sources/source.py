"""Interface of the sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rkdeploy.device.stream.frames import Frame


class Source(Protocol):
    """Frames, one after the other.  A context manager; entering it returns the frames.

    Attributes:
        text: the text that it was opened with.
        frame_count: number of frames to expect; None if it cannot be known (a camera).  For a video, the count in its
            header.
        frames_per_second: of a video or camera, None for images.
        live: True if frames are lost when they are not taken: a camera or stream, not a file.  Known once it is open.
    """

    text: str
    frame_count: int | None
    frames_per_second: float | None
    live: bool

    @property
    def reconnects(self) -> int:
        """Number of times that a lost source was opened again since it was entered."""
        ...

    def __enter__(self) -> Iterator[Frame]:
        """Open the source.  The frames end with it; reading one may raise SourceError."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def stop(self) -> None:
        """Stop waiting inside the source, from any thread: the frames end soon.  Closes nothing."""
        ...

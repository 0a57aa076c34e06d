"""What every source of frames offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rkdeploy.device.stream.frames import Frame


class Source(Protocol):
    """Frames, one after the other.  Opened and closed as a context manager; entering it gives the frames.

    Attributes:
        text: what it was opened with.
        frame_count: how many frames to expect, None where that cannot be known (a camera).  A video's is what its
            header says.
        frames_per_second: of a video or camera, None for images.
        live: whether frames are lost when nobody takes them: a camera or stream, not a file.  Known once it is open.
    """

    text: str
    frame_count: int | None
    frames_per_second: float | None
    live: bool

    @property
    def reconnects(self) -> int:
        """How often a lost source was opened again since it was entered."""
        ...

    def __enter__(self) -> Iterator[Frame]:
        """Open it.  The frames end with the source; reading one may raise SourceError."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def stop(self) -> None:
        """End waiting inside the source, from any thread: the frames end soon.  Closes nothing."""
        ...

"""What every sink offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame


class Sink(Protocol):
    """Takes each frame with what was found in it.  Entered and left as a context manager.

    What it writes appears under its final name when it is complete: an image after its frame, a video or JSONL file
    when the context is left without an exception.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, detections: Detections) -> None:
        """Take one frame.

        Raises:
            RkdeployError: when it cannot be written.
        """
        ...

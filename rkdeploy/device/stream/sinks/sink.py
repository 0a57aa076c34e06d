"""Interface of the sinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame


class Sink(Protocol):
    """Receiver of frames with their detections.  A context manager.

    Its output appears under its final name when it is complete: an image after its frame, a video or JSONL file
    when the context is left without an exception.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write one frame.

        Raises:
            RkdeployError: when it cannot be written.
        """
        ...

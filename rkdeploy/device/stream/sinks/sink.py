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

    An image appears under its name when it is complete, the video of a file when the context is left without an
    exception.  JSON lines and recordings of live sources have their names from the first frame on, and are whole up to
    the last line or fragment.
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

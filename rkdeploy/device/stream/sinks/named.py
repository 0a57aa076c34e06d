"""A sink that names embeddings by a gallery before other sinks get them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.gallery.gallery import Gallery
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame
    from rkdeploy.device.stream.sinks.sink import Sink


class NamingSink:
    """Searches each frame's embeddings in a gallery once, for all of several sinks.

    Args:
        gallery: the known images.
        sinks: open; opened and closed by the caller.
    """

    def __init__(self, gallery: Gallery, sinks: Sequence[Sink]) -> None:
        self._gallery = gallery
        self._sinks = tuple(sinks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write one frame to all sinks.

        Raises:
            RkdeployError: when one cannot write it.
        """
        named = self._gallery.named(detections)
        for sink in self._sinks:
            sink.write(frame, named)

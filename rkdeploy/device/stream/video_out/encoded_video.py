"""The frames of one stream, drawn and encoded in a thread of their own."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rkdeploy.device.drawing import draw_detections
from rkdeploy.device.stream.video_out.h264_encoder import H264Encoder
from rkdeploy.device.stream.video_out.stream_clock import StreamClock
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame
    from rkdeploy.device.stream.video_out.h264_encoder import EncoderChoice
    from rkdeploy.device.stream.video_out.video_packet import (
        PacketReceiver,
        PictureObserver,
        VideoFormat,
        VideoPacket,
    )

_MAX_WAITING: Final = 4
_JOIN_S: Final = 30.0


class EncodedVideoSink:
    """Draws and encodes frames, and hands the packets to receivers.

    Nothing but a queue of 4 frames is between the pipeline and the thread.  Frames of a file wait for room in it; of a
    live source they are left out and counted.  The receivers are called from the thread; an error of one ends the
    run with the next frame, or at the end.

    Args:
        name: of the stream, for messages.
        class_names: of the contract.
        encoder: the encoders to choose from.
        receivers: of the packets.
        frames_per_second: nominal.
        live: whether the source cannot wait.
        notify: called with one sentence when an encoder fails.
        observers: look at each picture after its packets were handed on.
    """

    def __init__(
        self,
        name: str,
        class_names: Sequence[str],
        encoder: EncoderChoice,
        receivers: Sequence[PacketReceiver],
        *,
        frames_per_second: float,
        live: bool,
        notify: Callable[[str], None],
        observers: Sequence[PictureObserver] = (),
    ) -> None:
        self._name, self._class_names, self._choice = name, tuple(class_names), encoder
        self._receivers, self._observers = tuple(receivers), tuple(observers)
        self._rate, self._live, self._notify = frames_per_second, live, notify
        self._clock = StreamClock(frames_per_second)
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Frame, Detections]] = deque()
        self._closed = self._discarding = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"rkdeploy-encoder-{name}"[:60], daemon=True)
        self._encoder: H264Encoder | None = None
        self._format: VideoFormat | None = None
        self._size_wh = (0, 0)
        self.dropped = 0

    def __enter__(self) -> Self:
        for receiver in self._receivers:
            receiver.open()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._discarding = kind is not None and not self._live
            self._changed.notify_all()
        self._thread.join(_JOIN_S)
        if kind is not None:
            return
        if self._thread.is_alive():
            raise RkdeployError(
                f'The video of "{self._name}" was not finished within {_JOIN_S:g} s.',
                "Does the disk or network folder that it is saved to still answer?",
            )
        if self._error is not None:
            raise self._error

    def write(self, frame: Frame, detections: Detections) -> None:
        """Hand over one frame.

        Raises:
            RkdeployError: when an earlier frame could not be encoded or written.
        """
        with self._changed:
            while len(self._waiting) >= _MAX_WAITING and not self._live and self._error is None:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            if len(self._waiting) >= _MAX_WAITING:
                self.dropped += 1
                return
            self._waiting.append((frame, detections))
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while (taken := self._next()) is not None:
                self._encode(*taken)
            if self._encoder is not None:
                self._hand_on(self._encoder.flush(), self._encoder.format)
            self._end(whole=not self._discarding)
        except BaseException as error:  # noqa: BLE001 - raised again in the pipeline's thread
            with self._changed:
                self._error = error
                self._waiting.clear()
                self._changed.notify_all()
            self._end_quietly()

    def _next(self) -> tuple[Frame, Detections] | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._discarding or not self._waiting:
                return None
            taken = self._waiting.popleft()
            self._changed.notify_all()
            return taken

    def _encode(self, frame: Frame, detections: Detections) -> None:
        height, width = frame.image.shape[:2]
        if (width, height) != self._size_wh:
            self._begin_size(frame, width, height)
        assert self._encoder is not None
        drawn: NDArray[np.uint8] = draw_detections(frame.image, detections, self._class_names)
        ticks = self._clock.time_of(frame)
        self._hand_on(self._encoder.encode(drawn, ticks), self._encoder.format)
        for observer in self._observers:
            observer.see(frame, detections, drawn, ticks)

    def _begin_size(self, frame: Frame, width: int, height: int) -> None:
        if self._encoder is not None:
            if not self._live:
                raise RkdeployError(
                    f'Frame {frame.index} of "{frame.source}" is {width}x{height}, expected '
                    f"{self._size_wh[0]}x{self._size_wh[1]} like the first one.",
                    "Save sources of different sizes as images.",
                )
            self._hand_on(self._encoder.flush(), self._encoder.format)
        self._encoder = H264Encoder(self._choice.names, (width, height), self._rate, self._notify)
        self._size_wh = (width, height)

    def _hand_on(self, packets: Sequence[VideoPacket], video: VideoFormat | None) -> None:
        if video is not None and video is not self._format:
            self._format = video
            for receiver in self._receivers:
                receiver.begin(video)
        for packet in packets:
            for receiver in self._receivers:
                receiver.take(packet)

    def _end(self, *, whole: bool) -> None:
        for receiver in self._receivers:
            receiver.end(whole=whole)

    def _end_quietly(self) -> None:
        for receiver in self._receivers:
            with suppress(RkdeployError):  # the first error is the one that is reported
                receiver.end(whole=False)

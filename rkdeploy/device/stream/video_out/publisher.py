"""Packets of a stream to a server, as long as it takes them."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.video_out.publish_worker import Sent, send_packets
from rkdeploy.device.stream.video_out.video_packet import TICKS_PER_S, VideoPacket
from rkdeploy.errors import RkdeployError
from rkdeploy.system.piped_process import PipedProcess, ProcessEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from rkdeploy.device.stream.video_out.publish_address import PublishAddress
    from rkdeploy.device.stream.video_out.video_packet import VideoFormat

RECONNECT: Final = Backoff(first_s=0.5, max_s=15.0)
_OPEN_S, _SEND_S, _END_S = 15.0, 5.0, 3.0
_MOST_PACKETS, _MOST_BYTES = 120, 16 << 20
_MOST_PAUSE_S: Final = 1.0


class Publisher:
    """Sends to one address, from a thread of its own with a process (`publish_worker`).

    The encoder never waits for it: packets wait in a queue of 120 (4 s at 30 frames per second) or 16 MB.  One that
    finds no room empties the queue, and sending resumes with the next key picture.  A server that refuses, ends, or
    does not take a packet for 5 s is connected again, with growing pauses.

    Args:
        address: of the server.
        paced: for files, which would be sent as fast as they are read: the encoder waits for each packet's time.
        notify: called with one sentence when the server is lost, and when it is back.
        backoff: pauses between attempts.
    """

    def __init__(
        self,
        address: PublishAddress,
        *,
        paced: bool,
        notify: Callable[[str], None],
        backoff: Backoff = RECONNECT,
    ) -> None:
        self._address, self._paced, self._notify, self._backoff = address, paced, notify, backoff
        self._changed = threading.Condition()
        self._waiting: deque[VideoPacket] = deque()
        self._bytes = 0
        self._video: VideoFormat | None = None
        self._accepts = self._closed = False
        self._error: RkdeployError | None = None
        self._thread = threading.Thread(target=self._run, name="rkdeploy-publisher", daemon=True)
        self._process: PipedProcess | None = None
        self._begun_s: float | None = None
        self._failures = 0
        self.sent = self.dropped = self.reconnects = 0

    def open(self) -> None:
        """Start the thread, which connects when there is something to send."""
        self._thread.start()

    def begin(self, video: VideoFormat) -> None:
        """Connect again with another format."""
        with self._changed:
            self._video = video
            self._empty()
            self._changed.notify_all()

    def take(self, packet: VideoPacket) -> None:
        """Put a packet into the queue, or drop it.

        Raises:
            RkdeployError: when FFmpeg does not know the protocol.
        """
        self._pace(packet)
        with self._changed:
            if self._error is not None:
                raise self._error
            if len(self._waiting) >= _MOST_PACKETS or self._bytes + len(packet.data) > _MOST_BYTES:
                self._empty()
            self._accepts = self._accepts or packet.key
            if not self._accepts:
                self.dropped += 1
                return
            self._waiting.append(packet)
            self._bytes += len(packet.data)
            self._changed.notify_all()

    def end(self, *, whole: bool) -> None:
        """Send what waits, for 3 s at most, and disconnect.

        Raises:
            RkdeployError: when nothing could be sent because FFmpeg does not know the protocol.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_END_S)
        process = self._process
        if self._thread.is_alive() and process is not None:
            with suppress(ValueError):  # it has ended meanwhile
                process.terminate()
            self._thread.join(_END_S)
        if self.dropped or self._waiting:
            dropped = self.dropped + len(self._waiting)
            self._notify(f"{self._address.text}: {dropped} of {dropped + self.sent} frames were not sent.")
        if whole and self._error is not None:
            raise self._error

    def _pace(self, packet: VideoPacket) -> None:
        if not self._paced:
            return
        now, at = time.monotonic(), packet.time / TICKS_PER_S
        if self._begun_s is None:
            self._begun_s = now - at
        time.sleep(min(max(0.0, self._begun_s + at - now), _MOST_PAUSE_S))

    def _empty(self) -> None:
        """Drop what waits; packets are taken from the next key picture on."""
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        self._accepts = False

    def _run(self) -> None:
        while (video := self._next_format()) is not None:
            error = self._send_with(video)
            if not error:
                continue
            with self._changed:
                self._empty()
            self._failures += 1
            if self._failures == 1 and not self._closed:
                self._notify(f"{self._address.text}: video is not sent ({error}); it is tried again.")
            self._wait_until_closed(self._backoff.delay_s(self._failures))

    def _next_format(self) -> VideoFormat | None:
        """The format to connect with, when a packet waits; None after the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed or self._error is not None)
            return self._video if self._waiting and self._error is None else None

    def _wait_until_closed(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def _send_with(self, video: VideoFormat) -> str:
        """Send packets of a format over one connection.

        Returns:
            The reason of its end; empty where the packets ended or have another format.
        """
        address = self._address
        try:
            process = PipedProcess("The sender", send_packets, (address.url, address.format_name, address.options), 1.0)
        except RkdeployError as error:
            return error.message
        self._process = process
        try:
            return self._answer_to(process, video, _OPEN_S) or self._send_each(process, video)
        finally:
            self._process = None
            process.join()

    def _send_each(self, process: PipedProcess, video: VideoFormat) -> str:
        """Send packets over an open connection; returns as `_send_with` does."""
        if self._failures:
            self.reconnects += 1
            self._notify(f"{self._address.text}: video is sent again; {self.dropped} frames were not sent.")
        self._failures = 0
        while (packet := self._next_packet(video)) is not None:
            reason = self._answer_to(process, packet, _SEND_S)
            if reason:
                self.dropped += 1
                return reason
            self.sent += 1
        return ""

    def _answer_to(self, process: PipedProcess, message: VideoFormat | VideoPacket, limit_s: float) -> str:
        """Give a message to the process, which waits for it; the reason if it was not sent."""
        with suppress(OSError):
            process.pipe.send(message)
        if not process.pipe.poll(limit_s):
            process.terminate()
            return f"no answer for {limit_s:g} s"
        answer = process.receive()
        if isinstance(answer, ProcessEnd):
            return f"the sender ended, {answer}"
        assert isinstance(answer, Sent)
        if answer.permanent:
            self._error = RkdeployError(
                f'"{self._address.text}" cannot be sent to: {answer.error}.', "The installed PyAV lacks this protocol."
            )
        return answer.error

    def _next_packet(self, video: VideoFormat) -> VideoPacket | None:
        """The next packet; None after the last one, or of another format."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed or self._video is not video)
            if self._video is not video or not self._waiting:
                return None
            packet = self._waiting.popleft()
            self._bytes -= len(packet.data)
            return packet

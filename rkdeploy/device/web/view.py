"""The sink for viewers: a server in its own thread.

    pipeline's thread            server's thread                    two threads
    write -> frame_buffer                event loop, uvicorn, Starlette     JPEG, /proc and /sys

The pipeline's thread only stores a reference in the frame_buffer.  All other work happens on request.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from rkdeploy.device.web.app import WebApp
from rkdeploy.device.web.connection import KEEP_ALIVE_S, MAX_CONNECTIONS, Connection
from rkdeploy.device.web.frame_buffer import FrameBuffer
from rkdeploy.device.web.jpeg import JpegOptions
from rkdeploy.device.web.live_pictures import LivePictures
from rkdeploy.device.web.status import Status, read_board_now, stream_statuses
from rkdeploy.errors import RkdeployError
from rkdeploy.system.file_names import readable_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame
    from rkdeploy.device.stream.statistics import PipelineStats
    from rkdeploy.device.web.listening_address import Address

HEALTHY_WITHIN_S = 10.0
_START_S, _END_S, _GRACE_S = 10.0, 10.0, 1
_SEND_BUFFER_BYTES = 256 * 1024  # a slow viewer gets outdated frames from this buffer: keep it short
_ROOT = Path("/")


class WebView:
    """Shows the newest frame of each stream, with figures, to viewers.

    Entering starts to listen; leaving ends all connections.

    Args:
        address: to listen on.
        token: accepted by `require_token`.
        class_names: of the contract.
        title: name of what runs.
        source: its source, without passwords.
        streams: names of the streams that are shown side by side, by `Frame.origin`, each once; with none or one, all
            frames are of one stream.
        notify: called with a sentence when the server ends by itself; the pipeline continues.
        sysroot: folder that contains `proc` and `sys`.
        healthy_within_s: `/healthz` requires a frame that is not older.
        options: of the encoding.

    Entering raises:
        RkdeployError: when it cannot listen on the address.
    """

    def __init__(
        self,
        address: Address,
        token: str | None,
        class_names: Sequence[str],
        *,
        title: str = "",
        source: str = "",
        streams: Sequence[str] = (),
        notify: Callable[[str], None] | None = None,
        sysroot: Path = _ROOT,
        healthy_within_s: float = HEALTHY_WITHIN_S,
        options: JpegOptions | None = None,
    ) -> None:
        self._address, self._token = address, token
        self._class_names = tuple(class_names)
        self._title, self._source = readable_name(title), readable_name(source)
        self._streams = tuple(map(readable_name, streams)) or (self._source,)
        self._notify = notify
        self._sysroot = sysroot
        self._healthy_within_s = healthy_within_s
        self._options = options or JpegOptions()
        self._frame_buffer = FrameBuffer(len(self._streams))
        self._stats: Callable[[], PipelineStats] | None = None
        self._figures_from: Callable[[], str] = str
        self._backend, self._on_npu = "", False
        self._started, self._ending = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._end: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self.app: WebApp | None = None
        self.pictures: LivePictures | None = None
        self.port = address.port

    def __enter__(self) -> Self:
        listening = _listen(self._address)
        self.port = listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, args=(listening,), name="rkdeploy-web", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_S) or self._error is not None:
            listening.close()
            raise RkdeployError(
                f"The web view did not start: {self._error or 'no answer from its thread'}."
            ) from self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        if self._end is not None:
            self._end()
        if self._thread is not None:
            self._thread.join(_END_S)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Take one frame: two references are kept, nothing is copied, drawn or sent here."""
        self._frame_buffer.put(frame, detections)

    def watch(
        self,
        stats: Callable[[], PipelineStats],
        figures_from: Callable[[], str],
        backend: str = "",
        *,
        on_npu: bool = False,
    ) -> None:
        """Set the sources of the figures.

        Args:
            stats: of the pipeline; with several streams, those of each among them.  Called from the server's threads.
            figures_from: their source, for users.  Called from the server's threads.
            backend: name of the runtime.
            on_npu: True if that is an NPU.
        """
        self._figures_from = figures_from
        self._backend, self._on_npu = backend, on_npu
        self._stats = stats

    @property
    def url(self) -> str:
        """Address of the view, without the token."""
        host = self._address.host
        if host in ("0.0.0.0", "::"):  # noqa: S104 - every network, not an address to open
            host = socket.gethostname()
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    def _run(self, listening: socket.socket) -> None:
        try:
            with closing(listening), ThreadPoolExecutor(2, thread_name_prefix="rkdeploy-web-work") as workers:
                asyncio.run(self._serve(listening, workers))
        except BaseException as error:  # noqa: BLE001 - raised to the caller that entered, or shown as a warning
            self._error = error
        if self._notify is not None and self._started.is_set() and not self._ending.is_set():
            self._notify(f"The web view has ended: {self._error or 'its server stopped'}. The run continues.")
        self._started.set()

    async def _serve(self, listening: socket.socket, workers: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()

        async def read_status(viewers: int, listeners: int) -> Status:
            return await loop.run_in_executor(workers, self._status, viewers, listeners)

        self.pictures = LivePictures(self._frame_buffer, self._streams, self._class_names, self._options, workers)
        self.app = app = WebApp(
            self._frame_buffer, self.pictures, self._streams, self._class_names, read_status, self._token
        )
        # uvicorn would log requests, including their tokens
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        server = _Server(
            uvicorn.Config(
                app.asgi, http=Connection, ws="none", loop="asyncio", lifespan="off", log_config=None,
                access_log=False, server_header=False, proxy_headers=False, limit_concurrency=MAX_CONNECTIONS + 1,
                timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=_GRACE_S,
                h11_max_incomplete_event_size=16_384,
            ),
            self._started,
        )  # fmt: skip

        def end() -> None:
            app.close()
            server.should_exit = True
            for connection in list(server.server_state.connections):
                if isinstance(connection, Connection):
                    connection.abort_if_stuck()

        def end_from_any_thread() -> None:
            try:
                loop.call_soon_threadsafe(end)
            except RuntimeError:
                return  # it has already ended

        self._end = end_from_any_thread
        if self._ending.is_set():
            return
        await server.serve(sockets=[listening])
        for connection in list(server.server_state.connections):
            if isinstance(connection, Connection):
                connection.transport.abort()
        await asyncio.sleep(0)

    def _status(self, viewers: int, listeners: int) -> Status:
        since_s = self._frame_buffer.seconds_since()
        stats = self._stats() if self._stats is not None else None
        return Status(
            title=self._title,
            source=self._source,
            backend=self._backend,
            on_npu=self._on_npu,
            figures_from=self._figures_from(),
            healthy=since_s <= self._healthy_within_s,
            healthy_within_s=self._healthy_within_s,
            seconds_since_frame=since_s,
            stats=stats,
            streams=stream_statuses(self._streams, stats, self._frame_buffer, self._healthy_within_s),
            board=read_board_now(self._sysroot),
            viewers=viewers,
            listeners=listeners,
        )


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: threading.Event) -> None:
        super().__init__(config)
        self._up = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up.set()


def _listen(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise RkdeployError(f'--web "{address}": the host is not known: {error.strerror}.') from error
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)  # inherited by the connections
        listening.bind(where)
        listening.listen(64)
    except OSError as error:
        listening.close()
        raise RkdeployError(
            f'--web "{address}" cannot be listened on: {(error.strerror or str(error)).lower()}.',
            f"Use another port, --web {address.host}:8081, or any free one, --web {address.host}:0.",
        ) from error
    return listening

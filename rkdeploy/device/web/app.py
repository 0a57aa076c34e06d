"""Routes of the web view.

- `/`: the page
- `/pictures`: the page's pictures, each with what is said of its frame
- `/stream`: multipart/x-mixed-replace of JPEGs; of several streams in one picture
- `/detections`: server-sent events, the object that `run --json` writes
- `/status`: JSON, the figures on the page
- `/metrics`: Prometheus
- `/healthz`: 200 while frames come, else 503

With `?stream=`, a stream's name or position, `/pictures`, `/stream`, `/detections` and `/healthz` are about that one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from rkdeploy.device.web import metrics
from rkdeploy.device.web.access import Access

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from rkdeploy.device.web.frame_buffer import FrameBuffer
    from rkdeploy.device.web.jpeg import SharedJpeg
    from rkdeploy.device.web.live_pictures import LivePictures
    from rkdeploy.device.web.status import Status

MAX_VIEWERS = 32
_BOUNDARY = "rkdeploy-frame"
_PARTS = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
_PICTURES = "application/octet-stream"
_LISTEN_EVERY_S = 0.04
_COMMENT_EVERY_S = 15.0
_STATUS_KEPT_S = 0.5


class Seats:
    """A limit on simultaneous viewers of one route."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def respond(self, chunks: Callable[[], AsyncIterator[bytes]], media_type: str) -> Response:
        """A response that continues while the viewer stays, or 503 when all seats are taken."""
        if self.taken >= self.limit:
            full = PlainTextResponse(f"{self.limit} viewers are connected, which is the limit.\n", 503)
            full.headers["Retry-After"] = "5"
            return full
        return _Seated(self, chunks(), media_type)


class _Seated(StreamingResponse):
    def __init__(self, seats: Seats, chunks: AsyncIterator[bytes], media_type: str) -> None:
        super().__init__(chunks, media_type=media_type, headers={"X-Accel-Buffering": "no"})
        self._seats = seats
        seats.taken += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._seats.taken -= 1


class WebApp:
    """The ASGI application; used in one event loop.

    Args:
        frame_buffer: frames from the pipeline.
        pictures: of the streams.
        streams: names of the streams, by their positions.
        class_names: of the contract.
        read_status: in a thread: (viewers, listeners) to a status.  Called for all viewers together, at most twice
            per second.
        token: as for `Access`.
    """

    def __init__(
        self,
        frame_buffer: FrameBuffer,
        pictures: LivePictures,
        streams: Sequence[str],
        class_names: Sequence[str],
        read_status: Callable[[int, int], Awaitable[Status]],
        token: str | None,
    ) -> None:
        self._frame_buffer, self._pictures = frame_buffer, pictures
        self._streams = tuple(streams)
        self._class_names = tuple(class_names)
        self._read_status = read_status
        self._status: Status | None = None
        self._status_until_s = 0.0
        self._reading = asyncio.Lock()
        self._closed = False
        self.viewers, self.listeners = Seats(MAX_VIEWERS), Seats(MAX_VIEWERS)
        self._page, self._page_policy = load_page()
        routes = [
            Route("/", self._get_page),
            Route("/pictures", self._get_pictures),
            Route("/stream", self._get_stream),
            Route("/detections", self._get_detections),
            Route("/status", self._get_status),
            Route("/metrics", self._get_metrics),
            Route("/healthz", self._get_healthz),
        ]
        self.asgi: ASGIApp = Access(Starlette(routes=routes), token)

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        self._pictures.close()

    async def _moment(self) -> Status:
        async with self._reading:
            now = asyncio.get_running_loop().time()
            if self._status is None or now >= self._status_until_s:
                self._status = await self._read_status(self.viewers.taken, self.listeners.taken)
                self._status_until_s = now + _STATUS_KEPT_S
            return self._status

    async def _get_page(self, _request: Request) -> Response:
        return HTMLResponse(self._page, headers={"Content-Security-Policy": self._page_policy})

    async def _get_status(self, _request: Request) -> Response:
        return _json(await self._moment())

    async def _get_metrics(self, _request: Request) -> Response:
        return Response(metrics.metrics_text(await self._moment()), media_type=metrics.CONTENT_TYPE)

    async def _get_healthz(self, request: Request) -> Response:
        stream = self._chosen(request)
        status = await self._moment()
        of = status if stream is None else status.streams[stream]
        facts: dict[str, object] = {"healthy": of.healthy, "seconds_since_frame": round(of.seconds_since_frame, 2)}
        if stream is None and len(self._streams) > 1:
            facts["without_frames"] = [one.name for one in status.streams if not one.healthy]
        return _json(facts, 200 if of.healthy else 503)

    async def _get_pictures(self, request: Request) -> Response:
        stream = self._chosen(request)
        chosen = self._pictures.small if stream is None else (self._pictures.large[stream],)
        if request.method == "HEAD":
            return Response(media_type=_PICTURES)
        return self.viewers.respond(lambda: self._page_pictures(chosen), _PICTURES)

    async def _get_stream(self, request: Request) -> Response:
        stream = self._chosen(request)
        chosen = self._pictures.all if stream is None else self._pictures.large[stream]
        if request.method == "HEAD":
            return Response(media_type=_PARTS)
        return self.viewers.respond(lambda: self._parts(chosen), _PARTS)

    async def _get_detections(self, request: Request) -> Response:
        stream = self._chosen(request)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return self.listeners.respond(lambda: self._events(stream), "text/event-stream")

    def _chosen(self, request: Request) -> int | None:
        """Position of the stream that a request names; None if it names none.

        Raises:
            HTTPException: 404 for a stream that does not exist.
        """
        wanted = request.query_params.get("stream")
        if wanted is None:
            return None
        if wanted in self._streams:
            return self._streams.index(wanted)
        if re.fullmatch(r"[0-9]{1,4}", wanted) and int(wanted) < len(self._streams):
            return int(wanted)
        listed = "".join(f"{position}: {name}\n" for position, name in enumerate(self._streams))
        raise HTTPException(404, f"There is no such stream. Those of this run, by position and name:\n{listed}")

    async def _page_pictures(self, pictures: Sequence[SharedJpeg]) -> AsyncIterator[bytes]:
        """Facts and JPEG of each frame, both after their length in 4 bytes, big-endian."""
        async for picture in self._pictures.in_turn(pictures):
            sizes = [len(part).to_bytes(4, "big") for part in (picture.facts, picture.data)]
            yield b"%b%b%b%b" % (sizes[0], picture.facts, sizes[1], picture.data)
            yield b""  # waits until the socket has taken it: the next frame fetched is the newest then

    async def _parts(self, pictures: SharedJpeg) -> AsyncIterator[bytes]:
        number = 0
        yield f"--{_BOUNDARY}\r\n".encode()
        while (jpeg := await pictures.after(number)) is not None:
            number = jpeg.number
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg.data)}\r\n\r\n".encode()
            # followed by the next boundary: browsers show a part when they see its end
            yield b"%b%b\r\n--%b\r\n" % (head, jpeg.data, _BOUNDARY.encode())
            yield b""  # as above

    async def _events(self, stream: int | None) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        number = self._frame_buffer.number()
        place = number if stream is None else self._frame_buffer.place(stream)
        comment_s = loop.time() + _COMMENT_EVERY_S
        yield b"retry: 2000\n\n"
        while not self._closed:
            found = self._frame_buffer.found_after(number)
            number = found[-1].number if found else number
            if stream is not None:
                found = [one for one in found if one.stream == stream]
            if found:
                first, last = (one.number if stream is None else one.place for one in (found[0], found[-1]))
                missed, place = first - place - 1, last
                lines = [f'event: missed\ndata: {{"frames": {missed}}}\n\n'] if missed else []
                lines += [f"id: {one.number}\ndata: {one.line(self._class_names)}\n\n" for one in found]
                comment_s = loop.time() + _COMMENT_EVERY_S
                yield "".join(lines).encode()
                yield b""
            elif loop.time() >= comment_s:  # detects viewers that have left
                comment_s = loop.time() + _COMMENT_EVERY_S
                yield b": nothing yet\n\n"
            await asyncio.sleep(_LISTEN_EVERY_S)


def load_page() -> tuple[str, str]:
    """The page, and the content security policy that only allows its own script and style."""
    folder = files("rkdeploy.device.web")
    names = ("page.html", "page.css", "page_zh.js", "page.js")
    page, style, texts, script = (folder.joinpath(name).read_text("utf-8") for name in names)
    page = page.replace("{{ style }}", f"\n{style}", 1).replace("{{ script }}", f"\n{texts}{script}", 1)

    def sources(tag: str) -> str:
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
        return " ".join(f"'sha256-{digest}'" for digest in hashes)

    policy = (
        f"default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src {sources('style')}; "
        f"script-src {sources('script')}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")

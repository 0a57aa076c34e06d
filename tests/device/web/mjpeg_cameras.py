"""Loopback network cameras that need no package: endless MJPEG over HTTP."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

_PER_SECOND = 20


@contextmanager
def mjpeg_cameras(names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Cameras of 160x120 pixels, each of another gray value: name -> address."""
    over = threading.Event()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            gray = 60 * (1 + names.index(self.path.strip("/")))
            for number in itertools.count():
                picture = np.full((120, 160, 3), gray, np.uint8)
                picture[:20, : number % 160] = 255
                data = cv2.imencode(".jpg", picture)[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                try:
                    self.wfile.write(head + data + b"\r\n")
                except OSError:
                    return
                if over.wait(1 / _PER_SECOND):
                    return

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - its name there
            del format

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {name: f"http://127.0.0.1:{server.server_port}/{name}" for name in names}
    finally:
        over.set()
        server.shutdown()
        server.server_close()

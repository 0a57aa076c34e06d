"""Recordings in a real browser: a segment plays from the disk, and so does a file that is still being written."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkdeploy.device.stream.video_out.fragmented_mp4 import FragmentedMp4
from rkdeploy.device.stream.video_out.h264_encoder import H264Encoder
from rkdeploy.device.stream.video_out.video_packet import TICKS_PER_S
from tests.device.stream.stand_ins import WAIT_S
from tests.device.web.browser import CHROMIUM, open_browser

pytest.importorskip("av")

PAGE = '<!doctype html><body style="margin:0"><video id="v" muted autoplay src="{name}"></video>'
SECONDS, RATE = 6, 25


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the test's folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietFiles, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def write(path: Path, *, closed: bool) -> None:
    """Write 6 s, white from left to right with the time; not closed, the last second and the end are missing."""
    encoder = H264Encoder(["libx264"], (320, 180), RATE, lambda _text: None)
    writer: FragmentedMp4 | None = None
    for i in range(SECONDS * RATE):
        image = np.zeros((180, 320, 3), np.uint8)
        image[:, : 320 * i // (SECONDS * RATE)] = 255
        for packet in encoder.encode(image, i * TICKS_PER_S // RATE):
            if writer is None:
                assert encoder.format is not None
                writer = FragmentedMp4(path, encoder.format)
            writer.write(packet)
    assert writer is not None
    if closed:
        writer.close()
    else:
        path.with_name("killed.mp4").write_bytes(path.read_bytes())
        writer.close()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_recordings_play_in_a_browser(tmp_path: Path, served: str) -> None:
    """The time of the video advances with the clock, and the picture is that of the time, for both files."""
    write(tmp_path / "whole.mp4", closed=True)
    write(tmp_path / "open.mp4", closed=False)
    with open_browser(tmp_path / "profile") as page:
        for name in ("whole", "killed"):
            (tmp_path / f"{name}.html").write_text(PAGE.format(name=f"{name}.mp4"))
            page.call("Page.navigate", url=f"{served}/{name}.html")
            if not page.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.640016\"')"):
                pytest.skip("this Chromium is built without H.264")
            for least_s in (0.5, 1.5):
                at_s, white = played(page, least_s)
                assert white == pytest.approx(at_s / SECONDS, abs=0.05)
            assert page.evaluate("[v.videoWidth, v.videoHeight, v.error]") == [320, 180, None]
            assert name == "killed" or page.evaluate("v.duration") == pytest.approx(SECONDS)


def played(page: Any, least_s: float) -> tuple[float, float]:
    """The time of the video when it has passed `least_s`, and the share of white in its picture."""
    deadline = time.monotonic() + WAIT_S
    while (page.evaluate("window.v ? v.currentTime : 0") or 0) < least_s:
        assert time.monotonic() < deadline, page.evaluate("[v.readyState, v.error && v.error.message, v.networkState]")
        time.sleep(0.05)
    return (
        page.evaluate("v.currentTime"),
        page.evaluate(
            "(() => { const c = document.createElement('canvas'); c.width = 320; c.height = 1;"
            " const x = c.getContext('2d'); x.drawImage(v, 0, 90, 320, 1, 0, 0, 320, 1);"
            " const d = x.getImageData(0, 0, 320, 1).data; let n = 0;"
            " for (let i = 0; i < 1280; i += 4) n += d[i] > 127; return n / 320 })()"
        ),
    )

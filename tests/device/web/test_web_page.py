"""The page in a real browser."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.statistics import PipelineStats
from rkdeploy.device.web.view import WebView
from tests.device.web.browser import CHROMIUM, Page, open_browser
from tests.device.web.live_view import get, stats, view_on, wait_until
from tests.device.web.test_web_view import board_files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: bash tests/needs.sh"),
]
SAMPLE = Path(__file__).parents[3] / "calib_data" / "images" / "val" / "val_0000.jpg"
TOKEN = "correct-horse-battery"


@contextmanager
def camera(view: WebView) -> Iterator[None]:
    """30 frames per second of a moving picture with two objects, and figures that count them."""
    over = threading.Event()
    read = cv2.imread(str(SAMPLE))
    assert read is not None
    image = np.asarray(cv2.resize(read, (960, 720)), np.uint8)
    count = itertools.count(1)
    now = 0

    def run() -> None:
        nonlocal now
        while not over.wait(1 / 30):
            now = next(count)
            boxes = np.array([[100 + 3 * now % 600, 200, 260 + 3 * now % 600, 380], [500, 420, 700, 600]], np.float32)
            found = Detections(boxes, np.array([0.93, 0.71], np.float32), np.array([1, 2], np.int32))
            view.write(Frame(np.roll(image, 4 * now, axis=1), "camera 0", now), found)

    def figures() -> PipelineStats:
        return replace(stats(now), frames_per_second=29.0 + now % 10 / 10)

    view.watch(figures, lambda: "a stand-in for an NPU")
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def text(page: Page, name: str) -> str:
    return str(page.evaluate(f"document.getElementById('{name}').innerText"))


def problems(page: Page) -> list[str]:
    """Errors of the browser, and every request that left the machine."""
    told = [str(params) for method, params in page.events if method in ("Runtime.exceptionThrown", "Log.entryAdded")]
    urls = [params["request"]["url"] for method, params in page.events if method == "Network.requestWillBeSent"]
    return told + [url for url in urls if not url.startswith(("http://127.0.0.1:", "data:", "about:"))]


def shots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("RKDEPLOY_TEST_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_page_lives(tmp_path: Path) -> None:
    """The picture moves, figures change, names from the model are text, nothing is requested elsewhere, it fits."""
    folder = shots(tmp_path)
    board = board_files(tmp_path / "board")
    with view_on(sysroot=board) as view, camera(view), open_browser(tmp_path / "profile") as page:
        page.set_size(1280, 800)
        page.call("Page.navigate", url=view.url)
        wait_until(lambda: page.evaluate("document.getElementById('stream')?.naturalWidth") == 960)
        wait_until(lambda: text(page, "health") == "Live" and "Core 2" in text(page, "load"))
        wait_until(lambda: "washer" in text(page, "objects"))
        assert text(page, "objects").count("<b>washer</b>") == 1, "a class name is text, not markup"
        assert "71 %" in text(page, "load")
        assert "63 °C" in text(page, "temperature")
        assert "1.00 G" in text(page, "clocks")
        assert "stand-in for an NPU" in text(page, "origin")
        assert "Radxa ROCK 5B" in text(page, "board")
        before = text(page, "counts")
        wait_until(lambda: text(page, "counts") != before)
        assert page.evaluate("document.getElementById('stream').getBoundingClientRect().width") > 700
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        bottom = "document.getElementById('board-card').getBoundingClientRect().bottom"
        assert page.evaluate(bottom) <= 800, "load, temperature and clocks are seen without scrolling"
        wait_until(lambda: page.evaluate("document.getElementById('spark').points.numberOfItems") >= 5)
        first = page.screenshot(folder / "desktop.png")
        wait_until(lambda: page.screenshot(folder / "desktop-2.png") != first)
        page.set_size(1000, 700, dark=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 1000
        page.screenshot(folder / "narrow-whole.png", whole=True)
        page.set_size(390, 844, phone=True, dark=True)
        columns = "getComputedStyle(document.querySelector('main')).gridTemplateColumns.split(' ').length"
        wait_until(lambda: page.evaluate(columns) == 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.screenshot(folder / "phone.png")
        page.screenshot(folder / "phone-whole.png", whole=True)
        assert problems(page) == []


def test_the_page_says_what_is_missing_and_that_it_lost_the_run(tmp_path: Path) -> None:
    """On a machine without an NPU every gap has its reason; when the run ends, the page says so."""
    folder = shots(tmp_path)
    with open_browser(tmp_path / "profile") as page:
        page.set_size(1280, 800, dark=True)
        with view_on(sysroot=tmp_path) as view:
            view.watch(stats, lambda: "onnxruntime on this PC, not an NPU")
            page.call("Page.navigate", url=view.url)
            load = "document.getElementById('load')?.innerText"
            wait_until(lambda: "Not available here: there is no" in (page.evaluate(load) or ""))
            assert "Not available here: no sensor" in text(page, "temperature")
            assert "Not available here: no devfreq" in text(page, "clocks")
            assert "Waiting for a frame" in text(page, "waiting")
            page.screenshot(folder / "missing.png")
        wait_until(lambda: text(page, "health") == "Not reached")


def test_a_browser_keeps_the_token_as_a_cookie(tmp_path: Path) -> None:
    """Opened once with ?token=, the address loses it, and stream and figures arrive."""
    with (
        view_on(token=TOKEN, sysroot=tmp_path) as view,
        camera(view),
        open_browser(tmp_path / "profile") as page,
    ):
        assert get(view, "/")[0] == 401
        page.call("Page.navigate", url=f"{view.url}?token={TOKEN}")
        wait_until(lambda: page.evaluate("document.getElementById('stream')?.naturalWidth") == 960)
        wait_until(lambda: text(page, "health") == "Live")
        assert TOKEN not in page.evaluate("location.href + document.cookie")

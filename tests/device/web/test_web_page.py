"""The page in a real browser."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.statistics import PipelineStats
from rkdeploy.device.web import app
from rkdeploy.device.web.view import WebView
from tests.device.web.browser import CHROMIUM, LOW_CONTRAST, Page, open_browser
from tests.device.web.live_view import get, silent_viewer, stats, stats_of, view_on, wait_until
from tests.device.web.test_web_view import board_files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: bash tests/needs.sh"),
]
SAMPLE = Path(__file__).parents[3] / "calib_data" / "images" / "val" / "val_0000.jpg"
TOKEN = "correct-horse-battery"
BITS = 12
WIDTH = "document.querySelector('canvas')?.width"
SEEN = """
[...document.querySelectorAll(".stream")].filter(card => !card.hidden).map(card => {
  const canvas = card.querySelector("canvas"), copy = document.createElement("canvas");
  const context = copy.getContext("2d", {willReadFrequently: true});
  [copy.width, copy.height] = [canvas.width, canvas.height];
  if (canvas.width) context.drawImage(canvas, 0, 0);
  const scale = canvas.width / 320;
  const bit = i => context.getImageData(Math.round((20 + 24 * i) * scale), Math.round(160 * scale), 1, 1).data[0] > 127;
  return {
    name: card.querySelector("h2")?.innerText, drawn: [...Array(12).keys()].reduce((sum, i) => sum + (bit(i) << i), 0),
    number: card.querySelector(".number b")?.innerText, objects: card.querySelector(".objects").innerText,
    processed: document.getElementById("processed")?.innerText, waiting: card.querySelector(".frame.waiting") !== null,
  };
})
"""
"""Contents of each card at one moment, with the frame's number as it is read from the picture's pixels."""


@contextmanager
def running(
    view: WebView, write: Callable[[int], None], figures: Callable[[], PipelineStats], **of: Any
) -> Iterator[None]:
    """A thread that calls `write` with 1, 2, ... 30 times per second, and figures for the page."""
    over = threading.Event()

    def run() -> None:
        for number in itertools.count(1):
            if over.wait(1 / 30):
                return
            write(number)

    view.watch(figures, lambda: "a stand-in for an NPU", **of)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def camera(view: WebView) -> Iterator[None]:
    """A moving picture with two objects."""
    read = cv2.imread(str(SAMPLE))
    assert read is not None
    image = np.asarray(cv2.resize(read, (960, 720)), np.uint8)
    now = 0

    def write(number: int) -> None:
        nonlocal now
        now = number
        boxes = np.array([[100 + 3 * now % 600, 200, 260 + 3 * now % 600, 380], [500, 420, 700, 600]], np.float32)
        found = Detections(boxes, np.array([0.93, 0.71], np.float32), np.array([1, 2], np.int32))
        view.write(Frame(np.roll(image, 4 * now, axis=1), "camera 0", now), found)

    def figures() -> PipelineStats:
        return replace(stats(now), frames_per_second=29.0 + now % 10 / 10)

    with running(view, write, figures, backend="librknnrt", on_npu=True):
        yield


@contextmanager
def cameras(view: WebView, names: Sequence[str]) -> Iterator[list[int]]:
    """Cameras whose frames show their number as squares, with as many objects as its last two bits say.

    Every third frame of each is lost before the view, so that counts and numbers differ; the list has the positions of
    those that still give frames.
    """
    live = list(range(len(names)))
    written = [0] * len(names)

    def write(number: int) -> None:
        for origin in live:
            index = number * 3 // 2 + origin
            image = np.full((180, 320, 3), 30 + 20 * origin, np.uint8)
            for bit in range(BITS):
                image[150:170, 10 + 24 * bit : 30 + 24 * bit] = 255 if index >> bit & 1 else 0
            boxes = np.tile(np.array([[200, 20, 300, 120]], np.float32), (index & 3, 1))
            found = Detections(boxes, np.full(index & 3, 0.9, np.float32), np.full(index & 3, 1, np.int32))
            view.write(Frame(image, names[origin], index, origin=origin), found)
            written[origin] += 1

    def figures() -> PipelineStats:
        return stats_of(names, written) if len(names) > 1 else stats(written[0])

    with running(view, write, figures, backend="onnxruntime"):
        yield live


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
        wait_until(lambda: page.evaluate(WIDTH) == 960)
        wait_until(lambda: text(page, "health") == "Live" and "Core 2" in text(page, "load"))
        objects = "document.querySelector('.objects').innerText"
        wait_until(lambda: "washer" in page.evaluate(objects))
        assert page.evaluate(objects).count("<b>washer</b>") == 1, "a class name is text, not markup"
        assert "71 %" in text(page, "load")
        assert "63 °C" in text(page, "temperature")
        assert "1.00 G" in text(page, "clocks")
        assert "stand-in for an NPU" in text(page, "origin")
        assert "Radxa ROCK 5B" in text(page, "board")
        assert "Wait for NPU" in text(page, "stages")
        before = text(page, "counts")
        wait_until(lambda: text(page, "counts") != before)
        assert page.evaluate("document.querySelector('canvas').getBoundingClientRect().width") > 700
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
            assert "Waiting for a frame" in page.evaluate("document.querySelector('.note').innerText")
            page.screenshot(folder / "missing.png")
        wait_until(lambda: text(page, "health") == "Not reached")


def agree(seen: dict[str, Any]) -> int:
    """The number of the frame that a card shows, the same in its picture, its objects and its figures."""
    number = int(re.sub(r"\D", "", seen["number"] or ""))
    assert seen["drawn"] == number % (1 << BITS), seen
    assert seen["objects"] == (f"{number & 3} nut" if number & 3 else "Nothing in this frame"), seen
    return number


def test_picture_objects_and_figures_are_of_the_same_frame(tmp_path: Path) -> None:
    """At 100 moments: the number in the pixels, the chips, the frame's number and the count agree."""
    with view_on(sysroot=tmp_path) as view, cameras(view, ["camera 0"]), open_browser(tmp_path / "profile") as page:
        page.set_size(1280, 800)
        page.call("Page.navigate", url=view.url)
        wait_until(lambda: page.evaluate(WIDTH) == 320 and text(page, "counts"))
        numbers = set()
        for _ in range(100):
            (seen,) = page.evaluate(SEEN)
            numbers.add(number := agree(seen))
            assert (int(seen["processed"].replace(",", "")) * 3 // 2) == number
            time.sleep(0.01)
        assert len(numbers) > 5
        assert "Wait for onnxruntime" in text(page, "stages")
        assert problems(page) == []


def test_several_streams_are_a_grid_and_one_can_be_opened(tmp_path: Path) -> None:
    """Each with its name, rate, drops and reconnections; a click, keys and the address open one; one may be lost."""
    names = ["gate", "yard <b>", "hall", "roof"]
    folder = shots(tmp_path)
    with (
        view_on(streams=names, sysroot=board_files(tmp_path / "board"), healthy_within_s=1.0) as view,
        cameras(view, names) as live,
        open_browser(tmp_path / "profile") as page,
    ):
        page.set_size(1280, 800)
        page.call("Page.navigate", url=view.url)
        wait_until(lambda: [one["waiting"] for one in page.evaluate(SEEN) or []] == [False] * 4)
        wait_until(lambda: text(page, "health") == "Live")
        for _ in range(20):
            cards = page.evaluate(SEEN)
            assert [one["name"] for one in cards] == names, "names are text"
            for one in cards:
                agree(one)
        lines = page.evaluate("[...document.querySelectorAll('.facts')].map(one => one.innerText)")
        assert lines[0] == "10.0 per second"
        assert lines[2] == "12.0 per second · 4 dropped · 2 reconnects"
        columns = "getComputedStyle(document.getElementById('streams')).gridTemplateColumns.split(' ').length"
        assert page.evaluate(columns) == 2
        page.screenshot(folder / "grid.png", whole=True)
        live.remove(3)
        wait_until(lambda: "No frame for" in page.evaluate("document.querySelectorAll('.state')[3].innerText"))
        page.screenshot(folder / "grid-lost.png", whole=True)

        page.evaluate("document.querySelectorAll('.stream .frame')[2].click()")
        wait_until(lambda: [one["name"] for one in page.evaluate(SEEN)] == ["hall"])
        wait_until(lambda: text(page, "fps") == "12.0")
        for _ in range(20):
            (seen,) = page.evaluate(SEEN)
            agree(seen)
        assert page.evaluate("location.hash") == "#hall"
        page.screenshot(folder / "opened.png", whole=True)
        press(page, "ArrowLeft")
        wait_until(lambda: [one["name"] for one in page.evaluate(SEEN)] == ["yard <b>"])
        press(page, "Escape")
        wait_until(lambda: len(page.evaluate(SEEN)) == 4)
        for width, dark in ((390, True), (360, False)):
            page.set_size(width, 844, phone=True, dark=dark)
            wait_until(lambda: page.evaluate(columns) == 1)
            assert page.evaluate(LOW_CONTRAST)["low"] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.screenshot(folder / f"grid-phone-{width}.png", whole=True)
        assert problems(page) == []


def press(page: Page, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)


def test_a_chinese_browser_gets_chinese(tmp_path: Path) -> None:
    """Every text of the page but names, units and the reasons of the server; figures are the same."""
    folder = shots(tmp_path)
    names = ["gate", "yard"]
    with (
        view_on(streams=names, sysroot=board_files(tmp_path / "board")) as view,
        cameras(view, names),
        open_browser(tmp_path / "profile") as page,
    ):
        page.call("Network.setUserAgentOverride", userAgent="Chromium", acceptLanguage="zh-CN")
        page.set_size(390, 844, phone=True)
        page.call("Page.navigate", url=view.url)
        wait_until(lambda: [one["waiting"] for one in page.evaluate(SEEN) or []] == [False] * 2)
        wait_until(lambda: text(page, "health") == "实时" and "等待 onnxruntime" in text(page, "stages"))
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        assert page.evaluate("document.querySelector('.facts').innerText") == "每秒 10.0 帧"
        assert all(re.fullmatch(r"第 [0-9,]+ 帧", one["number"]) for one in page.evaluate(SEEN))
        words = " ".join(page.evaluate(f"document.querySelector('{part}').innerText") for part in ("main", "footer"))
        kept = "NPU npu onnxruntime gate yard nut p GHz C a stand in for an Radxa ROCK B status metrics detections"
        assert set(re.findall(r"[A-Za-z]+", words)) <= {*kept.split(), "rknn", "run", "answered"}
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.screenshot(folder / "chinese.png", whole=True)
        assert problems(page) == []


def test_every_text_has_its_chinese() -> None:
    """The table has all that the script says, and nothing else."""
    folder = Path(app.__file__).parent
    said = set(re.findall(r'say\("([^"]+)"', script := (folder / "page.js").read_text("utf-8")))
    table = set(re.findall(r'"((?:[^"\\]|\\.)+)":', (folder / "page_zh.js").read_text("utf-8")))
    assert said <= table
    page = re.sub(r"\s+", " ", (folder / "page.html").read_text("utf-8"))
    assert [one for one in table if f'"{one}"' not in script and one not in page] == []


def test_a_page_without_a_seat_says_why(tmp_path: Path) -> None:
    """When all seats are taken the reason stands in place of the picture; with a free one the picture comes."""
    with view_on(sysroot=tmp_path) as view, camera(view), open_browser(tmp_path / "profile") as page:
        served = view.app
        assert served is not None
        viewers = [silent_viewer(view) for _ in range(32)]
        wait_until(lambda: served.viewers.taken == 32)
        page.call("Page.navigate", url=view.url)
        note = "document.querySelector('.note')?.innerText"
        wait_until(lambda: "32 viewers are connected" in (page.evaluate(note) or ""))
        for viewer in viewers:
            viewer.close()
        wait_until(lambda: page.evaluate(WIDTH) == 960)
        wait_until(lambda: page.evaluate("document.querySelector('.note').hidden"))


def test_a_hidden_page_asks_for_no_pictures(tmp_path: Path) -> None:
    """A tab in the background takes no seat, and takes one again when it is looked at."""
    with view_on(sysroot=tmp_path) as view, camera(view), open_browser(tmp_path / "profile") as page:
        served = view.app
        assert served is not None
        page.call("Page.navigate", url=view.url)
        wait_until(lambda: served.viewers.taken == 1)
        hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
        changed = "document.dispatchEvent(new Event('visibilitychange'))"
        page.evaluate(hide % "true" + changed)
        wait_until(lambda: served.viewers.taken == 0)
        page.evaluate(hide % "false" + changed)
        wait_until(lambda: served.viewers.taken == 1)


def test_a_browser_keeps_the_token_as_a_cookie(tmp_path: Path) -> None:
    """Opened once with ?token=, the address loses it, and stream and figures arrive."""
    with (
        view_on(token=TOKEN, sysroot=tmp_path) as view,
        camera(view),
        open_browser(tmp_path / "profile") as page,
    ):
        assert get(view, "/")[0] == 401
        page.call("Page.navigate", url=f"{view.url}?token={TOKEN}")
        wait_until(lambda: page.evaluate(WIDTH) == 960)
        wait_until(lambda: text(page, "health") == "Live")
        assert TOKEN not in page.evaluate("location.href + document.cookie")

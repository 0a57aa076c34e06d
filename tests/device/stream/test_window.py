"""The window, where there is one; and what a user reads where there is none."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sinks import window
from rkdeploy.device.stream.sinks.window import WindowSink, require_display
from rkdeploy.errors import RkdeployError
from tests.device.stream.stand_ins import frame


class Screen:
    """Stands in for OpenCV's windows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[int] = []
        self.key = -1
        self.visible = 1.0
        self.closed = 0
        self.shapes: list[tuple[int, ...]] = []
        self.click: Callable[[int, int, int, int, object], None] = lambda *_: None
        monkeypatch.setattr(window, "require_display", lambda: None)
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "imshow", self._show)
        monkeypatch.setattr(cv2, "setMouseCallback", lambda _, callback: setattr(self, "click", callback))
        monkeypatch.setattr(cv2, "waitKey", lambda _: self.key)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: self.visible)
        for name in ("destroyWindow", "destroyAllWindows"):
            monkeypatch.setattr(cv2, name, self._close)

    def _show(self, _title: str, image: NDArray[np.uint8]) -> None:
        self.shown.append(int(image[0, 0, 0]))
        self.shapes.append(image.shape)

    def _close(self, *_: object) -> None:
        self.closed += 1


def test_the_newest_frame_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames between two refreshes are passed over; without a new one nothing is shown again; leaving closes it."""
    screen = Screen(monkeypatch)
    with WindowSink("t", ["a"]) as sink:
        for i in range(5):
            sink.write(frame(i), Detections.empty())
        assert sink.refresh()
        assert sink.refresh()
        sink.write(frame(9), Detections.empty())
        assert sink.refresh()
    assert screen.shown == [4, 9]
    assert screen.closed == 1


@pytest.mark.parametrize(
    ("key", "visible", "goes_on"), [(-1, 1, True), (ord("q"), 1, False), (27, 1, False), (-1, 0, False)]
)
def test_the_user_ends_it(key: int, visible: float, goes_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """q, Escape and the window's own button end the run; nothing else does."""
    screen = Screen(monkeypatch)
    with WindowSink("t", ["a"]) as sink:
        screen.key, screen.visible = key, visible
        assert sink.refresh() is goes_on


def test_several_streams_are_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and clicks show one as large as it is, and all again; streams that are not seen are not drawn."""
    screen = Screen(monkeypatch)
    small, large = (360, 640), (48, 64, 3)

    def write(sink: WindowSink) -> None:
        for origin in range(4):
            image = np.full(large, 50 * origin, np.uint8)
            sink.write(Frame(image, f"s{origin}", 0, origin=origin), Detections.empty())

    with WindowSink("t", ["a"], ["gate", "yard", "hall", "roof"]) as sink:
        write(sink)
        assert sink.refresh()
        assert [side // 2 for side in screen.shapes[-1][:2]] == pytest.approx(small, abs=4)
        for key, click_xy in ((ord("3"), None), (-1, (9, 700))):
            screen.key = key
            if click_xy is not None:
                screen.click(cv2.EVENT_LBUTTONUP, *click_xy, 0, None)
            sink.refresh()
            screen.key = -1
            write(sink)
            sink.refresh()
            assert (screen.shapes[-1], screen.shown[-1]) == (large, 100)
            screen.click(cv2.EVENT_LBUTTONUP, 9, 9, 0, None)
            sink.refresh()
            assert screen.shapes[-1] != large
        screen.key = ord("9")
        assert sink.refresh(), "there is no ninth stream"
        assert screen.shapes[-1] != large


def test_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a display the error says how to get one, and what to do instead."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(RkdeployError, match="needs a display") as caught:
        require_display()
    assert "--save" in caught.value.hint


def test_headless_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of OpenCV without windows is named."""
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    with pytest.raises(RkdeployError, match="opencv-python-headless"):
        require_display()


def test_a_display_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Qt would end our process; the probe finds out in another one."""
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(RkdeployError, match='cannot open a window on display ":987"'):
        require_display()

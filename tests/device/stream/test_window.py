"""The window, where there is one; and what a user reads where there is none."""

from __future__ import annotations

import cv2
import pytest

from rkdeploy.device.postprocess.detections import Detections
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
        monkeypatch.setattr(window, "require_display", lambda: None)
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "imshow", lambda _, image: self.shown.append(int(image[0, 0, 0])))
        monkeypatch.setattr(cv2, "waitKey", lambda _: self.key)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: self.visible)
        for name in ("destroyWindow", "destroyAllWindows"):
            monkeypatch.setattr(cv2, name, self._close)

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

"""A window on the screen with the newest frame."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import cv2

from rkdeploy.device.drawing import draw_detections
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame

_PROBE = 'import cv2; cv2.namedWindow("rkdeploy"); cv2.waitKey(1)'
_PROBE_TIMEOUT_S = 30
_ESCAPE = 27
_ELSE = "Save a video (--save DIR) or JSON lines (-o FILE) instead."


class WindowSink:
    """Shows the newest frame.

    Window systems need one thread, the main one: `write` may be called from any thread and only draws; `refresh` shows
    the result, in the main thread.  Frames that come faster than `refresh` are skipped, and nothing waits.

    Args:
        title: of the window.
        class_names: of the contract.

    Entering raises:
        RkdeployError: when no window can be shown here.
    """

    def __init__(self, title: str, class_names: Sequence[str]) -> None:
        self._title = title
        self._class_names = tuple(class_names)
        self._lock = threading.Lock()
        self._drawn: NDArray[np.uint8] | None = None
        self._open = False

    def __enter__(self) -> Self:
        require_display()
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open = False
            cv2.destroyWindow(self._title) if self._is_visible() else cv2.destroyAllWindows()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Draw one frame, to be shown by the next `refresh`."""
        drawn = draw_detections(frame.image, detections, self._class_names)
        with self._lock:
            self._drawn = drawn

    def refresh(self) -> bool:
        """Show the newest frame and read the keyboard, in the main thread.

        Returns:
            False when the user has closed the window or pressed q or Escape.
        """
        with self._lock:
            drawn, self._drawn = self._drawn, None
        if drawn is not None:
            cv2.imshow(self._title, drawn)
        key = cv2.waitKey(1) & 0xFF
        return key not in (ord("q"), ord("Q"), _ESCAPE) and self._is_visible()

    def _is_visible(self) -> bool:
        return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) > 0


def require_display() -> None:
    """Check that OpenCV can show a window here.

    Tried in another process: without a usable display, Qt ends the process.

    Raises:
        RkdeployError: when it cannot.
    """
    built = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "")
    if built.split()[-1:] == ["NONE"]:
        raise RkdeployError(
            f"--show needs a window, and this OpenCV {cv2.__version__} is built without (opencv-python-headless?).",
            f"pip install opencv-python in its place. {_ELSE}",
        )
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise RkdeployError(
            "--show needs a display, and this session has none (neither DISPLAY nor WAYLAND_DISPLAY is set).",
            f"Over ssh, connect with `ssh -X`, or set DISPLAY=:0 for the board's own screen. {_ELSE}",
        )
    try:
        probe = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
        reason = "" if probe.returncode == 0 else (probe.stderr.strip().splitlines() or ["no reason given"])[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        raise RkdeployError(f'--show cannot open a window on display "{display}": {reason}', _ELSE)

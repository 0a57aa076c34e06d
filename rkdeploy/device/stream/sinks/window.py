"""A window on the screen with the newest frame, of several streams side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import cv2

from rkdeploy.device.drawing import draw_detections
from rkdeploy.device.drawing.mosaic import MosaicCell, mosaic, mosaic_layout
from rkdeploy.device.drawing.scaled import draw_scaled
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
_GRID_PX = 1280  # width of a grid's picture; the window scales it
_ELSE = "Save a video (--save DIR) or JSON lines (-o FILE) instead."


class WindowSink:
    """Shows the newest frame, or those of several streams in a grid.

    Window systems need one thread, the main one: `write` may be called from any thread and only draws; `refresh` shows
    the result, in the main thread.  Frames that come faster than `refresh` are skipped, and nothing waits.  A key from
    1 to 9, or a click, shows one stream of a grid large; 0, or another click, shows all.

    Args:
        title: of the window.
        class_names: of the contract.
        streams: names of the streams, by `Frame.origin`; with one, all frames are shown alike.

    Entering raises:
        RkdeployError: when no window can be shown here.
    """

    def __init__(self, title: str, class_names: Sequence[str], streams: Sequence[str] = ("",)) -> None:
        self._title = title
        self._class_names = tuple(class_names)
        self._streams = tuple(streams)
        self._lock = threading.Lock()
        self._cells: list[NDArray[np.uint8] | None] = [None] * len(self._streams)
        self._names = tuple(f"{key} {name}" if key < 10 else name for key, name in enumerate(self._streams, 1))
        self._layout = mosaic_layout(len(self._streams), _GRID_PX)
        self._changed = False
        self._chosen: int | None = None if len(self._streams) > 1 else 0
        self._open = False

    def __enter__(self) -> Self:
        require_display()
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        if len(self._streams) > 1:
            cv2.setMouseCallback(self._title, self._click)
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open = False
            cv2.destroyWindow(self._title) if self._is_visible() else cv2.destroyAllWindows()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Draw one frame, to be shown by the next `refresh`; in a grid as large as its cell."""
        several = len(self._streams) > 1
        stream, chosen = frame.origin if several else 0, self._chosen
        if chosen is None:
            drawn = draw_scaled(frame.image, detections, self._class_names, self._layout.cell_wh[0])
        elif stream == chosen:
            drawn = draw_detections(frame.image, detections, self._class_names)
        else:
            return
        with self._lock:
            self._cells[stream] = drawn
            self._changed = True

    def refresh(self) -> bool:
        """Show the newest frames and read the keyboard, in the main thread.

        Returns:
            False when the user has closed the window or pressed q or Escape.
        """
        picture = self._picture()
        if picture is not None:
            cv2.imshow(self._title, picture)
        key = cv2.waitKey(1) & 0xFF
        if ord("0") <= key <= ord("9"):
            self._choose(key - ord("1"))
        return key not in (ord("q"), ord("Q"), _ESCAPE) and self._is_visible()

    def _picture(self) -> NDArray[np.uint8] | None:
        """The picture to show; None if nothing is new."""
        with self._lock:
            changed, self._changed = self._changed, False
            cells, chosen = tuple(self._cells), self._chosen
        if not changed:
            return None
        if chosen is not None:
            return cells[chosen]
        return mosaic([MosaicCell(name, cell) for name, cell in zip(self._names, cells, strict=True)], _GRID_PX)

    def _choose(self, stream: int) -> None:
        """Show one stream large, or all if there is none at that position."""
        if len(self._streams) > 1:
            with self._lock:
                self._chosen = stream if 0 <= stream < len(self._streams) else None
                self._changed = True

    def _click(self, event: int, x: int, y: int, _flags: int, _data: object) -> None:
        if event == cv2.EVENT_LBUTTONUP:
            self._choose(self._layout.cell_at(x, y) if self._chosen is None else -1)

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

"""A V4L2 device as plain data: its node, its card, and the pixel formats, frame sizes and rates that it offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

NodeKind = Literal["camera", "metadata", "codec", "output", "other", "unknown"]

_SHOWN_SIZES: Final = 4
_SAME_RATE: Final = 0.02  # a request for 30 is met by 29.97


@dataclass(frozen=True, slots=True)
class FrameRates:
    """Frame rates of one size: a single rate (`lowest` equals `highest`), or all between two.

    Attributes:
        lowest, highest: frames per second.
    """

    lowest: float
    highest: float

    def contains(self, frames_per_second: float) -> bool:
        """True if a rate is offered, within 2 %."""
        low, high = self.lowest * (1 - _SAME_RATE), self.highest * (1 + _SAME_RATE)
        return low <= frames_per_second <= high


@dataclass(frozen=True, slots=True)
class FrameSizes:
    """One frame size, or a grid of sizes.

    Attributes:
        smallest_wh, largest_wh: width and height in pixels; equal for a single size.
        step_wh: distance of two widths and of two heights of the grid, in pixels.
        rates_wh: size that `rates` hold for: the single size, or one of the grid.
        rates: offered rates; empty if the driver states none.
    """

    smallest_wh: tuple[int, int]
    largest_wh: tuple[int, int]
    step_wh: tuple[int, int] = (1, 1)
    rates_wh: tuple[int, int] = (0, 0)
    rates: tuple[FrameRates, ...] = ()

    def contains(self, size_wh: tuple[int, int]) -> bool:
        """True if a size (width, height) is offered."""
        axes = zip(size_wh, self.smallest_wh, self.largest_wh, self.step_wh, strict=True)
        return all(low <= value <= high and (value - low) % max(step, 1) == 0 for value, low, high, step in axes)

    @property
    def highest_rate(self) -> float | None:
        """Highest rate in frames per second; None if the driver states none."""
        return max((rates.highest for rates in self.rates), default=None)

    def __str__(self) -> str:
        """The sizes and their highest rate: `1280x720 at 30`."""
        smallest, largest = ("x".join(map(str, size)) for size in (self.smallest_wh, self.largest_wh))
        text = largest if smallest == largest else f"{smallest} to {largest}"
        return text if self.highest_rate is None else f"{text} at {self.highest_rate:.4g}"


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """A pixel format of a device.

    Attributes:
        fourcc: four characters, `NV12`.
        compressed: True for JPEG, H.264 and the like.
        multiplanar: True if the device gives it by the multiplanar interface.
        sizes: in the driver's order; empty if the driver states none.
    """

    fourcc: str
    compressed: bool
    multiplanar: bool
    sizes: tuple[FrameSizes, ...]

    def __str__(self) -> str:
        """The format with its largest sizes: `MJPG 1920x1080 at 30, 1280x720 at 60`."""
        listed = sizes_text(self.sizes)
        return f"{self.fourcc} {listed}" if listed else self.fourcc


@dataclass(frozen=True, slots=True)
class VideoDevice:
    """Answers of one /dev/videoN about itself.

    Attributes:
        path: as a program opens it, `/dev/video0`.
        kind: `camera` (pictures can be captured), `metadata`, `codec` (memory to memory: decoders, encoders,
            scalers), `output`, `other`; `unknown` if it could not be asked.
        card, driver, bus: the driver's texts; nodes of the same card have the same bus.
        formats: what it captures, for cameras.
        error: why it could not be asked; empty if it answered.
        error_code: errno of that, 0 if it answered.
    """

    path: str
    kind: NodeKind
    card: str = ""
    driver: str = ""
    bus: str = ""
    formats: tuple[PixelFormat, ...] = ()
    error: str = ""
    error_code: int = 0

    @property
    def gives_pictures(self) -> bool:
        """True if it captures, and lists at least one format."""
        return self.kind == "camera" and bool(self.formats)

    def is_of_same_card(self, other: VideoDevice) -> bool:
        """True if two nodes belong to one card."""
        return bool(self.bus) and self.bus == other.bus


def sizes_text(sizes: Sequence[FrameSizes], most: int = _SHOWN_SIZES) -> str:
    """The largest sizes with their highest rates: `1920x1080 at 30, 1280x720 at 60 and 7 more`.

    Args:
        sizes: of one or several formats; a size that is repeated is named once, with its highest rate.
        most: number of sizes that are named.
    """
    best: dict[tuple[tuple[int, int], tuple[int, int]], FrameSizes] = {}
    for one in sizes:
        key = (one.smallest_wh, one.largest_wh)
        if key not in best or (one.highest_rate or 0) > (best[key].highest_rate or 0):
            best[key] = one
    ordered = sorted(best.values(), key=lambda one: one.largest_wh[0] * one.largest_wh[1], reverse=True)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(map(str, ordered[:most])) + more

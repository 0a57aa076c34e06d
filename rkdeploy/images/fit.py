"""Fit of a source image into the network's input, and the mapping of boxes and points between the two frames.

The contract's `InputSpec.fit` decides: `Letterbox` and `Line` pad, `CenterCrop` crops, `Stretch` distorts.

Two coordinate frames, both in pixels with the origin at the top left corner of the image:

- *source*: the image as it was read, (H, W);
- *input*: the network's input, (`spec.height`, `spec.width`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import ColorOrder, Fit, InputSpec
from rkdeploy.errors import RkdeployError, SourceError
from rkdeploy.images.antialiased_resize import AntialiasedCrop

_COLOR_CODES: Final[dict[tuple[int, ColorOrder], int | None]] = {
    (1, "rgb"): cv2.COLOR_GRAY2RGB,
    (1, "bgr"): cv2.COLOR_GRAY2BGR,
    (3, "rgb"): cv2.COLOR_BGR2RGB,
    (3, "bgr"): None,
    (4, "rgb"): cv2.COLOR_BGRA2RGB,
    (4, "bgr"): cv2.COLOR_BGRA2BGR,
}


@dataclass(frozen=True, slots=True)
class LetterboxTransform:
    """The map between one source image and the network input: input = source * scale + pad, on each axis.

    It serves every fit: a crop has a negative pad, a stretch two scales.

    For a letterbox the values are those of YOLOv5's `scale_boxes` (utils/general.py, v7.0): the exact ratio and the
    exact
    half of the remaining space, not the whole pixels at which the image was placed, so that boxes agree with
    upstream's.

    Attributes:
        scale_x, scale_y: input pixels per source pixel; equal for a letterbox.
        pad_x, pad_y: input pixels left of and above the image; may be fractional, and negative.
        source_hw: (height, width) of the source image in pixels.
    """

    scale_x: float
    scale_y: float
    pad_x: float
    pad_y: float
    source_hw: tuple[int, int]

    @property
    def placed(self) -> LetterboxTransform:
        """The same map for the actual placement: the image resized to whole pixels and placed at a whole pixel.

        For everything read pixel by pixel, such as masks; ultralytics' `scale_boxes` (8.4) also uses it.
        """
        height, width = self.source_hw
        scale_x, pad_x = _whole_pixels(width, self.scale_x, self.pad_x)
        scale_y, pad_y = _whole_pixels(height, self.scale_y, self.pad_y)
        return LetterboxTransform(scale_x, scale_y, pad_x, pad_y, self.source_hw)

    def boxes_to_source(self, xyxy: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Boxes (N, 4) x1, y1, x2, y2 in input pixels to new (N, 4) float32 in source pixels, clipped to the image."""
        return self.points_to_source(xyxy.reshape(-1, 2, 2)).reshape(-1, 4)

    def points_to_source(self, xy: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Points (..., 2) x, y in input pixels to a new (..., 2) float32 in source pixels, clipped to the image."""
        height, width = self.source_hw
        points: NDArray[np.float32] = xy.astype(np.float32)
        points -= np.array((self.pad_x, self.pad_y), np.float32)
        points /= np.array((self.scale_x, self.scale_y), np.float32)
        np.maximum(points, np.float32(0.0), out=points)
        np.minimum(points, np.array((width, height), np.float32), out=points)
        return points

    def rotated_to_source(self, rotated: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Boxes (N, 5) center x, y, width, height, angle in input pixels to a new (N, 5) in source pixels, not clipped.

        The two scales must be equal: otherwise the boxes would not stay rectangular.
        """
        boxes: NDArray[np.float32] = rotated.astype(np.float32)
        boxes[:, :2] -= np.array((self.pad_x, self.pad_y), np.float32)
        boxes[:, :4] /= np.array((self.scale_x, self.scale_y) * 2, np.float32)
        return boxes

    def boxes_to_input(self, xyxy: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Boxes (N, 4) x1, y1, x2, y2 in source pixels to a new (N, 4) float32 in input pixels, not clipped."""
        boxes: NDArray[np.float32] = xyxy.astype(np.float32)
        boxes *= np.array((self.scale_x, self.scale_y) * 2, np.float32)
        boxes += np.array((self.pad_x, self.pad_y) * 2, np.float32)
        return boxes


def _whole_pixels(source: int, scale: float, pad: float) -> tuple[float, float]:
    """Scale and pad of one axis with the resized side and the pad rounded as in `Letterbox`."""
    side = max(1, round(source * scale))
    remainder = round(source * scale + 2 * pad) - side
    return side / source, float(_before(remainder))


def _before(remainder: int) -> int:
    """The part of the remaining space before the image; negative for a crop.

    The 0.1 is upstream's: an odd remainder puts its extra row below and its extra column to the right.
    """
    return round(remainder / 2 - 0.1)


@dataclass(frozen=True, slots=True)
class Letterboxed:
    """One image ready for the network.

    Attributes:
        image: (1, height, width, 3) uint8, contiguous, in the contract's color order.  It is the `Letterbox`'s own
            buffer: valid until the next call; copy it to keep it.
        transform: the map back to source pixels.
    """

    image: NDArray[np.uint8]
    transform: LetterboxTransform


@dataclass(frozen=True, slots=True)
class _Placement:
    """Placement of the resized image inside the network input, in whole pixels."""

    top: int
    left: int
    height: int
    width: int


class Letterbox:
    """Resize of a BGR source image to the network's input size that keeps its aspect ratio and pads the rest.

    Equal pixel for pixel to the `letterbox` of YOLOv5 v7.0 (utils/augmentations.py) with `auto=False, scaleup=True`,
    followed by the change of color order.  Upstream's detect.py resizes this way; its validation loader shrinks with
    INTER_AREA instead, so its figures may differ slightly.  One addition: where upstream
    would round a very thin image to zero pixels and fail, one pixel is kept.  With `InputSpec.place` `top_left` all
    padding lies below and to the right, as YOLOX has it.

    The output buffer is allocated once and every call writes into it: the image of a call is valid until the next
    one.  The padding is written only when the place of the image changes.  One `Letterbox` per thread.
    """

    def __init__(self, spec: InputSpec, out: NDArray[np.uint8] | None = None) -> None:
        """Allocate the buffer, or take a given one.

        Args:
            spec: the contract's input; its `fit` must be `letterbox`.
            out: buffer, see `image_fit`.
        """
        _require_fit(spec, "letterbox")
        self._spec = spec
        self._buffer = _buffer_of(spec, out)
        self._buffer.fill(spec.pad_value)
        self._placement = _Placement(0, 0, 0, 0)
        self._resized = np.empty((0, 0, 3), np.uint8)

    def __call__(self, image: NDArray[np.uint8]) -> Letterboxed:
        """Letterbox one image.

        Args:
            image: (H, W, 3) uint8 in BGR order, as OpenCV reads it; gray (H, W) or (H, W, 1) and BGRA (H, W, 4) are
                converted.  Any strides.

        Returns:
            The image, valid until the next call, and the transform.

        Raises:
            SourceError: for another shape or dtype, or an image without pixels.
        """
        channels = _checked_channels(image)
        # (H, W, 1) becomes (H, W): OpenCV drops the last axis by itself, and then not everywhere.
        source = image[:, :, 0] if image.ndim == 3 and channels == 1 else image
        code = _COLOR_CODES[channels, self._spec.color]

        def resize_into(region: NDArray[np.uint8]) -> None:
            if code is None:
                self._resize(source, region)
            else:
                # Through a second small buffer: OpenCV does not guarantee that cvtColor works in place.
                cv2.cvtColor(self._resize(source, None), code, dst=region)

        return self.fill((image.shape[0], image.shape[1]), resize_into)

    @property
    def color(self) -> ColorOrder:
        """Order of the color channels in the network's input."""
        return self._spec.color

    def resized_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width, in input pixels, that an image of this size gets."""
        placement = self._place(*source_hw, self._ratio(source_hw))
        return placement.height, placement.width

    def fill(self, source_hw: tuple[int, int], write: Callable[[NDArray[np.uint8]], None]) -> Letterboxed:
        """Letterbox an image that something else resizes and converts.

        Args:
            source_hw: its height and width in pixels.
            write: called with the part of the buffer that the image gets, (*resized_hw, 3) uint8, in `color`'s order,
                with the buffer's strides; it must fill all of it.

        Returns:
            The image, valid until the next call, and the transform.
        """
        ratio = self._ratio(source_hw)
        placement = self._place(*source_hw, ratio)
        if placement != self._placement:
            self._buffer.fill(self._spec.pad_value)
            self._placement = placement
        write(
            self._buffer[
                0,
                placement.top : placement.top + placement.height,
                placement.left : placement.left + placement.width,
            ]
        )
        height, width = source_hw
        transform = LetterboxTransform(
            scale_x=ratio,
            scale_y=ratio,
            pad_x=0.0 if self._spec.place == "top_left" else (self._spec.width - width * ratio) / 2,
            pad_y=0.0 if self._spec.place == "top_left" else (self._spec.height - height * ratio) / 2,
            source_hw=source_hw,
        )
        return Letterboxed(self._buffer, transform)

    def _ratio(self, source_hw: tuple[int, int]) -> float:
        return min(self._spec.height / source_hw[0], self._spec.width / source_hw[1])

    def _place(self, source_height: int, source_width: int, ratio: float) -> _Placement:
        width = max(1, round(source_width * ratio))
        height = max(1, round(source_height * ratio))
        if self._spec.place == "top_left":
            return _Placement(0, 0, height, width)
        return _Placement(_before(self._spec.height - height), _before(self._spec.width - width), height, width)

    def _resize(self, source: NDArray[np.uint8], target: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Resize `source` into `target`, or into the reused scratch buffer (or not at all) if that is None."""
        height, width = self._placement.height, self._placement.width
        if source.shape[:2] == (height, width):
            if target is None:
                return source
            target[...] = source
            return target
        if target is None:
            shape = (height, width, *source.shape[2:])
            if self._resized.shape != shape:
                self._resized = np.empty(shape, np.uint8)
            target = self._resized
        cv2.resize(source, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
        return target


class CenterCrop:
    """Resize and crop of a source image to the network's input size, as torchvision's `Resize` and `CenterCrop`.

    The image is resized, with antialiasing, until the input over `InputSpec.crop_fraction` fits into it; then its
    middle is cut out.  ultralytics' `classify_transforms` (8.4, data/augment.py) does this with a fraction of 1.
    YOLOv5's `CenterCrop` (v7.0, utils/augmentations.py) cuts out the same part, but resizes it without antialiasing.

    One `CenterCrop` per thread; its buffer is reused like `Letterbox`'s.
    """

    def __init__(self, spec: InputSpec, out: NDArray[np.uint8] | None = None) -> None:
        """Allocate the buffer, or take a given one.

        Args:
            spec: the contract's input; its `fit` must be `center_crop`.
            out: buffer, see `image_fit`.

        Raises:
            RkdeployError: when the crop fraction is not in (0, 1].
        """
        _require_fit(spec, "center_crop")
        if not 0.0 < spec.crop_fraction <= 1.0:
            raise RkdeployError(
                f'Input "{spec.name}" has a crop fraction of {spec.crop_fraction}, expected more than 0, up to 1.'
            )
        self._spec = spec
        self._resizer = _Resizer(spec, out)

    def __call__(self, image: NDArray[np.uint8]) -> Letterboxed:
        """Crop one image.  Arguments, result and errors are those of `Letterbox`."""
        channels = _checked_channels(image)
        height, width = image.shape[:2]
        wanted_hw = [math.floor(side / self._spec.crop_fraction) for side in (self._spec.height, self._spec.width)]
        # The tighter side gets its exact size, the other one the whole pixels that the ratio gives.
        if wanted_hw[0] * width >= wanted_hw[1] * height:
            resized = (wanted_hw[0], wanted_hw[0] * width // height)
        else:
            resized = (wanted_hw[1] * height // width, wanted_hw[1])
        top, left = round((resized[0] - self._spec.height) / 2), round((resized[1] - self._spec.width) / 2)
        return self._resizer(image, channels, resized, top, left)


class Stretch:
    """Resize of a source image to the network's input size that ignores its aspect ratio.

    With `InputSpec.antialias` it is resized like a `CenterCrop`'s, else by OpenCV's bilinear resize, as ultralytics'
    `LetterBox(scale_fill=True)` (8.4, data/augment.py) and most demos do it.

    One `Stretch` per thread; its buffer is reused like `Letterbox`'s.
    """

    def __init__(self, spec: InputSpec, out: NDArray[np.uint8] | None = None) -> None:
        """Allocate the buffer, or take a given one.

        Args:
            spec: the contract's input; its `fit` must be `stretch`.
            out: buffer, see `image_fit`.
        """
        _require_fit(spec, "stretch")
        self._spec = spec
        self._resizer = _Resizer(spec, out)

    def __call__(self, image: NDArray[np.uint8]) -> Letterboxed:
        """Stretch one image.  Arguments, result and errors are those of `Letterbox`."""
        return self._resizer(image, _checked_channels(image), (self._spec.height, self._spec.width), 0, 0)


class Line:
    """Resize of a line of text to the network's height that keeps its aspect ratio and pads on the right.

    Equal to `resize_norm_img` of PaddleOCR (tools/infer/predict_rec.py) at a fixed width, up to the gray level of the
    padding; a line that is too wide is stretched.  One `Line` per thread; its buffer is reused like `Letterbox`'s.
    """

    def __init__(self, spec: InputSpec, out: NDArray[np.uint8] | None = None) -> None:
        """Allocate the buffer, or take a given one.

        Args:
            spec: the contract's input; its `fit` must be `line`.
            out: buffer, see `image_fit`.
        """
        _require_fit(spec, "line")
        self._spec = spec
        self._buffer = _buffer_of(spec, out)

    def __call__(self, image: NDArray[np.uint8]) -> Letterboxed:
        """Fit one image.  Arguments, result and errors are those of `Letterbox`."""
        channels = _checked_channels(image)
        height, width = image.shape[:2]
        wide = min(self._spec.width, math.ceil(self._spec.height * width / height))
        part = _stretched((self._spec.height, wide), image.reshape(height, width, channels))
        code = _COLOR_CODES[channels, self._spec.color]
        self._buffer[0, :, :wide] = part if code is None else cv2.cvtColor(part, code)
        self._buffer[0, :, wide:] = self._spec.pad_value
        transform = LetterboxTransform(wide / width, self._spec.height / height, 0.0, 0.0, (height, width))
        return Letterboxed(self._buffer, transform)


ImageFit = Letterbox | CenterCrop | Stretch | Line


def image_fit(spec: InputSpec, out: NDArray[np.uint8] | None = None) -> ImageFit:
    """The fit that the contract's input asks for.

    Args:
        spec: the contract's input.
        out: buffer that every call writes into, (1, H, W, 3) uint8; its rows may be longer than W pixels, as the NPU's
            are.  None allocates one.  Nothing else may write into it: padding is written once.

    Raises:
        RkdeployError: when `out` is not such a buffer.
    """
    if spec.fit == "center_crop":
        return CenterCrop(spec, out)
    if spec.fit == "line":
        return Line(spec, out)
    return Stretch(spec, out) if spec.fit == "stretch" else Letterbox(spec, out)


def _buffer_of(spec: InputSpec, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """The given buffer, checked; a new one if there is none."""
    shape = (1, spec.height, spec.width, 3)
    if out is None:
        return np.empty(shape, np.uint8)
    if out.shape != shape or out.dtype != np.uint8 or out.strides[2:] != (3, 1):
        raise RkdeployError(
            f"The buffer of the input is {out.shape} {out.dtype}, expected {shape} uint8 with contiguous rows."
        )
    return out


class _Resizer:
    """Antialiased resize of images whose size stays the same from frame to frame, into one buffer."""

    def __init__(self, spec: InputSpec, out: NDArray[np.uint8] | None) -> None:
        self._spec = spec
        self._buffer = _buffer_of(spec, out)
        self._source_hw = (0, 0)
        self._resize: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None

    def __call__(
        self, image: NDArray[np.uint8], channels: int, resized_hw: tuple[int, int], top: int, left: int
    ) -> Letterboxed:
        height, width = image.shape[:2]
        if self._resize is None or self._source_hw != (height, width):
            crop = (top, left, self._spec.height, self._spec.width)
            plain = self._spec.fit == "stretch" and not self._spec.antialias
            self._resize = (
                partial(_stretched, resized_hw) if plain else AntialiasedCrop((height, width), resized_hw, crop)
            )
            self._source_hw = (height, width)
        part = self._resize(image.reshape(height, width, channels))
        code = _COLOR_CODES[channels, self._spec.color]
        if code is None:
            self._buffer[0] = part
        else:
            cv2.cvtColor(part, code, dst=self._buffer[0])
        transform = LetterboxTransform(
            scale_x=resized_hw[1] / width,
            scale_y=resized_hw[0] / height,
            pad_x=float(-left),
            pad_y=float(-top),
            source_hw=(height, width),
        )
        return Letterboxed(self._buffer, transform)


def _stretched(resized_hw: tuple[int, int], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize (H, W, C) bilinearly, without antialiasing."""
    height, width = resized_hw
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8).reshape(height, width, image.shape[2])


def _require_fit(spec: InputSpec, fit: Fit) -> None:
    if spec.fit != fit:
        raise RkdeployError(f'Input "{spec.name}" has fit "{spec.fit}", expected "{fit}".')


def _checked_channels(image: NDArray[np.uint8]) -> int:
    """Number of channels (1, 3 or 4) of a source image that can be letterboxed."""
    if image.dtype != np.uint8:
        raise SourceError(
            f"The source image has dtype {image.dtype}, expected uint8.", "Convert it to 8 bits per channel."
        )
    channels = 1 if image.ndim == 2 else int(image.shape[2]) if image.ndim == 3 else 0
    if channels not in (1, 3, 4):
        raise SourceError(
            f"The source image has shape {image.shape}, expected (H, W, 3) BGR, (H, W) gray or (H, W, 4) BGRA."
        )
    if image.size == 0:
        raise SourceError(f"The source image has shape {image.shape}: it holds no pixels.")
    return channels

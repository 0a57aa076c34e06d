"""Areas of text: the rotated boxes in a map of probabilities, as PaddleOCR's `DBPostProcess` finds them.

Source: PaddlePaddle/PaddleOCR, ppocr/postprocess/db_postprocess.py, `boxes_from_bitmap` with the mode `fast` of scores.
Two things differ: corners are not rounded to whole pixels of the source, and boxes are not clipped to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AreaFormula
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.area_unclip import outlines_around
from rkdeploy.device.postprocess.area_values import AreaValues
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.raw_values import outputs_with, require_map_sized
from rkdeploy.device.postprocess.resampling import plane_of
from rkdeploy.device.postprocess.rotated import regularized, upright_around
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform

_LARGER: Final = 2.0
"""An enlarged rectangle's shortest side must exceed `AreaFormula.smallest` by this, in pixels of the map."""
_Rectangle = tuple[Sequence[float], Sequence[float], float]
"""OpenCV's: center, width and height, angle in degrees."""


@dataclass(frozen=True, slots=True)
class _Shrunken:
    """Rectangles as the network shrunk them, in pixels of the map.

    Attributes:
        corners: (N, 4, 2) float32.
        distances: (N,) float64, by which their sides are moved outward.
        scores: (N,) float32.
    """

    corners: NDArray[np.float32]
    distances: NDArray[np.float64]
    scores: NDArray[np.float32]


class AreaReader:
    """Reader of one model's areas of text.  It keeps working memory: one reader per thread."""

    def __init__(self, spec: ModelSpec) -> None:
        """Check the contract.

        Args:
            spec: the contract, with one `area_map` output.

        Raises:
            RkdeployError: when there is not exactly one such output of one plane, no formula, several classes, or a
                size that does not fit the input's.
        """
        found = outputs_with(spec.outputs, ("area_map",))
        if len(found) != 1 or spec.areas is None:
            formula = "no formula" if spec.areas is None else "a formula"
            raise RkdeployError(f"The contract has {len(found)} area_map outputs and {formula}, expected one of each.")
        self._index, output = found[0]
        if output.shape[1] != 1 or len(spec.class_names) != 1:
            raise RkdeployError(
                f'Output "{output.name}" has {output.shape[1]} planes for {len(spec.class_names)} classes, expected '
                "one of each."
            )
        require_map_sized(output, spec)
        self._formula: AreaFormula = spec.areas
        self._values = AreaValues(output.activation, spec.areas.threshold)
        self._ratio = (spec.input.width / output.shape[3], spec.input.height / output.shape[2])

    def __call__(
        self, tensors: Sequence[HeadTensor], transform: LetterboxTransform, *, confidence: float, max_det: int
    ) -> Detections:
        """The areas of one image.

        Args:
            tensors: one per output of the contract, in its order.
            transform: of the image that the network saw.
            confidence: score above which a box is kept.
            max_det: largest number of boxes.

        Returns:
            Rotated boxes in source pixels, best score first.
        """
        tensor = tensors[self._index]
        plane = np.ascontiguousarray(plane_of(tensor, 0))
        shrunken = self._shrunken(plane, tensor, confidence)
        rotated, kept = self._enlarged(shrunken)
        boxes = regularized(_in_source(rotated, transform.placed, self._ratio))
        height, width = transform.source_hw
        xyxy = np.clip(upright_around(boxes), 0, np.array((width, height, width, height), np.float32))
        scores = shrunken.scores[kept]
        order = (-scores).argsort(kind="stable")
        inside = ((xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1]))[order]
        order = order[inside][:max_det]
        return Detections(xyxy[order], scores[order], np.zeros(len(order), np.int32), rotated=boxes[order])

    def _shrunken(self, plane: NDArray[Any], tensor: HeadTensor, confidence: float) -> _Shrunken:
        rectangles = self._rectangles(self._values.above(plane, tensor))
        corners = np.array([cv2.boxPoints(rectangle) for rectangle in rectangles], np.float32).reshape(-1, 4, 2)
        sizes = np.array([size for _, size, _ in rectangles], np.float64).reshape(-1, 2)
        scores = self._scores(plane, tensor, corners)
        distances = sizes.prod(axis=1) * self._formula.unclip / (2 * sizes.sum(axis=1))
        kept = scores > confidence
        return _Shrunken(corners[kept], distances[kept], scores[kept])

    def _rectangles(self, above: NDArray[np.uint8]) -> list[_Rectangle]:
        """The rectangles around connected pixels, those that are large enough."""
        contours, _ = cv2.findContours(above, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        areas = (contour for contour in contours[: self._formula.most] if len(contour) > 2)  # no points, no lines
        found = (cv2.minAreaRect(contour) for contour in areas)
        return [rectangle for rectangle in found if min(rectangle[1]) >= self._formula.smallest]

    def _scores(self, plane: NDArray[Any], tensor: HeadTensor, corners: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean probability of the pixels of each rectangle, (N,) float32, as `box_score_fast` counts them."""
        last = np.array((plane.shape[1] - 1, plane.shape[0] - 1))
        first = np.clip(np.floor(corners.min(axis=1)).astype(np.int64), 0, last)
        end = np.clip(np.ceil(corners.max(axis=1)).astype(np.int64), 0, last) + 1
        quads = (corners - first[:, None].astype(np.float32)).astype(np.int32)
        scores = np.empty(len(corners), np.float32)
        for index, ((x1, y1), (x2, y2)) in enumerate(zip(first.tolist(), end.tolist(), strict=True)):
            mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
            cv2.fillPoly(mask, [quads[index]], (1,))
            scores[index] = self._values.mean(plane[y1:y2, x1:x2], mask, tensor)
        return scores

    def _enlarged(self, shrunken: _Shrunken) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Rotated boxes (K, 5) in pixels of the map, and which of the shrunken ones they come from."""
        if not len(shrunken.scores):
            return np.zeros((0, 5), np.float32), np.zeros(0, np.intp)
        outlines = outlines_around(shrunken.corners, shrunken.distances)
        found = [cv2.minAreaRect(outline) for outline in outlines]
        rotated = np.array([(*center, *size, math.radians(angle)) for center, size, angle in found], np.float32)
        kept = np.flatnonzero(rotated[:, 2:4].min(axis=1) >= self._formula.smallest + _LARGER)
        return rotated[kept], kept


def _in_source(
    rotated: NDArray[np.float32], transform: LetterboxTransform, ratio: tuple[float, float]
) -> NDArray[np.float32]:
    """Rotated boxes in pixels of the map to source pixels.

    Where the two axes have different scales, a rectangle becomes a parallelogram: the longer side keeps its direction
    and length, and the area is kept.

    Args:
        rotated: (N, 5).
        transform: of the image, in whole pixels.
        ratio: input pixels per pixel of the map, in x and y.
    """
    boxes = rotated.astype(np.float64)
    wide = boxes[:, 2] >= boxes[:, 3]
    long, short = np.where(wide, boxes[:, 2], boxes[:, 3]), np.where(wide, boxes[:, 3], boxes[:, 2])
    angle = boxes[:, 4] + np.where(wide, 0.0, math.pi / 2)
    scale_x, scale_y = ratio[0] / transform.scale_x, ratio[1] / transform.scale_y
    dx, dy = np.cos(angle) * long * scale_x, np.sin(angle) * long * scale_y
    length = np.hypot(dx, dy)
    across = long * short * scale_x * scale_y / np.maximum(length, 1e-12)
    x = (boxes[:, 0] * ratio[0] - transform.pad_x) / transform.scale_x
    y = (boxes[:, 1] * ratio[1] - transform.pad_y) / transform.scale_y
    return np.asarray(np.stack((x, y, length, across, np.arctan2(dy, dx)), axis=1), np.float32)

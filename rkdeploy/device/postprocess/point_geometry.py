"""Boxes and keypoints of the rows of a head without YOLO's anchors, from real values to pixels of the network input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import KeypointLayout, PointFormula, PriorFormula
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.point_layout import PointLevel

_LARGEST_EXPONENT: Final = np.float32(80.0)
"""Of a size; its exp() and that times an anchor fit float32."""


class PointGeometry:
    """Geometry of every row: point, stride and, where there are anchors, the anchor.

    Fields lie along the first axis here and in the arrays below: numpy is several times slower on (N, 2) than on
    (2, N).
    """

    def __init__(self, spec: ModelSpec, levels: Sequence[PointLevel]) -> None:
        """Compute the rows' geometry.

        Args:
            spec: the contract, checked by `point_levels`.
            levels: levels of its head, finest first.
        """
        points = spec.points or PointFormula()
        self._offset, self._distance = points.offset, points.distance
        self._in_fractions, self._corners = points.unit == "fractions", points.corners
        self._input_wh = np.array([[spec.input.width], [spec.input.height]], np.float32)
        self._formula = spec.prior_formula or PriorFormula()
        row_count = levels[-1].end
        self._points = np.empty((3, row_count), np.float32)  # x, y of the point in cells; the stride
        self._priors = np.empty((4, row_count if spec.anchors is not None else 0), np.float32)  # x, y, w, h in pixels
        for number, level in enumerate(levels):
            rows = slice(level.start, level.end)
            y, x, place = (axis.ravel() for axis in np.indices((*level.grid, level.per_cell)))
            self._points[:2, rows] = np.stack((x, y)) + self._offset
            self._points[2, rows] = level.stride
            if spec.anchors is not None:
                steps = self._formula.steps_px[number] if self._formula.steps_px else (level.stride, level.stride)
                self._priors[:2, rows] = (np.stack((x, y)) + 0.5) * np.array(steps)[:, None]
                self._priors[2:, rows] = np.array(spec.anchors.levels_px[number]).T[:, place]

    def of_centers(self, raw: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Boxes of `center_boxes`: center and size of the given rows, (4, n); `raw` is used up."""
        geometry = self._points.take(rows, axis=1)
        raw[:2] += geometry[:2]
        with np.errstate(over="ignore"):  # inf: not an object
            np.exp(raw[2:], out=raw[2:])
        raw *= geometry[2]
        return raw

    def of_priors(self, raw: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Boxes of `prior_boxes`: center and size of the given rows, (4, n); `raw` is used up."""
        prior = self._priors.take(rows, axis=1)
        raw[:2] *= np.float32(self._formula.center_gain)
        raw[:2] *= prior[2:]
        raw[:2] += prior[:2]
        raw[2:] *= np.float32(self._formula.size_gain)
        np.minimum(raw[2:], _LARGEST_EXPONENT, out=raw[2:])
        np.exp(raw[2:], out=raw[2:])
        raw[2:] *= prior[2:]
        return raw

    def of_decoded(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes of `decoded_boxes`: center and size, (4, n); `boxes` is used up."""
        low, high = boxes[:2], boxes[2:]
        if self._in_fractions:
            low *= self._input_wh
            high *= self._input_wh
        if self._corners:
            high -= low
            low += high * np.float32(0.5)
        return boxes

    def of_distances(
        self, distances: NDArray[np.float32], rows: NDArray[np.intp], angles: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Boxes of distances to the four sides: center and size of the given rows, (4, n).

        Args:
            distances: left, top, right, bottom as the contract's formula takes them, (4, n); may be used up.
            rows: (n,).
            angles: in radians, (n,); None for upright boxes.
        """
        geometry = self._points.take(rows, axis=1)
        center, stride = geometry[:2], geometry[2]
        self._make_cells(distances, stride)
        left_top, right_bottom = distances[:2], distances[2:]
        xywh = np.empty((4, len(rows)), np.float32)
        if angles is None:
            low, high = center - left_top, center + right_bottom
            np.add(low, high, out=xywh[:2])
            xywh[:2] *= np.float32(0.5)
            np.subtract(high, low, out=xywh[2:])
        else:
            x, y = (right_bottom - left_top) * np.float32(0.5)
            cos, sin = np.cos(angles), np.sin(angles)
            xywh[0] = x * cos - y * sin
            xywh[1] = x * sin + y * cos
            xywh[:2] += center
            np.add(left_top, right_bottom, out=xywh[2:])
        xywh *= stride
        return xywh

    def _make_cells(self, distances: NDArray[np.float32], stride: NDArray[np.float32]) -> None:
        """Make distances in cells of raw ones, in place (mmdetection 3.3, rtmdet_head.py and fcos_head.py)."""
        if self._distance == "exp":
            with np.errstate(over="ignore"):  # inf: not an object
                np.exp(distances, out=distances)
        elif self._distance == "relu":
            np.maximum(distances, 0, out=distances)
        elif self._distance == "pixels":
            distances /= stride

    def keypoints(
        self, raw: NDArray[np.float32], rows: NDArray[np.intp], layout: KeypointLayout
    ) -> NDArray[np.float32]:
        """Keypoints of the given rows, (K, 2, n) in pixels.

        Args:
            raw: x, y of each in turn, (2 K, n); used up.
            rows: (n,).
            layout: of the contract.
        """
        xy = raw.reshape(layout.count, 2, len(rows))
        if layout.unit != "cells":
            xy *= self._input_wh if layout.unit == "fractions" else np.float32(1.0)
            return xy
        xy *= np.float32(layout.gain)
        if layout.by_anchor:
            prior = self._priors.take(rows, axis=1)
            xy *= prior[2:]
            xy += prior[:2]
            return xy
        geometry = self._points.take(rows, axis=1)
        xy += geometry[:2] + np.float32(layout.offset - self._offset)
        xy *= geometry[2]
        return xy

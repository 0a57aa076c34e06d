"""Error of a network's outputs where there are objects: what is lost in the background changes no detection."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_LEAST_VARIANCE = 1e-12


def object_cells(map_hw: tuple[int, int], boxes: NDArray[np.float32], input_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells of a map whose area an object's box touches, (h, w); all cells where there is no object.

    Args:
        map_hw: (height, width) of the map in cells.
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the network input.
        input_hw: (height, width) of the network input in pixels.
    """
    cells = np.zeros(map_hw, np.bool_)
    per_pixel = np.array(map_hw[::-1] * 2, np.float64) / np.array(input_hw[::-1] * 2, np.float64)
    limits = np.array(map_hw[::-1] * 2)
    starts = np.clip(np.floor(boxes * per_pixel), 0, limits - 1).astype(int)
    for x1, y1, x2, y2 in starts:
        cells[y1 : y2 + 1, x1 : x2 + 1] = True
    return cells if cells.any() else np.ones(map_hw, np.bool_)


class ObjectError:
    """Error of outputs against the float model's for one image.

    Args:
        reference: the float model's outputs by name.
        boxes: (N, 4) of the float model's objects, in pixels of the network input.
        input_hw: (height, width) of the network input in pixels.
    """

    def __init__(
        self, reference: Mapping[str, NDArray[np.float32]], boxes: NDArray[np.float32], input_hw: tuple[int, int]
    ) -> None:
        self._cells = {
            name: np.flatnonzero(object_cells((values.shape[2], values.shape[3]), boxes, input_hw))
            for name, values in reference.items()
            if values.ndim == 4 and min(values.shape[2:]) > 1
        }
        self._reference = {name: self._chosen(name, values) for name, values in reference.items()}
        self._variances = {name: max(float(v.var()), _LEAST_VARIANCE) for name, v in self._reference.items()}

    def of(self, outputs: Mapping[str, NDArray[np.float32]]) -> float:
        """Mean over the outputs of the squared error in units of the output's variance."""
        errors = [
            float(np.square(self._chosen(name, outputs[name]) - expected).mean()) / self._variances[name]
            for name, expected in self._reference.items()
        ]
        return sum(errors) / len(errors)

    def _chosen(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float64]:
        cells = self._cells.get(name)
        if cells is None:
            return values.astype(np.float64)
        return values.reshape(*values.shape[:2], -1).take(cells, axis=2).astype(np.float64)

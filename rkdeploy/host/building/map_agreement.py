"""Agreement of maps of the whole image, class maps and depth, with the float model's, image by image."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.accuracy.bootstrap import image_weights, interval
from rkdeploy.accuracy.depth_errors import DepthErrors, depth_errors
from rkdeploy.contract.agreement import DepthAgreement, MapAgreement
from rkdeploy.device.postprocess.detections import FoundDepth

FEWEST_SHARE: Final = 0.001
"""Share of all pixels that the float model must give to a class for it to count.  The overlap of a few stray pixels
says nothing, and would weigh as much as a road's.
"""


class ClassMapAgreement:
    """Pixels of a class map by the float and the quantized model's class.

    Args:
        classes: number of classes of the map.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._counts: list[NDArray[np.int64]] = []

    def add(self, reference: NDArray[np.uint8], built: NDArray[np.uint8]) -> None:
        """Count one image."""
        classes = self._classes
        cells = np.bincount(reference.ravel().astype(np.intp) * classes + built.ravel(), minlength=classes**2)
        self._counts.append(cells.reshape(classes, classes))

    def result(self, output: str) -> MapAgreement:
        """The figures of all images."""
        counts = np.array(self._counts, np.int64).reshape(-1, self._classes, self._classes)
        total = counts.sum(axis=0)
        pixels = int(total.sum())
        if not pixels:
            return MapAgreement(output, 0.0, None)
        counted = total.sum(axis=1) >= FEWEST_SHARE * pixels
        drawn = np.tensordot(image_weights(len(counts)), counts, axes=1)
        return MapAgreement(
            output=output,
            same=float(_same(total)),
            mean_iou=float(_mean_iou(total, counted)),
            interval=interval(_mean_iou(drawn, counted)),
            same_interval=interval(_same(drawn)),
        )


def _same(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of pixels of the same class, (...) of (..., n, n)."""
    shares: NDArray[np.float64] = np.trace(counts, axis1=-2, axis2=-1) / np.maximum(counts.sum(axis=(-2, -1)), 1)
    return shares


def _mean_iou(counts: NDArray[np.int64], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean intersection over union over the counted classes that the float model found, (...) of (..., n, n)."""
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    there = (counts.sum(axis=-1) > 0) & counted
    either = counts.sum(axis=-1) + counts.sum(axis=-2) - both
    ious = np.where(there, both / np.maximum(either, 1), 0.0)
    found = there.sum(axis=-1)
    return np.where(found > 0, ious.sum(axis=-1) / np.maximum(found, 1), np.nan)


class DepthMapAgreement:
    """Errors of the quantized model's depth with the float model's as the truth."""

    def __init__(self) -> None:
        self._errors: list[DepthErrors] = []

    def add(self, reference: FoundDepth, built: FoundDepth) -> None:
        """Compare one image."""
        errors = depth_errors(reference.values, built.values, reference.kind)
        if errors is not None:
            self._errors.append(errors)

    def result(self) -> DepthAgreement | None:
        """The figures of all images; None without one."""
        if not self._errors:
            return None
        figures = np.array([(one.abs_rel, one.delta1) for one in self._errors])
        abs_rel, delta1 = figures.mean(axis=0)
        drawn = image_weights(len(figures)) @ figures / len(figures)
        return DepthAgreement(float(abs_rel), float(delta1), interval(drawn[:, 0]), interval(drawn[:, 1]))

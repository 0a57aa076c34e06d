"""Class maps: the class of every pixel of the source image.

As in YOLOP's demo (tools/demo.py) and ultralytics' semantic segmentation (8.4, models/yolo/semantic/predict.py), the
scores are interpolated bilinearly at source pixels and compared there.  All planes of a tensor share one scale and zero
point, so raw values are compared; for two classes the sign of their difference is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import ClassMapSpec, HeadOutput, ModelSpec
from rkdeploy.device.postprocess.detections import FoundClassMap
from rkdeploy.device.postprocess.raw_values import outputs_with, require_image_sized
from rkdeploy.device.postprocess.resampling import Axis, SignReader, plane_of, resampled, source_axes
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform

_BAND_ROWS: Final = 48
"""Source rows processed at once for many planes: few enough for the cache, enough to share the plane's rows."""


@dataclass(frozen=True, slots=True)
class _Map:
    index: int
    output: HeadOutput
    stated: ClassMapSpec


class ClassMapReader:
    """Reader of one model's class maps.  It reuses its working memory: one reader per thread."""

    def __init__(self, spec: ModelSpec) -> None:
        """Check the contract.

        Args:
            spec: the contract.

        Raises:
            RkdeployError: when the `class_map` outputs are not those of `ModelSpec.class_maps`, in its order, have
                a number of planes other than the number of classes, fewer than 2 or more than 256 planes, or do not
                have
                the input's size.
        """
        outputs = outputs_with(spec.outputs, ("class_map",))
        names, stated = [output.name for _, output in outputs], [found.output for found in spec.class_maps]
        if names != stated:
            raise RkdeployError(
                f"The contract's class maps are of {', '.join(stated) or 'no output'}, "
                f"but its class_map outputs are {', '.join(names) or 'none'}."
            )
        self._maps = [
            _Map(index, output, found) for (index, output), found in zip(outputs, spec.class_maps, strict=True)
        ]
        self._positive = SignReader()
        for found in self._maps:
            planes, classes = found.output.shape[1], len(found.stated.class_names)
            if planes != classes or not 2 <= planes <= 256:
                raise RkdeployError(
                    f'Output "{found.output.name}" has {planes} planes for {classes} classes, '
                    "expected one per class, 2 to 256."
                )
            require_image_sized(found.output, spec)

    def __call__(self, tensors: Sequence[HeadTensor], transform: LetterboxTransform) -> tuple[FoundClassMap, ...]:
        """The maps of one image.

        Args:
            tensors: one per output of the contract, in its order.
            transform: of the image that the network saw.

        Returns:
            One map per `class_map` output, of the source image's size.  Among equal scores the lowest class id wins.
        """
        return tuple(
            FoundClassMap(
                found.stated.output,
                found.stated.class_names,
                self._class_ids(tensors[found.index], found.output, transform),
            )
            for found in self._maps
        )

    def _class_ids(self, tensor: HeadTensor, output: HeadOutput, transform: LetterboxTransform) -> NDArray[np.uint8]:
        rows, columns = source_axes(transform, (output.shape[2], output.shape[3]), output.stride)
        part = (rows.span, columns.span)  # the letterbox's padding is left out
        rows, columns = rows.within(rows.span), columns.within(columns.span)
        if output.shape[1] == 2:
            difference = plane_of(tensor, 1)[part].astype(np.float32)
            difference -= plane_of(tensor, 0)[part]
            return self._positive(difference, rows, columns).view(np.uint8)
        return _best_of_many([plane_of(tensor, plane)[part] for plane in range(output.shape[1])], rows, columns)


def _best_of_many(planes: Sequence[NDArray[np.generic]], rows: Axis, columns: Axis) -> NDArray[np.uint8]:
    """Index of the highest plane at each source pixel, computed in bands so that no plane is enlarged as a whole."""
    class_ids = np.zeros((len(rows.low), len(columns.low)), np.uint8)
    for start in range(0, len(rows.low), _BAND_ROWS):
        band = slice(start, start + _BAND_ROWS)
        span = rows[band].span
        band_rows = rows[band].within(span)
        best = resampled(planes[0][span].astype(np.float32), band_rows, columns)
        for number, plane in enumerate(planes[1:], start=1):
            values = resampled(plane[span].astype(np.float32), band_rows, columns)
            np.copyto(class_ids[band], np.uint8(number), where=values > best)
            np.maximum(best, values, out=best)
    return class_ids

"""Class maps: the class of every pixel of the source image.

As in YOLOP's demo (tools/demo.py) and ultralytics' semantic segmentation (8.4, models/yolo/semantic/predict.py), the
scores are interpolated bilinearly at source pixels and compared there (`best_classes.py`).  All planes of a tensor
share one scale and zero point, so raw values are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import ClassMapSpec
from rkdeploy.contract.spec import HeadOutput, ModelSpec
from rkdeploy.device.postprocess.best_classes import best_classes
from rkdeploy.device.postprocess.detections import FoundClassMap
from rkdeploy.device.postprocess.raw_values import outputs_with, require_map_sized
from rkdeploy.device.postprocess.resampling import SignReader, map_axes, plane_of
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform


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
                a number of planes other than the number of classes (or 1 for two), fewer than 2 or more than 256
                classes, or a size that does not fit the input's.
        """
        outputs = outputs_with(spec.outputs, ("class_map",))
        names, stated = [output.name for _, output in outputs], [found.output for found in spec.class_maps]
        if names != stated:
            raise RkdeployError(
                f"The contract's class maps are of {', '.join(stated) or 'no output'}, "
                f"but its class_map outputs are {', '.join(names) or 'none'}."
            )
        self._image = spec.input
        self._maps = [
            _Map(index, output, found) for (index, output), found in zip(outputs, spec.class_maps, strict=True)
        ]
        self._positive = SignReader()
        for found in self._maps:
            planes, classes = found.output.shape[1], len(found.stated.class_names)
            if (planes != classes and (planes, classes) != (1, 2)) or not 2 <= classes <= 256:
                raise RkdeployError(
                    f'Output "{found.output.name}" has {planes} planes for {classes} classes, '
                    "expected one per class, 2 to 256, or one for two classes."
                )
            require_map_sized(found.output, spec)

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
                self._class_ids(tensors[found.index], found, transform),
                background=found.stated.background,
            )
            for found in self._maps
        )

    def _class_ids(self, tensor: HeadTensor, found: _Map, transform: LetterboxTransform) -> NDArray[np.uint8]:
        shape = found.output.shape
        rows, columns = map_axes(transform, (shape[2], shape[3]), self._image, corners=found.stated.corners)
        part = (rows.span, columns.span)  # the letterbox's padding is left out
        rows, columns = rows.within(rows.span), columns.within(columns.span)
        if shape[1] > 1:
            return best_classes(tensor, part, rows, columns)
        surplus = plane_of(tensor, 0)[part].astype(np.float32)
        surplus -= _even_chance(tensor, found.output)
        return self._positive(surplus, rows, columns).view(np.uint8)


def _even_chance(tensor: HeadTensor, output: HeadOutput) -> np.float32:
    """Raw value that stands for a probability of 0.5."""
    real = 0.0 if output.activation == "linear" else 0.5
    return np.float32(real / tensor.scale + tensor.zero_point)

"""One labeled image through a network, to predictions in source pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from rkdeploy.accuracy.depth_errors import errors_in_meters
from rkdeploy.accuracy.multi_label import MultiLabelDecoder
from rkdeploy.accuracy.predictions import ImagePrediction, prediction_of, unreadable
from rkdeploy.accuracy.text_errors import text_errors
from rkdeploy.accuracy.validators import validator_of
from rkdeploy.datasets.depth_files import read_depth
from rkdeploy.datasets.truth import DataError, finds_objects
from rkdeploy.device.postprocess.postprocessor import Postprocessor, decoder_for
from rkdeploy.errors import SourceError
from rkdeploy.images.file import opencv_log_silenced, read_image, read_image_bytes
from rkdeploy.images.fit import LetterboxTransform, image_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.datasets.truth import DataImage
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.runtime.protocol import HeadTensor
    from rkdeploy.images.fit import Letterboxed

UNLABELED: Final = 255
"""Value of ignored pixels in a mask, as in Cityscapes and VOC."""


class _WholeBoxes(LetterboxTransform):
    """A transform that does not clip boxes at the image's edge."""

    __slots__ = ()

    @classmethod
    def of(cls, transform: LetterboxTransform) -> _WholeBoxes:
        """The same map."""
        t = transform
        return cls(t.scale_x, t.scale_y, t.pad_x, t.pad_y, t.source_hw)

    def boxes_to_source(self, xyxy: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Boxes (N, 4) x1, y1, x2, y2 in input pixels to a new (N, 4) float32 in source pixels, not clipped."""
        boxes: NDArray[np.float32] = xyxy.astype(np.float32)
        boxes -= np.array((self.pad_x, self.pad_y) * 2, np.float32)
        boxes /= np.array((self.scale_x, self.scale_y) * 2, np.float32)
        return boxes


class Predictor:
    """Reads images and converts head tensors to predictions.  It reuses its buffers: one per thread.

    Args:
        spec: the contract.
        thresholds: limits of the detections to keep.
        multi_label: see `rkdeploy.accuracy.multi_label`; end-to-end heads rank that way by themselves.
    """

    def __init__(self, spec: ModelSpec, thresholds: Thresholds, *, multi_label: bool) -> None:
        self._spec = spec
        self._fit = image_fit(spec.input)
        wanted = multi_label and finds_objects(spec) and not spec.end_to_end and spec.areas is None
        decoder = MultiLabelDecoder(decoder_for(spec)) if wanted else None
        self._postprocess = Postprocessor(spec, thresholds, decoder=decoder)
        # Masks are read inside their boxes, so these must lie inside the image.
        self._clips_boxes = validator_of(spec).clips_boxes or any(o.role == "prototypes" for o in spec.outputs)

    def load(self, image: DataImage) -> Letterboxed | ImagePrediction:
        """The network's input for an image, valid until the next call; or the prediction that says why there is
        none.
        """
        try:
            return self._fit(read_image(image.file))
        except SourceError as error:
            return unreadable(image.name, error.message)

    def prediction(
        self, image: DataImage, tensors: Sequence[HeadTensor], transform: LetterboxTransform
    ) -> ImagePrediction:
        """Predictions from the network's outputs.

        Raises:
            BackendError: when a tensor is not what the contract says.
            DataError: when a mask or the depth of the image is unusable.
        """
        found = self._postprocess(tensors, transform if self._clips_boxes else _WholeBoxes.of(transform))
        confusions, unlabeled = self._confusions(image, found) if image.maps else ((), ())
        kept = prediction_of(image.name, found, transform.source_hw, confusions, unlabeled)
        if image.text is not None and found.text is not None:
            errors = text_errors(image.text, found.text.text)
            return replace(kept, text=(errors.same, errors.accuracy))
        if image.depth is None or found.depth is None:
            return kept
        return replace(kept, depth=errors_in_meters(read_depth(image.depth, found.depth.values.shape), found.depth))

    def _confusions(self, image: DataImage, found: Detections) -> tuple[tuple[NDArray[np.int64], ...], tuple[int, ...]]:
        """Pixels of each class map by true and found class, and the number of unlabeled ones."""
        confusions, unlabeled = [], []
        for file, one in zip(image.maps, found.class_maps, strict=True):
            truth = read_mask(file, one.class_ids.shape, len(one.class_names))
            known = truth != UNLABELED
            classes = len(one.class_names)
            cells = np.bincount(truth[known].astype(np.intp) * classes + one.class_ids[known], minlength=classes**2)
            confusions.append(cells.reshape(classes, classes).astype(np.int64))
            unlabeled.append(int(truth.size - known.sum()))
        return tuple(confusions), tuple(unlabeled)


def read_mask(file: Path, shape: tuple[int, ...], classes: int) -> NDArray[np.uint8]:
    """A mask of class ids, (H, W) uint8; 255 is ignored.

    Raises:
        DataError: when it cannot be read, has colors, another size than its image, or another class.
    """
    try:
        data = read_image_bytes(file)
    except SourceError as error:
        raise DataError(error.message, error.hint) from error
    with opencv_log_silenced():
        mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise DataError(f'Mask "{file}" cannot be decoded.')
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise DataError(
            f'Mask "{file}" has {1 if mask.ndim == 2 else mask.shape[2]} channels of {mask.dtype}, expected one of '
            "uint8 with class ids.",
            "Convert a color or palette image to class ids first.",
        )
    if mask.shape != shape:
        raise DataError(f'Mask "{file}" is {mask.shape[1]}x{mask.shape[0]}, its image {shape[1]}x{shape[0]}.')
    above = mask[(mask >= classes) & (mask != UNLABELED)]
    if above.size:
        raise DataError(f'Mask "{file}" has the class {above[0]}, expected 0 to {classes - 1}, or 255 for none.')
    return np.asarray(mask, np.uint8)

"""Head tensors to detections in source pixels: decode, non-maximum suppression, transform back to the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.roles import AnchorRole
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.postprocess.area_reader import AreaReader
from rkdeploy.device.postprocess.class_map_reader import ClassMapReader
from rkdeploy.device.postprocess.classify import Classifier
from rkdeploy.device.postprocess.decoder import Candidates, Decoder
from rkdeploy.device.postprocess.depth_reader import DepthReader
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.embedding_reader import EmbeddingReader
from rkdeploy.device.postprocess.form_reader import FormDecoder, FormReader
from rkdeploy.device.postprocess.mask_reader import MaskReader
from rkdeploy.device.postprocess.nms import nms
from rkdeploy.device.postprocess.point_decode import PointDecoder
from rkdeploy.device.postprocess.point_layout import POINT_ROLES
from rkdeploy.device.postprocess.query_decode import QUERY_ROLES, QueryDecoder
from rkdeploy.device.postprocess.raw_values import coefficient_count, require_tensors
from rkdeploy.device.postprocess.rotated import nms_rotated, regularized
from rkdeploy.device.postprocess.text_reader import TextReader
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform

END_TO_END_MAX_DET: Final = 300
"""Largest number of objects of an end-to-end head, whatever is asked for: ultralytics' `Detect.max_det`."""
_ANCHOR_ROLES: Final = frozenset(get_args(AnchorRole))


def decoder_for(spec: ModelSpec) -> Decoder:
    """The decoder for the contract's objects, chosen by the roles of the outputs, not by the name of the family.

    Raises:
        RkdeployError: for outputs that no decoder reads, or a contract that the decoder cannot read.
    """
    if spec.form != "rkdeploy":
        reader = FormReader(spec)
        return FormDecoder(reader, decoder_for(reader.spec))
    roles = {output.role for output in spec.outputs}
    if roles & _ANCHOR_ROLES:
        return AnchorDecoder(spec)
    if roles & POINT_ROLES:
        return PointDecoder(spec)
    if roles & QUERY_ROLES:
        return QueryDecoder(spec)
    raise RkdeployError(f"The contract's outputs hold {', '.join(sorted(roles)) or 'nothing'}, which no decoder reads.")


class Postprocessor:
    """Converter of one model's head tensors to detections.  It reuses its buffers: one per thread."""

    def __init__(self, spec: ModelSpec, thresholds: Thresholds, *, decoder: Decoder | None = None) -> None:
        """Check the contract and the thresholds.

        Args:
            spec: the contract.
            thresholds: limits of the detections to keep.  A classifier ranks its classes and ignores them.
            decoder: replaces the one that `decoder_for` chooses.

        Raises:
            RkdeployError: for outputs that no decoder reads, an inconsistent contract, or a threshold of an unknown
                class.
        """
        self._reader = FormReader(spec)
        spec = self._reader.spec
        roles = {output.role for output in spec.outputs}
        self._outputs = spec.outputs
        self._end_to_end = spec.end_to_end
        self._thresholds = thresholds
        self._class_thresholds = thresholds.of_classes(len(spec.class_names))
        self._classify = Classifier(spec) if "class_scores" in roles else None
        self._class_maps = ClassMapReader(spec) if "class_map" in roles or spec.class_maps else None
        has_objects = bool(roles & (_ANCHOR_ROLES | POINT_ROLES | QUERY_ROLES))
        self._depth = DepthReader(spec) if "depth_map" in roles or spec.depth is not None else None
        self._text = TextReader(spec) if "text_logits" in roles or spec.text is not None else None
        self._embedding = EmbeddingReader(spec) if "embedding" in roles or spec.embedding is not None else None
        whole_image = (self._classify, self._class_maps, self._depth, self._text, self._embedding)
        self._finds_objects_only = all(reader is None for reader in whole_image)
        self._areas = AreaReader(spec) if "area_map" in roles or spec.areas is not None else None
        if self._areas is not None and has_objects:
            raise RkdeployError("The contract has an area_map and a head of boxes, expected one of them.")
        if not has_objects and self._areas is None and self._finds_objects_only:
            decoder_for(spec)  # raises the error that explains it
        self._decoder = (decoder or decoder_for(spec)) if has_objects else None
        self._masks = MaskReader(spec) if coefficient_count(spec) else None
        if spec.angle is not None and spec.input.fit == "stretch":
            raise RkdeployError("The contract stretches its images, which does not leave rotated boxes rectangular.")

    def __call__(self, tensors: Sequence[HeadTensor], transform: LetterboxTransform) -> Detections:
        """Decode one image.

        Args:
            tensors: one per output of the contract, in its order.
            transform: of the letterbox, crop or stretch that made the input.

        Returns:
            The detections in source pixels, best score first.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        tensors = self._reader(tensors)
        if self._decoder is None:
            require_tensors(self._outputs, tensors)
            found = self._areas_in(tensors, transform)
        else:
            found = self._objects(self._decoder, tensors, transform)
        if self._finds_objects_only:
            return found
        return replace(
            found,
            class_maps=self._class_maps(tensors, transform) if self._class_maps is not None else (),
            ranking=self._classify(tensors) if self._classify is not None else None,
            depth=self._depth(tensors, transform) if self._depth is not None else None,
            text=self._text(tensors) if self._text is not None else None,
            embedding=self._embedding(tensors) if self._embedding is not None else None,
        )

    def _areas_in(self, tensors: Sequence[HeadTensor], transform: LetterboxTransform) -> Detections:
        """The areas of text of a model that finds some; nothing of others."""
        if self._areas is None:
            return Detections.empty()
        confidence, max_det = float(self._class_thresholds[0]), self._thresholds.max_det
        return self._areas(tensors, transform, confidence=confidence, max_det=max_det)

    def _objects(self, decoder: Decoder, tensors: Sequence[HeadTensor], transform: LetterboxTransform) -> Detections:
        found = decoder.candidates(tensors, self._class_thresholds)
        kept = self._best(found)
        xyxy = found.xyxy[kept]
        finite = np.isfinite(xyxy).all(axis=1)
        if not finite.all():  # when the network overflowed: not an object
            kept, xyxy = kept[finite], xyxy[finite]
        boxes = transform.boxes_to_source(xyxy)
        details = decoder.details(tensors, found.rows[kept])
        keypoints, rotated, masks = details.keypoints, None, None
        if keypoints is not None:
            keypoints[:, :, :2] = transform.points_to_source(keypoints[:, :, :2])
        if found.rotated is not None:
            rotated = regularized(transform.rotated_to_source(found.rotated[kept]))
        if self._masks is not None and details.coefficients is not None:
            masks = self._masks(tensors, details.coefficients, boxes, transform)
        return Detections(boxes, found.scores[kept], found.class_ids[kept], keypoints, rotated, masks)

    def _best(self, found: Candidates) -> NDArray[np.intp]:
        """Indices of the candidates that stay, best score first."""
        limits = self._thresholds
        if self._end_to_end:
            order = (-found.scores).argsort(kind="stable")
            return order[: min(limits.max_det, END_TO_END_MAX_DET)]
        if found.rotated is not None:
            return nms_rotated(
                found.rotated,
                found.scores,
                found.class_ids,
                iou=limits.iou,
                max_det=limits.max_det,
                max_nms=limits.max_nms,
            )
        return nms(
            found.xyxy,
            found.scores,
            found.class_ids,
            iou=limits.iou,
            max_det=limits.max_det,
            max_nms=limits.max_nms,
        )

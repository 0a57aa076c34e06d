"""Head tensors to detections in source pixels: decode, non-maximum suppression, inverse letterbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

from rkdeploy.errors import RkdeployError
from rkdeploy.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.postprocess.decoder import Decoder
from rkdeploy.postprocess.detections import Detections
from rkdeploy.postprocess.nms import nms
from rkdeploy.postprocess.thresholds import Thresholds
from rkdeploy.preprocess import LetterboxTransform
from rkdeploy.runtime.protocol import HeadTensor
from rkdeploy.spec import AnchorRole, ModelSpec

_ANCHOR_ROLES: Final = frozenset(get_args(AnchorRole))


def decoder_for(spec: ModelSpec) -> Decoder:
    """The decoder of the contract's outputs: chosen by what they hold, not by the name of the family.

    Raises:
        RkdeployError: for outputs that no decoder reads, or a contract that the decoder cannot read.
    """
    if any(output.role in _ANCHOR_ROLES for output in spec.outputs):
        return AnchorDecoder(spec)
    roles = ", ".join(sorted({output.role for output in spec.outputs})) or "nothing"
    raise RkdeployError(f"The contract's outputs hold {roles}, which no decoder reads.")


class Postprocessor:
    """Turns the head tensors of one model into detections.  Keeps buffers between calls: one serves one thread."""

    def __init__(self, spec: ModelSpec, thresholds: Thresholds) -> None:
        """Args:
            spec: the contract.
            thresholds: what is kept.

        Raises:
            RkdeployError: for outputs that no decoder reads, an inconsistent contract, or a threshold of an unknown
                class.
        """
        self._decoder = decoder_for(spec)
        self._thresholds = thresholds
        self._class_thresholds = thresholds.of_classes(len(spec.class_names))

    def __call__(self, tensors: Sequence[HeadTensor], transform: LetterboxTransform) -> Detections:
        """Decode one image.

        Args:
            tensors: one for every output of the contract, in its order.
            transform: of the letterbox that made the input.

        Returns:
            Detections in source pixels, clipped to the image, best score first.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        found = self._decoder.candidates(tensors, self._class_thresholds)
        kept = nms(
            found.xyxy,
            found.scores,
            found.class_ids,
            iou=self._thresholds.iou,
            max_det=self._thresholds.max_det,
            max_nms=self._thresholds.max_nms,
        )
        return Detections(
            xyxy=transform.boxes_to_source(found.xyxy[kept]),
            scores=found.scores[kept],
            class_ids=found.class_ids[kept],
        )

"""Agreement of the quantized with the float model: tensor by tensor, and in the detections that a user sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.accuracy.bootstrap import image_weights, interval
from rkdeploy.accuracy.float_truth import FloatTruthMeter
from rkdeploy.accuracy.scoring import kinds_of
from rkdeploy.contract.agreement import Agreement, FoundShare, KeypointAgreement, OutputAgreement
from rkdeploy.contract.spec import HeadOutput, ModelSpec
from rkdeploy.datasets.truth import finds_objects
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds, default_confidence
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import VerificationError
from rkdeploy.host.building.detection_matching import Matches, keypoint_shifts, mask_ious, match_detections
from rkdeploy.host.building.embedding_agreement import EmbeddingAgreementMeter
from rkdeploy.host.building.map_agreement import ClassMapAgreement, DepthMapAgreement
from rkdeploy.host.building.text_agreement import TextLineAgreement
from rkdeploy.images.fit import LetterboxTransform

MATCH_IOU = 0.85
MATCH_SCORE_DIFFERENCE = 0.15
MATCH_SIMILARITY = 0.9
"""Object keypoint similarity from which two poses count as equal."""
SURE = 0.25
"""Distance above the threshold from which an object counts as certain in the float model."""
SAME_OBJECT = 0.5
"""Overlap from which two detections of a class are of one object."""
THINNEST_PX = 4.0
"""Boxes with a shorter side, in source pixels, are left out on both sides: a shift of one pixel lowers the overlap of a
thinner one below 0.6, so overlaps are not meaningful.
"""
_SCORES = frozenset({"scores", "objectness", "query_scores", "area_map"})
"""Roles whose probability decides whether there is an object."""
RANKED_FROM = 0.05
"""Lowest score of the quantized model's ranked detections: see `rkdeploy.accuracy.float_truth`."""


@dataclass(slots=True)
class _OutputSums:
    """Sums of one output over the images."""

    dot: float = 0.0
    float_square: float = 0.0
    built_square: float = 0.0
    max_error: float = 0.0
    saturated: int = 0
    values: int = 0
    float_peak: float = 0.0
    built_peak: float = 0.0
    tensor: HeadTensor | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Detections of both models in one image, in its pixels."""

    reference: Detections
    built: Detections
    matches: Matches


class AgreementMeter:
    """Meter that takes the head tensors of the float and of the quantized model, image by image, and sums up.

    Args:
        spec: the contract.
        confidence: lowest score of the detections that are compared; None takes that of use.
    """

    def __init__(self, spec: ModelSpec, confidence: float | None = None) -> None:
        self._spec = spec
        confidence = default_confidence(spec) if confidence is None else confidence
        self._confidence = confidence
        self._postprocess = Postprocessor(spec, Thresholds(confidence=min(RANKED_FROM, confidence)))
        points = spec.keypoints.count if spec.keypoints is not None else 0
        kinds = kinds_of(spec) if finds_objects(spec) else ()
        self._precisions = [FloatTruthMeter(kind, len(spec.class_names), points) for kind in kinds]
        self._sums = [_OutputSums() for _ in spec.outputs]
        self._matches: list[Matches] = []
        self._shifts: list[NDArray[np.float32]] = []
        self._likeness: list[NDArray[np.float64]] = []
        self._mask_ious: list[NDArray[np.float64]] = []
        self._maps = {m.output: ClassMapAgreement(len(m.class_names)) for m in spec.class_maps}
        self._depth = DepthMapAgreement()
        self._embedding = EmbeddingAgreementMeter()
        self._text = TextLineAgreement()
        self._same_first: list[bool] = []
        self._recall: list[tuple[int, int]] = []  # objects, found
        self._precision: list[tuple[int, int]] = []

    def add(
        self, reference: Sequence[HeadTensor], built: Sequence[HeadTensor], transform: LetterboxTransform
    ) -> Comparison:
        """Compare one image, and return the detections of both models."""
        for output, sums, expected, got in zip(self._spec.outputs, self._sums, reference, built, strict=True):
            self._add_tensor(output, sums, expected.dequantized(), got)
        seen, ranked = (_without_thin(self._postprocess(tensors, transform)) for tensors in (reference, built))
        found, again = seen.above(self._confidence), ranked.above(self._confidence)
        for meter in self._precisions:
            meter.add(found, ranked, transform.source_hw)
        self._recall.append(_found_in(again, found.above(self._confidence + SURE)))
        self._precision.append(_found_in(seen, again))
        matches = match_detections(found, again, MATCH_IOU, MATCH_SCORE_DIFFERENCE)
        self._matches.append(matches)
        self._add_details(found, again, matches, transform)
        return Comparison(found, again, matches)

    def _add_details(
        self, found: Detections, again: Detections, matches: Matches, transform: LetterboxTransform
    ) -> None:
        """Compare the results of the task other than boxes."""
        if found.keypoints is not None:
            shifts, likeness = keypoint_shifts(found, again, matches.pairs)
            self._shifts.append(shifts * np.float32(transform.scale_x))
            self._likeness.append(likeness)
        if found.masks is not None:
            self._mask_ious.append(mask_ious(found, again, matches.pairs))
        for known, a, b in zip(self._spec.class_maps, found.class_maps, again.class_maps, strict=True):
            self._maps[known.output].add(a.class_ids, b.class_ids)
        if found.depth is not None and again.depth is not None:
            self._depth.add(found.depth, again.depth)
        if found.embedding is not None and again.embedding is not None:
            self._embedding.add(found.embedding, again.embedding)
        if found.text is not None and again.text is not None and not self._text.add(found.text, again.text):
            return  # without text, its attribute says nothing
        if found.ranking is not None and again.ranking is not None:
            self._same_first.append(bool(found.ranking.class_ids[0] == again.ranking.class_ids[0]))

    def _add_tensor(
        self, output: HeadOutput, sums: _OutputSums, expected: NDArray[np.float32], got: HeadTensor
    ) -> None:
        real = got.dequantized()
        if not np.isfinite(real).all():
            raise VerificationError(
                f'Output "{output.name}" of the quantized model holds NaN or infinity.',
                "In float16 a value beyond 65,504 overflows: build with --dtype int8 --float16-layers none, "
                "or look for exploding weights.",
            )
        a, b = expected.ravel().astype(np.float64), real.ravel().astype(np.float64)
        sums.dot += float(a @ b)
        sums.float_square += float(a @ a)
        sums.built_square += float(b @ b)
        sums.max_error = max(sums.max_error, float(np.abs(a - b).max()))
        sums.values += a.size
        sums.tensor = got
        if got.values.dtype.kind in "iu":
            limits = np.iinfo(got.values.dtype)
            sums.saturated += int(((got.values == limits.min) | (got.values == limits.max)).sum())
        channels = self._score_channels(output)
        if channels is not None:
            sums.float_peak = max(sums.float_peak, _probability(output, expected[:, channels].max()))
            sums.built_peak = max(sums.built_peak, _probability(output, real[:, channels].max()))

    def _score_channels(self, output: HeadOutput) -> NDArray[np.intp] | None:
        """Channels whose probability decides whether there is an object; None for a tensor without such channels."""
        if output.role in _SCORES:
            return np.arange(output.shape[1])
        if output.role == "joined":
            found = [channel for part in output.parts if part.role in _SCORES for channel in part.channels]
            return np.array(found, np.intp) if found else None
        first = {"anchor_map": 4, "anchor_scores": 0}.get(output.role)
        if first is None or self._spec.anchors is None:
            return None
        fields = output.shape[1] // self._spec.anchors.per_level
        return np.arange(first, output.shape[1], fields)

    def result(self, figures_from: str, source: str) -> Agreement:
        """The sums over all images so far."""
        ious = [v for m in self._matches for v in m.ious]
        scores = [v for m in self._matches for v in m.score_differences]
        return Agreement(
            figures_from=figures_from,
            images=len(self._matches),
            source=source,
            confidence=self._confidence,
            outputs=tuple(self._output(o, s) for o, s in zip(self._spec.outputs, self._sums, strict=True)),
            float_detections=sum(m.reference for m in self._matches),
            built_detections=sum(m.compared for m in self._matches),
            matched=len(ious),
            iou=MATCH_IOU,
            score_difference=MATCH_SCORE_DIFFERENCE,
            mean_iou=float(np.mean(ious)) if ious else None,
            mean_score_difference=float(np.mean(scores)) if scores else None,
            keypoints=self._keypoints(),
            mask_iou=float(np.mean(masks)) if (masks := _joined(self._mask_ious)).size else None,
            class_maps=tuple(self._maps[m.output].result(m.output) for m in self._spec.class_maps),
            same_first_class=float(np.mean(self._same_first)) if self._same_first else None,
            average_precisions=tuple(ap for meter in self._precisions if (ap := meter.result()) is not None),
            built_confidence=min(RANKED_FROM, self._confidence),
            same_first_class_interval=self._first_class_interval(),
            recall=_share(self._recall, self._confidence + SURE, self._confidence),
            precision=_share(self._precision, self._confidence, min(RANKED_FROM, self._confidence)),
            depth=self._depth.result(),
            embedding=self._embedding.result(),
            text=self._text.result(),
        )

    def _first_class_interval(self) -> tuple[float, float] | None:
        if not self._same_first:
            return None
        same = np.array(self._same_first, np.float64)
        return interval(image_weights(len(same)) @ same / len(same))

    def _keypoints(self) -> KeypointAgreement | None:
        shifts, likeness = _joined(self._shifts), _joined(self._likeness)
        if not shifts.size:
            return None
        return KeypointAgreement(
            points=int(shifts.size),
            median_shift_px=float(np.median(shifts)),
            p95_shift_px=float(np.percentile(shifts, 95)),
            similarity=MATCH_SIMILARITY,
            alike=float((likeness >= MATCH_SIMILARITY).mean()),
        )

    def _output(self, output: HeadOutput, sums: _OutputSums) -> OutputAgreement:
        norm = (sums.float_square * sums.built_square) ** 0.5
        tensor = sums.tensor
        quantized = tensor is not None and tensor.values.dtype.kind in "iu"
        scored = self._score_channels(output) is not None
        reachable = None
        if scored and quantized and tensor is not None:
            top = (int(np.iinfo(tensor.values.dtype).max) - tensor.zero_point) * tensor.scale
            reachable = _probability(output, top)
        return OutputAgreement(
            name=output.name,
            role=output.role,
            cosine=sums.dot / norm if norm else float(sums.float_square == sums.built_square),
            max_error=sums.max_error,
            saturated=sums.saturated / sums.values if quantized and sums.values else None,
            reachable_score=reachable,
            float_peak=sums.float_peak if scored else None,
            built_peak=sums.built_peak if scored else None,
        )


def _without_thin(found: Detections) -> Detections:
    """Detections whose boxes are wide and high enough to be compared by their overlap."""
    if found.ranking is not None or not len(found):
        return found
    sides = found.xyxy[:, 2:] - found.xyxy[:, :2] if found.rotated is None else found.rotated[:, 2:4]
    return found.where(sides.min(axis=1) >= THINNEST_PX)


def _found_in(there: Detections, counted: Detections) -> tuple[int, int]:
    """Number of counted detections, and number of them that were found."""
    return len(counted), len(match_detections(counted, there, SAME_OBJECT, score_difference=1.0).pairs)


def _share(images: Sequence[tuple[int, int]], confidence: float, other_confidence: float) -> FoundShare | None:
    """The share over the (counted, found) of all images."""
    counts = np.array(images, np.float64).reshape(-1, 2)
    objects, found = counts.sum(axis=0)
    if not objects:
        return None
    drawn = image_weights(len(counts)) @ counts
    shares = np.divide(drawn[:, 1], drawn[:, 0], out=np.full(len(drawn), np.nan), where=drawn[:, 0] > 0)
    return FoundShare(confidence, other_confidence, SAME_OBJECT, int(objects), float(found / objects), interval(shares))


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0)


def _probability(output: HeadOutput, value: float) -> float:
    parts = [part.activation for part in output.parts if part.role in _SCORES]
    if (parts[0] if parts else output.activation) == "sigmoid":
        return float(value)
    return float(1 / (1 + np.exp(-np.clip(np.float64(value), -80, 80))))

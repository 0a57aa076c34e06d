"""How close the built model comes to float: tensor by tensor, and in the detections that a user would see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import VerificationError
from rkdeploy.postprocess.boxes import pairwise_iou
from rkdeploy.postprocess.detections import Detections
from rkdeploy.postprocess.postprocessor import Postprocessor
from rkdeploy.postprocess.thresholds import Thresholds
from rkdeploy.preprocess import LetterboxTransform
from rkdeploy.record import Agreement, OutputAgreement
from rkdeploy.runtime.protocol import HeadTensor
from rkdeploy.spec import HeadOutput, ModelSpec

MATCH_IOU = 0.85
MATCH_SCORE_DIFFERENCE = 0.15
_MEND = (
    "INT8: calibrate on 20 to 40 images like those the model will see (--calib), all classes among them; "
    "docs/quantization.md has what else helps. If --dtype fp16 disagrees too, it is not quantization: please report it."
)


@dataclass(frozen=True, slots=True)
class Matches:
    """Detections of a model beside the reference's, one image or many.

    Attributes:
        reference, compared: how many detections each has.
        ious, score_differences: of the matched pairs.
    """

    reference: int
    compared: int
    ious: tuple[float, ...]
    score_differences: tuple[float, ...]


def match_detections(reference: Detections, compared: Detections, iou: float, score_difference: float) -> Matches:
    """Match detections one to one, best IoU first: same class, IoU of at least `iou`, scores closer than the limit."""
    overlaps = pairwise_iou(reference.xyxy, compared.xyxy)
    differences = np.abs(reference.scores[:, None] - compared.scores[None, :])
    fits = (
        (overlaps >= iou)
        & (differences < score_difference)
        & (reference.class_ids[:, None] == compared.class_ids[None, :])
    )
    pairs = np.argwhere(fits)
    order = np.argsort(-overlaps[fits], kind="stable")
    used: tuple[set[int], set[int]] = (set(), set())
    ious, scores = [], []
    for a, b in pairs[order].tolist():
        if a not in used[0] and b not in used[1]:
            used[0].add(a)
            used[1].add(b)
            ious.append(float(overlaps[a, b]))
            scores.append(float(differences[a, b]))
    return Matches(len(reference), len(compared), tuple(ious), tuple(scores))


@dataclass(slots=True)
class _Sums:
    """What is gathered of one output over the images."""

    dot: float = 0.0
    float_square: float = 0.0
    built_square: float = 0.0
    max_error: float = 0.0
    saturated: int = 0
    values: int = 0
    float_peak: float = 0.0
    built_peak: float = 0.0
    tensor: HeadTensor | None = field(default=None)


class AgreementMeter:
    """Takes the head tensors of float and of the built model, image by image, and sums up.

    Args:
        spec: the contract.
        confidence: detections from this score upwards are compared.
    """

    def __init__(self, spec: ModelSpec, confidence: float = 0.25) -> None:
        self._spec = spec
        self._confidence = confidence
        self._postprocess = Postprocessor(spec, Thresholds(confidence=confidence))
        self._sums = [_Sums() for _ in spec.outputs]
        self._matches: list[Matches] = []

    def add(self, reference: Sequence[HeadTensor], built: Sequence[HeadTensor], transform: LetterboxTransform) -> None:
        """Compare one image."""
        for output, sums, expected, got in zip(self._spec.outputs, self._sums, reference, built, strict=True):
            self._add_tensor(output, sums, expected.dequantized(), got)
        self._matches.append(
            match_detections(
                self._postprocess(reference, transform),
                self._postprocess(built, transform),
                MATCH_IOU,
                MATCH_SCORE_DIFFERENCE,
            )
        )

    def _add_tensor(self, output: HeadOutput, sums: _Sums, expected: NDArray[np.float32], got: HeadTensor) -> None:
        real = got.dequantized()
        if not np.isfinite(real).all():
            raise VerificationError(
                f'Output "{output.name}" of the built model holds NaN or infinity.',
                "In float16 a value beyond 65,504 overflows: build with --dtype int8, or look for exploding weights.",
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
        objectness = self._objectness(output)
        if objectness is not None:
            sums.float_peak = max(sums.float_peak, _probability(output, expected[:, objectness].max()))
            sums.built_peak = max(sums.built_peak, _probability(output, real[:, objectness].max()))

    def _objectness(self, output: HeadOutput) -> NDArray[np.intp] | None:
        """Channels of the objectness, None for a tensor without scores."""
        assert self._spec.anchors is not None
        first = {"anchor_map": 4, "anchor_scores": 0}.get(output.role)
        if first is None:
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
        )

    def _output(self, output: HeadOutput, sums: _Sums) -> OutputAgreement:
        norm = (sums.float_square * sums.built_square) ** 0.5
        tensor = sums.tensor
        quantized = tensor is not None and tensor.values.dtype.kind in "iu"
        scored = self._objectness(output) is not None
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


def require_agreement(agreement: Agreement, min_agreement: float) -> None:
    """Refuse a built model that lost its detections.

    Raises:
        VerificationError: when a score tensor cannot reach the threshold that float reaches, or too few of float's
            detections are matched.
    """
    for output in agreement.outputs:
        if output.float_peak is None or output.built_peak is None or output.float_peak <= agreement.confidence:
            continue
        if output.reachable_score is not None and output.reachable_score <= agreement.confidence:
            raise VerificationError(
                f'Output "{output.name}" can represent scores up to {output.reachable_score:.3f} only, float reaches '
                f"{output.float_peak:.3f} and the threshold is {agreement.confidence}: every detection of it is lost.",
                "The calibration images show none of its objects, or boxes and scores share one scale: calibrate on "
                "images like those the model will see, or build with --split boxes_scores.",
            )
    if agreement.float_detections and not agreement.built_detections:
        raise VerificationError(
            f"The built model finds nothing on {agreement.images} images where float finds "
            f"{agreement.float_detections} objects.",
            _MEND,
        )
    if not agreement.float_detections and agreement.built_detections > agreement.images:
        raise VerificationError(
            f"The built model finds {agreement.built_detections} objects on {agreement.images} images where float "
            "finds none.",
            _MEND,
        )
    if agreement.share is not None and agreement.share < min_agreement:
        raise VerificationError(
            f"Only {agreement.matched} of {agreement.float_detections} float detections "
            f"({100 * agreement.share:.1f} %) are matched by the built model at IoU {agreement.iou}, expected at least "
            f"{100 * min_agreement:.1f} %.",
            f"{_MEND} Or lower --min-agreement if this is good enough.",
        )
    if agreement.precision is not None and agreement.float_detections and agreement.precision < min_agreement:
        raise VerificationError(
            f"The built model finds {agreement.built_detections} objects, of which only {agreement.matched} "
            f"({100 * agreement.precision:.1f} %) are among float's {agreement.float_detections}, expected at least "
            f"{100 * min_agreement:.1f} %.",
            f"{_MEND} Or lower --min-agreement if this is good enough.",
        )


def _probability(output: HeadOutput, value: float) -> float:
    if output.activation == "sigmoid":
        return float(value)
    return float(1 / (1 + np.exp(-np.clip(np.float64(value), -80, 80))))

"""Rows of a comparison, made by hand."""

from __future__ import annotations

from rkdeploy.analysis.compare.comparison import BuildFigures, HeadlineFigure, LabeledAccuracy, Row
from rkdeploy.analysis.compare.variants import Variant
from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.contract.accuracy import FloatTruthAp
from rkdeploy.contract.agreement import Agreement

FIGURES_FROM = "simulator (rknn-toolkit2 2.5.0)"


def agreement(share: float, detections: int = 1000) -> Agreement:
    matched = round(share * detections)
    return Agreement(
        figures_from=FIGURES_FROM,
        images=24,
        source="the val split",
        confidence=0.25,
        outputs=(),
        float_detections=detections,
        built_detections=detections,
        matched=matched,
        iou=0.85,
        score_difference=0.15,
        mean_iou=None,
        mean_score_difference=None,
        average_precisions=(FloatTruthAp("boxes", detections, 24, share, share, share, (share, share), (share, share)),)
        if detections
        else (),
    )


def speed(time_ms: float, dtype: str = "int8") -> Prediction:
    """With an interval of 10 %; FP16's goes from 0.8 to 2 times."""
    half = dtype == "fp16"
    return Prediction(
        target="rk3588",
        dtype=dtype,
        time_ms=time_ms,
        low_ms=time_ms * 0.8 if half else time_ms / 1.1,
        high_ms=time_ms * 2 if half else time_ms * 1.1,
        coverage=None if half else 0.9,
        frames_per_second=1000 / time_ms,
        compute_ms=time_ms,
        memory_ms=0.0,
        activation_ms=0.0,
        attention_ms=0.0,
        overhead_ms=0.0,
        layers=(),
        weight_kib=2048.0,
        internal_kib=1024.0,
        median_error=0.04,
        worst_error=0.2,
        fitted_on="29 models",
        notes=("INT8's formula on FP16 layers.",) if half else (),
    )


def row(
    target: str,
    time_ms: float | None,
    share: float | None = 0.99,
    accuracy: float | tuple[float, ...] | None = None,
    *,
    size: int = 640,
    dtype: str = "int8",
) -> Row:
    """One build; `accuracy` in the order of boxes, keypoints."""
    measured = None
    if accuracy is not None:
        values = accuracy if isinstance(accuracy, tuple) else (accuracy,)
        names = ("mAP50-95 (boxes)", "mAP50-95 (keypoints)")
        measured = LabeledAccuracy(
            tuple(HeadlineFigure(n, 0.8, v) for n, v in zip(names, values, strict=False)),
            FIGURES_FROM,
            "val split",
            100,
        )
    figures = BuildFigures(
        speed=speed(time_ms, dtype) if time_ms is not None else None,
        not_predicted="" if time_ms is not None else f'There is no latency model of "{dtype}" models.',
        weight_kib=2048.0,
        internal_kib=1024.0,
        rknn_bytes=3 << 20,
        agreement=agreement(share) if share is not None else None,
        accuracy=measured,
    )
    return Row(Variant(target, dtype, (size, size)), "built", None, figures)


def failed(target: str, reason: str, hint: str = "", *, size: int = 640) -> Row:
    return Row(Variant(target, "int8", (size, size)), "failed", reason=reason, hint=hint)

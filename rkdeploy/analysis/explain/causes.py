"""From layer errors and ranges to causes, the one that costs most first, each with what to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rkdeploy.analysis.explain.explanation import Cause, TensorRange
from rkdeploy.contract.agreement import Agreement
from rkdeploy.contract.record import CalibrationRecord
from rkdeploy.host.building.weight_figures import WeightLoss, weights_text
from rkdeploy.host.toolkit.error_analysis import LayerError
from rkdeploy.host.toolkit.float16 import module_name

_NARROW_SHARE = 0.005  # of a tensor's values outside its calibrated range
_NARROW_LAYERS = 0.2  # share of tensors that must be so, for the calibration images to be the cause
_FEW_IMAGES = 5
_POOR_COSINE = 0.99  # of a layer quantized alone
_UNEVEN = 32.0  # largest channel over the median one: half of the channels then have 8 steps of 256 or fewer
_STRETCHED = 4.0  # calibrated range over the bulk of the values
_MOST_LAYERS = 3


def find_causes(
    layers: Sequence[LayerError],
    ranges: Mapping[str, TensorRange],
    calibration: CalibrationRecord | None,
    agreement: Agreement | None,
    weights: WeightLoss | None = None,
) -> tuple[Cause, ...]:
    """Causes, the heaviest first; one that says so when nothing stands out."""
    causes = [*_calibration(ranges, calibration), *_channels(ranges), *_layers(layers, ranges), *_scores(agreement)]
    causes += _weights(weights, agreement)
    causes.sort(key=lambda cause: -cause.weight)
    if causes:
        return tuple(causes)
    last = layers[-1]
    return (
        Cause(
            "spread",
            "",
            "No layer stands out: each loses little by itself, and with the errors of all before it the last output "
            f"keeps a cosine of {last.entire_cosine:.4f}.",
            "Try other calibration images (--seed, --calib), --split boxes_scores, layers in float16 (--float16-layers "
            "head), or --dtype fp16.",
            0.0,
        ),
    )


def _weights(weights: WeightLoss | None, agreement: Agreement | None) -> list[Cause]:
    """Weights whose rounding alone loses much of what is lost."""
    text = weights_text(weights, agreement.headline if agreement is not None else None) if weights is not None else ""
    if weights is None or weights.headline is None or not text:
        return []
    return [
        Cause(
            "weights",
            "",
            text,
            f"Other calibration images cannot change that: weights do not depend on them. Build with those modules in "
            f"float16 ({weights.float16_option}), or with --dtype fp16, or train on with weight decay.",
            1 - weights.headline.value,
        )
    ]


def _float16_option(tensor: str) -> str:
    """Option that keeps it in float16: with its module, since a reader in int8 takes the same scale as before."""
    return f"--float16-layers {module_name(tensor)}"


def _calibration(ranges: Mapping[str, TensorRange], calibration: CalibrationRecord | None) -> list[Cause]:
    narrow = [r for r in ranges.values() if r.outside > _NARROW_SHARE]
    share = len(narrow) / len(ranges) if ranges else 0.0
    warnings = list(calibration.warnings) if calibration is not None else []
    count = len(calibration.images) if calibration is not None else 0
    if share < _NARROW_LAYERS and not (warnings and narrow) and not 0 < count < _FEW_IMAGES:
        return []
    worst = max(narrow, key=lambda r: r.outside) if narrow else None
    found = []
    if worst is not None:
        found.append(
            f"{len(narrow)} of {len(ranges)} tensors have values on these images that calibration never saw, "
            f'up to {100 * worst.outside:.1f} % of "{worst.name}" (calibrated {worst.calibrated[0]:.3g} to '
            f"{worst.calibrated[1]:.3g}, seen {worst.seen[0]:.3g} to {worst.seen[1]:.3g})"
        )
    if 0 < count < _FEW_IMAGES:
        found.append(f"calibration had {count} image{'s' if count > 1 else ''}")
    found += [warning.rstrip(".") for warning in warnings]
    return [
        Cause(
            "calibration",
            "",
            f"The calibration images are not like these: {'; '.join(found)}.",
            "Calibrate on 20 to 40 images of the kind that the model will see, all classes and lights among them "
            "(--calib).",
            10.0 + share,
        )
    ]


def _channels(ranges: Mapping[str, TensorRange]) -> list[Cause]:
    """Convolutions of which one channel takes the scale from all others.

    The cosine of such a layer looks well, since it is that one channel's.  What comes after it inherits the channel, so
    only the most uneven are named.
    """
    uneven = [r for r in ranges.values() if r.op == "Conv" and r.channel_ratio > _UNEVEN]
    uneven.sort(key=lambda r: -r.channel_ratio)
    return [
        Cause(
            "channel",
            r.name,
            f'"{r.name}": channel {r.widest_channel} reaches {r.channel_ratio:.0f} times the median channel, and one '
            f"scale must hold them all: half of the channels have {255 / r.channel_ratio:.0f} of 256 steps or fewer.",
            f"Look at that channel's weights and BatchNorm. Train on with weight decay, or keep its module in float16 "
            f"(build with {_float16_option(r.name)}).",
            float(np.log2(r.channel_ratio) / 8),
        )
        for r in uneven[:_MOST_LAYERS]
    ]


def _layers(layers: Sequence[LayerError], ranges: Mapping[str, TensorRange]) -> list[Cause]:
    """Layers that lose much when quantized alone, and why."""
    poor = sorted((row for row in layers if row.single_cosine < _POOR_COSINE), key=lambda row: row.single_cosine)
    causes = []
    for row in poor[:_MOST_LAYERS]:
        known = ranges.get(row.name.removesuffix("_int8"))
        lost = f'"{row.name}" ({row.op}) alone falls to a cosine of {row.single_cosine:.4f}'
        weight = 1 - row.single_cosine
        if known is not None and known.stretch > _STRETCHED:
            causes.append(
                Cause(
                    "outliers",
                    row.name,
                    f"{lost}: its range ({known.calibrated[0]:.3g} to {known.calibrated[1]:.3g}) is "
                    f"{known.stretch:.0f} times what 99.9 % of its values need ({known.bulk:.3g}).",
                    f"A few outliers set the scale: try other calibration images (--seed), or keep its "
                    f"module in float16 (build with {_float16_option(row.name)}).",
                    weight,
                )
            )
        else:
            causes.append(
                Cause(
                    "layer",
                    row.name,
                    f"{lost}.",
                    f"Build with {_float16_option(row.name)}, which keeps its module in float16, or with --dtype fp16.",
                    weight,
                )
            )
    return causes


def _scores(agreement: Agreement | None) -> list[Cause]:
    """Score tensors that cannot represent the float model's scores."""
    causes = []
    for output in agreement.outputs if agreement is not None else ():
        reach, peak = output.reachable_score, output.float_peak
        if reach is not None and peak is not None and peak - reach > 0.05:
            causes.append(
                Cause(
                    "scores",
                    output.name,
                    f'"{output.name}" can say scores up to {reach:.3f}, float reaches {peak:.3f}.',
                    "The calibration images show no such certain object: add some, or build with --sigmoid all.",
                    float(np.clip(peak - reach, 0, 1)),
                )
            )
    return causes

"""The latency model: NPU time of a frame from what the compiler prints, before there is a board.

    time = sum over layers of max(compute * cycles, traffic * bytes, activation * values) + overhead
           + softmax * values through a softmax

A layer computes, moves data and runs its activation side by side, and the slowest of the three decides.  The five
coefficients of a chip are not negative and have a meaning: inverse clock, inverse bandwidth, inverse rate of table
activations, the start of a layer, and what a softmax costs.  They are fitted on Rockchip's published rates
(`coefficients.json`, made by tests/analysis/estimate/fit.py); docs/estimate.md has the errors on models left out of
the fit.  FP16 models are predicted by the same, with an interval of their own: see
`rkdeploy.analysis.estimate.unfitted_types`.

Every figure from here is predicted, never measured.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rkdeploy.analysis.estimate.layer_work import LayerWork, works_of
from rkdeploy.analysis.estimate.prediction import LayerLimit, LayerTime, Prediction
from rkdeploy.analysis.estimate.unfitted_types import TypeCheck, type_check
from rkdeploy.errors import RkdeployError, shown

if TYPE_CHECKING:
    from rkdeploy.contract.compiled_model import CompiledModel

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
SAME_CHIP = {"rk3568": "rk3566"}
"""Targets that another's coefficients stand for; Rockchip publishes one rate for both."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Coefficients of one chip's NPU core.

    Attributes:
        compute_ms: per million of the compiler's cycles.
        traffic_ms: per million bytes moved.
        activation_ms: per million values through a table activation.
        softmax_ms: per million values through a softmax, within an attention layer or alone, in addition to the rest.
        overhead_ms: per layer.
    """

    compute_ms: float
    traffic_ms: float
    activation_ms: float
    softmax_ms: float
    overhead_ms: float


@dataclass(frozen=True, slots=True)
class ChipFit:
    """Coefficients of a chip and how well they do on models that they were not fitted on.

    Attributes:
        lanes: see `works_of`.
        coefficients: fitted on all models.
        median_error, worst_error: of the predicted time over the published one, models left out of the fit one by one.
        half_width: the interval is time * exp(-half_width) to time * exp(half_width).
        fastest_ms, slowest_ms: range of the published times.
    """

    lanes: int
    coefficients: Coefficients
    median_error: float
    worst_error: float
    half_width: float
    fastest_ms: float
    slowest_ms: float


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """Content of `coefficients.json`.

    Attributes:
        source: publisher of the rates.
        dtype: of all models of the fit.
        toolkit: rknn-toolkit2 whose compile logs gave the terms.
        coverage: share of left-out models that the interval was made to hold.
        models: models of the fit.
        kinds: layers seen, as `LayerWork.kind`.
        chips: by target.
    """

    source: str
    dtype: str
    toolkit: str
    coverage: float
    models: tuple[str, ...]
    kinds: tuple[str, ...]
    chips: dict[str, ChipFit]


@cache
def latency_model() -> LatencyModel:
    """The fitted model of this release."""
    return msgspec.json.decode(COEFFICIENTS.read_bytes(), type=LatencyModel)


def targets() -> tuple[str, ...]:
    """The chips that can be predicted."""
    return (*latency_model().chips, *SAME_CHIP)


def require_predictable(target: str, dtype: str) -> None:
    """Refuse what the model knows nothing of.

    Raises:
        RkdeployError: no rates of this chip or type are published.
    """
    model = latency_model()
    if SAME_CHIP.get(target, target) not in model.chips:
        raise RkdeployError(
            f"There is no latency model of {shown(target)}, expected one of {', '.join(targets())}.",
            "Only chips with published rates are predicted. On a board, rkdeploy profile measures.",
        )
    if dtype != model.dtype and type_check(dtype) is None:
        raise RkdeployError(
            f"There is no latency model of {shown(dtype)} models, only of {model.dtype} and fp16.",
            "No rates of this type are published. On a board, rkdeploy profile measures.",
        )


def layer_time_ms(work: LayerWork, c: Coefficients) -> tuple[float, LayerLimit]:
    """A layer's predicted time without its start, and what decides it."""
    sides: tuple[tuple[float, LayerLimit], ...] = (
        (c.compute_ms * work.compute_mcycles, "compute"),
        (c.traffic_ms * work.traffic_mb, "memory"),
        (c.activation_ms * work.activation_melements, "activation"),
    )
    time_ms, limit = max(sides, key=lambda side: side[0])
    if work.softmax_melements:
        return time_ms + c.softmax_ms * work.softmax_melements, "attention"
    return time_ms, limit


def predict(compiled: CompiledModel, target: str, dtype: str, compiled_from: str = "") -> Prediction:
    """NPU time of a frame.

    Args:
        compiled: the model, compiled for `target`.
        target: chip.
        dtype: as asked of the build, `int8` or `fp16`.
        compiled_from: where the compiled model comes from, in words.

    Raises:
        RkdeployError: the chip or the type is outside of what was fitted on, or there are no layers.
    """
    require_predictable(target, dtype)
    model = latency_model()
    chip = model.chips[SAME_CHIP.get(target, target)]
    works = works_of(compiled, chip.lanes)
    by_limit: dict[LayerLimit, float] = defaultdict(float)
    layers = []
    for work in works:
        time_ms, limit = layer_time_ms(work, chip.coefficients)
        by_limit[limit] += time_ms
        layers.append(LayerTime(work.number, work.op, work.name, time_ms + chip.coefficients.overhead_ms, limit))
    overhead = chip.coefficients.overhead_ms * len(works)
    total = sum(by_limit.values()) + overhead
    if total <= 0:
        raise RkdeployError("There is nothing to predict: the compiled model has no layers.")
    check = type_check(dtype)
    low, high = (
        (check.low_factor, check.high_factor) if check is not None else (exp(-chip.half_width), exp(chip.half_width))
    )
    return Prediction(
        target=target,
        dtype=dtype,
        time_ms=total,
        low_ms=total * low,
        high_ms=total * high,
        coverage=model.coverage if check is None else None,
        frames_per_second=1000 / total,
        compute_ms=by_limit["compute"],
        memory_ms=by_limit["memory"],
        activation_ms=by_limit["activation"],
        attention_ms=by_limit["attention"],
        overhead_ms=overhead,
        layers=tuple(layers),
        weight_kib=compiled.weight_kib,
        internal_kib=compiled.internal_kib,
        median_error=(check or chip).median_error,
        worst_error=(check or chip).worst_error,
        fitted_on=f"{len(model.models)} models' {model.dtype.upper()} rates on {_published(target)} in {model.source}",
        compiled_from=compiled_from,
        notes=tuple(_notes(works, layers, total, chip, model, check)),
    )


def _published(target: str) -> str:
    same = SAME_CHIP.get(target)
    if same is not None:
        return f"{same} (published for {target} too)"
    twins = [twin for twin, of in SAME_CHIP.items() if of == target]
    return f"{target} (published for {', '.join(twins)} too)" if twins else target


def _notes(
    works: tuple[LayerWork, ...],
    layers: list[LayerTime],
    total_ms: float,
    chip: ChipFit,
    model: LatencyModel,
    check: TypeCheck | None,
) -> list[str]:
    notes = [check.note] if check is not None else []
    times: dict[str, float] = defaultdict(float)
    for work, layer in zip(works, layers, strict=True):
        if work.kind not in model.kinds:
            times[work.kind] += layer.time_ms
    if times:
        listed = ", ".join(sorted(times))
        notes.append(
            f"No model of the fit has these layers: {listed}. They are {sum(times.values()) / total_ms:.1%} of the "
            "predicted time, and may take much longer than predicted."
        )
    if not chip.fastest_ms <= total_ms <= chip.slowest_ms:
        notes.append(
            f"The models of the fit take {chip.fastest_ms:.1f} to {chip.slowest_ms:.1f} ms; this one is outside, where "
            "the interval is not tested."
        )
    return notes

"""A predicted time as plain data: what `rkdeploy estimate -o` writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from rkdeploy.contract.bounds import Amount, Pixels, Positive, Share, Text, Whole
from rkdeploy.contract.compiled_model import MAX_LAYERS

ESTIMATE_VERSION = 1
LayerLimit = Literal["compute", "memory", "activation", "attention"]
PartName = Literal["compute", "memory", "activation", "attention", "overhead"]


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer's predicted time.

    Attributes:
        number, op, name: of the layer, as the compiler has them.
        time_ms: predicted, the layer's start included.
        limit: what decides it.
    """

    number: Whole
    op: Text
    name: Text
    time_ms: Amount
    limit: LayerLimit


@dataclass(frozen=True, slots=True)
class Prediction:
    """NPU time of one frame on one core at its highest clock, predicted, not measured; without pre- and postprocessing.

    Attributes:
        target: chip.
        dtype: of the model.
        time_ms: predicted time.
        low_ms, high_ms: its interval.
        coverage: share of models that such an interval is made to hold, 0..1.  None for a type that the formula was not
            fitted on, a prediction of lower standing: its interval holds what published rates of other models showed.
        frames_per_second: 1000 / time_ms.
        compute_ms, memory_ms, activation_ms, attention_ms, overhead_ms: the same time by what decides it.
        layers: in the order of execution; empty in documents that list the layers elsewhere.
        weight_kib, internal_kib: memory, as the compiler plans it.
        median_error, worst_error: of this model of latency on models it was not fitted on, as a share; without
            coverage, on the published rates of this type.
        fitted_on: in words.
        notes: what a prediction without coverage rests on, and why this one may be worse than its interval says; empty
            when nothing is unusual.
        compiled_from: where the compiled model comes from, in words.
        board_factor: by which the times of the fit were multiplied for a profiled board; None without profiles.
    """

    target: Text
    dtype: Text
    time_ms: Positive
    low_ms: Positive
    high_ms: Positive
    coverage: Share | None
    frames_per_second: Positive
    compute_ms: Amount
    memory_ms: Amount
    activation_ms: Amount
    attention_ms: Amount
    overhead_ms: Amount
    layers: Annotated[tuple[LayerTime, ...], Meta(max_length=MAX_LAYERS)]
    weight_kib: Amount
    internal_kib: Amount
    median_error: Amount
    worst_error: Amount
    fitted_on: Text
    notes: tuple[Text, ...]
    compiled_from: Text = ""
    board_factor: Positive | None = None

    @property
    def rests_on(self) -> str:
        """The basis of a prediction without coverage, in a sentence; empty with coverage."""
        return self.notes[0] if self.coverage is None and self.notes else ""

    @property
    def parts(self) -> tuple[tuple[PartName, float], ...]:
        """Parts of the time by what decides it, in milliseconds, without those that take none."""
        parts: tuple[tuple[PartName, float], ...] = (
            ("compute", self.compute_ms),
            ("memory", self.memory_ms),
            ("activation", self.activation_ms),
            ("attention", self.attention_ms),
            ("overhead", self.overhead_ms),
        )
        return tuple((name, time_ms) for name, time_ms in parts if time_ms > 0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predictions of one model.

    Attributes:
        model: name of its file or folder.
        input_hw: (height, width) of its input in pixels.
        predictions: one per chip.
        figures_from: what kind of figures these are.
        document, schema_version: what this file is.
    """

    model: Text
    input_hw: tuple[Pixels, Pixels]
    predictions: tuple[Prediction, ...]
    figures_from: Literal["predicted"] = "predicted"
    document: Literal["rkdeploy estimate"] = "rkdeploy estimate"
    schema_version: int = ESTIMATE_VERSION

"""Cost of a frame on the NPU, predicted from the compiler's log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rkdeploy.analysis.estimate.latency import latency_model, predict, targets
from rkdeploy.contract.compiled_model import CompiledModel

MILLISECONDS: Final = "ms"
MEGACYCLES: Final = "Mcycles"


@dataclass(frozen=True, slots=True)
class Cost:
    """A predicted cost; predicted, not measured.

    Attributes:
        value: in `unit`.
        unit: `ms` where there is a latency model of the chip, else `Mcycles`.
        megacycles: the compiler's own count of cycles, in millions; it counts convolutions only.
    """

    value: float
    unit: str
    megacycles: float


def cost_unit(target: str, dtype: str) -> str:
    """The unit in which a build for this chip is predicted."""
    return MILLISECONDS if target in targets() and dtype == latency_model().dtype else MEGACYCLES


def cost_of(compiled: CompiledModel, target: str, dtype: str) -> Cost:
    """The predicted cost of a frame."""
    megacycles = sum(layer.total_cycles for layer in compiled.layers) / 1e6
    if cost_unit(target, dtype) == MILLISECONDS:
        return Cost(predict(compiled, target, dtype).time_ms, MILLISECONDS, megacycles)
    return Cost(megacycles, MEGACYCLES, megacycles)

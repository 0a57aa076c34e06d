"""The cost of a trial: milliseconds where there is a latency model, the compiler's cycles elsewhere."""

from __future__ import annotations

import pytest

from rkdeploy.analysis.estimate.latency import predict, targets
from rkdeploy.analysis.tune.cost import cost_of, cost_unit
from rkdeploy.contract.compiled_model import CompiledLayer, CompiledModel


def layer(number: int, op: str, cycles: int) -> CompiledLayer:
    shape = (1, 16, 40, 40)
    return CompiledLayer(number, op, f"layer{number}", "INT8", "NPU", (shape,), shape, cycles, cycles, cycles, 50.0)


LAYERS = (layer(0, "InputOperator", 0), layer(1, "Conv", 400_000), layer(2, "Conv", 600_000))
MODEL = CompiledModel(LAYERS, (), (), 1, 1)


@pytest.mark.parametrize("target", targets())
def test_milliseconds_are_the_estimates(target: str) -> None:
    """For a chip with a latency model the cost is the prediction of `estimate`, with the cycles next to it."""
    cost = cost_of(MODEL, target, "int8")
    assert (cost.unit, cost.value) == ("ms", predict(MODEL, target, "int8").time_ms)
    assert cost.megacycles == pytest.approx(1.0)


@pytest.mark.parametrize(("target", "dtype"), [("rv1126b", "int8"), ("rk3588", "w16a16i_dfp")])
def test_cycles_by_hand(target: str, dtype: str) -> None:
    """For another chip or type it is the sum of the compiler's cycles."""
    assert cost_unit(target, dtype) == "Mcycles"
    cost = cost_of(MODEL, target, dtype)
    assert cost.unit == "Mcycles"
    assert cost.value == pytest.approx(1.0)

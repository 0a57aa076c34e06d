"""The committed coefficients are those of the recorded data, and meet their goal."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rkdeploy.analysis.estimate.latency import LatencyModel, latency_model, predict
from rkdeploy.contract.compiled_model import CompiledModel
from tests.analysis.estimate import fit


@pytest.fixture(scope="module")
def fitted() -> tuple[LatencyModel, dict[str, fit.Judged]]:
    return fit.fit_all()


def test_every_rate_has_its_compile_logs() -> None:
    """31 models on four chips, each compiled by both toolkits; 29 are fitted on, and the two held out are not."""
    recorded = {(one.toolkit, one.model, one.target) for one in fit.recorded()}
    names = [*fit.rates(), *fit.rates(fit.HELD_OUT)]
    assert latency_model().models == tuple(names[:29])
    assert recorded == {(kit, name, chip) for kit in (fit.FITTED, fit.NEWER) for name in names for chip in fit.LANES}
    assert len(recorded) == 2 * 31 * 4


def test_the_committed_coefficients_are_the_fits(fitted: tuple[LatencyModel, dict[str, fit.Judged]]) -> None:
    """Fitting again gives the committed file, but for the optimizer's own tolerance."""
    again, committed = fitted[0], latency_model()
    assert (again.models, again.kinds, again.source) == (committed.models, committed.kinds, committed.source)
    assert again.chips.keys() == committed.chips.keys()
    for name, chip in again.chips.items():
        kept = committed.chips[name]
        for field in ("compute_ms", "traffic_ms", "activation_ms", "softmax_ms", "overhead_ms"):
            found, expected = getattr(chip.coefficients, field), getattr(kept.coefficients, field)
            assert found == pytest.approx(expected, rel=0.01, abs=1e-4), (name, field)
        assert (chip.median_error, chip.worst_error) == pytest.approx((kept.median_error, kept.worst_error), abs=2e-3)
        assert chip.half_width == pytest.approx(kept.half_width, abs=2e-3)


def test_the_goal_holds_on_models_left_out(fitted: tuple[LatencyModel, dict[str, fit.Judged]]) -> None:
    """At most 5 % median and 15 % at worst on all four chips, on models that the fit never saw; no term is negative."""
    for name, chip in fitted[0].chips.items():
        assert chip.median_error <= 0.05, name
        assert chip.worst_error <= 0.15, name
        assert min(getattr(chip.coefficients, field) for field in chip.coefficients.__slots__) >= 0


def test_the_interval_holds_its_share(fitted: tuple[LatencyModel, dict[str, fit.Judged]]) -> None:
    """At least 90 % of the left-out models lie in their interval, on each chip."""
    model, judged = fitted
    for name, both in judged.items():
        inside = [
            abs(math.log(one.predicted_ms / one.published_ms)) <= model.chips[name].half_width for one in both.models
        ]
        assert sum(inside) >= 0.9 * len(inside), name


def test_models_held_out_are_predicted(fitted: tuple[LatencyModel, dict[str, fit.Judged]]) -> None:
    """PP-YOLOE, which had no part in choosing the formula nor in the fit, is predicted within 16 % on all chips."""
    errors = [abs(one.error) for both in fitted[1].values() for one in both.held_out]
    assert len(errors) == 8
    assert max(errors) <= 0.16


def test_script_and_package_have_one_formula() -> None:
    """The fit's arrays and the package's prediction give the same time for every recorded model."""
    for one in fit.recorded():
        predicted = predict(CompiledModel(one.layers, (), (), 1.0, 1.0), one.target, "int8")
        c = latency_model().chips[one.target].coefficients
        expected = fit.predicted_ms(fit.terms(one), np.array([getattr(c, field) for field in c.__slots__]))
        assert predicted.time_ms == pytest.approx(expected, rel=1e-9)


def test_leaving_a_model_out_leaves_it_out() -> None:
    """A left-out model's own rate has no influence on its prediction; with it in the fit, it has."""
    compiled = [one for one in fit.recorded() if (one.toolkit, one.target) == (fit.FITTED, "rk3588")]
    layers = {one.model: fit.terms(one) for one in compiled}
    times = {name: 1000 / row["rk3588"] for name, row in fit.rates().items()}
    wrong = times | {"yolo11n": 10 * times["yolo11n"]}
    first, second = (
        next(one for one in fit.leave_out(str, chosen, layers, layers) if one.model == "yolo11n")
        for chosen in (times, wrong)
    )
    assert first.predicted_ms == pytest.approx(second.predicted_ms, rel=1e-6)
    assert second.published_ms == pytest.approx(10 * first.published_ms)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yolov8n-seg", "yolov8"),
        ("yolov10s", "yolov10"),
        ("yolo11m", "yolo11"),
        ("yolox_s", "yolox"),
        ("resnet50-v2-7@224", "resnet"),
    ],
)
def test_families(name: str, expected: str) -> None:
    """A family is the name up to its size."""
    assert fit.family(name) == expected

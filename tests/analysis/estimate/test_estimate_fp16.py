"""FP16's predicted time: INT8's formula, held against the FP16 rates that are published."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from rkdeploy.analysis.estimate.latency import latency_model, predict, require_predictable
from rkdeploy.analysis.estimate.unfitted_types import TypeCheck, type_check
from rkdeploy.contract.compiled_model import CompiledModel
from rkdeploy.errors import RkdeployError
from rkdeploy.host.toolkit.compile_log import parse_compile_log
from tests.analysis.estimate import check_fp16, fit

LOGS = Path(__file__).parents[2] / "data/compile_log"


@pytest.fixture(scope="module")
def found() -> list[check_fp16.Checked]:
    return check_fp16.checked()


@pytest.fixture(scope="module")
def committed() -> TypeCheck:
    check = type_check("fp16")
    assert check is not None
    return check


def half_precision() -> CompiledModel:
    text = gzip.decompress((LOGS / "2.5.0_yolov5n_rk3588_fp16.txt.gz").read_bytes()).decode()
    return parse_compile_log(text)


def test_every_rate_has_its_compile_logs() -> None:
    """Six models on four chips by both toolkits, all convolutions in FP16, and the YOLOv5m in both types."""
    recorded = check_fp16.recorded()
    names = list(fit.rates(check_fp16.RATES))
    expected = {(kit, name, chip) for kit in (fit.FITTED, fit.NEWER) for name in names for chip in fit.LANES}
    v5m = {(fit.NEWER, name, check_fp16.V5M_TARGET) for name in check_fp16.V5M.values()}
    assert set(recorded) == expected | v5m
    assert len(names) == 6
    for key in expected:
        types = {layer.dtype for layer in recorded[key].layers if layer.op.startswith("Conv")}
        assert types == {"FLOAT16"}, key


def test_the_committed_check_and_table_agree(found: list[check_fp16.Checked], committed: TypeCheck) -> None:
    """Both are what the script makes now."""
    assert check_fp16.type_check(found) == committed
    assert check_fp16.document(found) == check_fp16.in_document()


def test_no_rate_is_missed_by_a_factor_of_two(found: list[check_fp16.Checked]) -> None:
    """The condition on which FP16 is predicted at all; half of the rates are within 20 %."""
    assert all(0.5 < ratio < 2 for one in found for ratio in (one.ratio, one.newer_ratio))
    assert sum(abs(one.ratio - 1) <= 0.2 for one in found) >= len(found) / 2


def test_the_interval_holds_what_was_published(found: list[check_fp16.Checked], committed: TypeCheck) -> None:
    """Every published FP16 time, and both readings of the YOLOv5m that was measured in both types."""
    for one in found:
        for ms in (one.predicted_ms, one.newer_ms):
            assert committed.low_factor * ms <= one.published_ms <= committed.high_factor * ms, one
    for factor in check_fp16.factors_of_v5m():
        assert committed.low_factor <= factor <= committed.high_factor


def test_attention_costs_by_pairs_of_tokens(found: list[check_fp16.Checked]) -> None:
    """MobileSAM's encoder has 49 and 196 tokens, its decoder 7 and 784; the fit only 400: by bytes both are far off."""
    sam = {one.model: one.ratio for one in found if one.target == "rk3588" and one.model.startswith("mobilesam")}
    assert sam["mobilesam_encoder_tiny"] == pytest.approx(1, abs=0.1)
    assert sam["mobilesam_decoder"] == pytest.approx(1, abs=0.35)


def test_a_prediction_says_what_it_rests_on(committed: TypeCheck) -> None:
    """INT8's formula, the check's interval and errors, no coverage, and the sentence first among the notes."""
    compiled = half_precision()
    found = predict(compiled, "rk3588", "fp16")
    assert found.time_ms == predict(compiled, "rk3588", "int8").time_ms
    assert found.low_ms == pytest.approx(found.time_ms * committed.low_factor)
    assert found.high_ms == pytest.approx(found.time_ms * committed.high_factor)
    assert found.coverage is None
    assert (found.median_error, found.worst_error) == (committed.median_error, committed.worst_error)
    assert found.notes == (committed.note,)
    for part in ("INT8's formula on FP16 layers", "24 published FP16 rates", "none a detector"):
        assert part in found.notes[0]
    assert f"{committed.lowest - 1:+.0%} to {committed.highest - 1:+.0%}" in found.notes[0]


@pytest.mark.parametrize("dtype", ["w8a16", "w16a16i_dfp", "FP16", "", "float16"])
def test_other_types_stay_refused(dtype: str) -> None:
    """No rates of another type are published."""
    with pytest.raises(RkdeployError, match="only of int8 and fp16"):
        require_predictable("rk3588", dtype)
    with pytest.raises(RkdeployError, match="There is no latency model"):
        predict(half_precision(), "rk3588", dtype)


def test_nothing_of_it_is_in_the_fit() -> None:
    """No model of the check is one of the fit."""
    assert not set(fit.rates(check_fp16.RATES)) & set(latency_model().models)

"""Predictions for a profiled board: the profiles are made up, their bundle's layers are from a recorded log."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import exp, log, sqrt
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rkdeploy.analysis.estimate.board_factor import measured_models, on_board
from rkdeploy.analysis.estimate.latency import predict
from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.analysis.report.document_models import model_sha256_of
from rkdeploy.cli.main import app
from rkdeploy.contract.bundle import Bundle
from rkdeploy.device.profiling.profile_document import CoreTiming, Profile
from rkdeploy.device.stream.statistics import Latency
from rkdeploy.errors import RkdeployError
from tests.analysis.report.report_samples import compiled, make_bundle, profile, write


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """YOLOv5n's compiled layers, as built for rk3588."""
    return make_bundle(tmp_path / "build" / "best")


def timed(bundle: Bundle, npu_ms: float | None, core_ms: tuple[float, ...] = (21.0,)) -> Profile:
    """A profile of the bundle with these medians."""
    whole = profile(bundle.folder.name, model_sha256_of(bundle))
    npu = Latency(100, npu_ms, npu_ms, npu_ms) if npu_ms is not None else None
    cores = tuple(CoreTiming(number, Latency(100, ms, ms, ms)) for number, ms in enumerate(core_ms))
    return replace(whole, stages=replace(whole.stages, npu=npu), cores=cores)


def fitted() -> Prediction:
    """The same model without a profile."""
    return predict(compiled(), "rk3588", "int8")


def test_one_profile_by_hand(bundle: Bundle, tmp_path: Path) -> None:
    """A board that takes 1.5 times as long takes so for every part and layer; the interval is sqrt(2) times as wide."""
    before = fitted()
    path = write(tmp_path / "profile.json", timed(bundle, 1.5 * before.time_ms))
    found = on_board(before, measured_models([path], [tmp_path / "build"]))
    assert found.board_factor == pytest.approx(1.5)
    assert found.time_ms == pytest.approx(1.5 * before.time_ms)
    assert found.frames_per_second == pytest.approx(before.frames_per_second / 1.5)
    assert sum(layer.time_ms for layer in found.layers) == pytest.approx(found.time_ms)
    assert sum(time_ms for _, time_ms in found.parts) == pytest.approx(found.time_ms)
    width = log(before.high_ms / before.time_ms) * sqrt(2)
    assert found.high_ms == pytest.approx(found.time_ms * exp(width))
    assert found.low_ms == pytest.approx(found.time_ms * exp(-width))
    assert "multiplied by 1.500" in found.notes[-2]
    assert "the runtime's own time of the network, Radxa ROCK 5B" in found.notes[-1]


def test_several_profiles(bundle: Bundle, tmp_path: Path) -> None:
    """The geometric mean of 1.0 and 4.0 is 2; profiles that differ so much widen the interval."""
    before = fitted()
    paths = [write(tmp_path / f"{n}.json", timed(bundle, n * before.time_ms)) for n in (1, 4)]
    found = on_board(before, measured_models(paths, [tmp_path / "build"]))
    assert found.board_factor == pytest.approx(2.0)
    deviation = sqrt(2) * log(2)  # of log 1 and log 4, with one degree of freedom
    assert found.high_ms == pytest.approx(found.time_ms * exp(1.645 * deviation * sqrt(1.5)))


def test_a_runtime_that_tells_no_time_of_its_own(bundle: Bundle, tmp_path: Path) -> None:
    """The fastest core's call counts, and is named for what it is."""
    path = write(tmp_path / "profile.json", timed(bundle, None, (22.0, 20.0, 21.0)))
    (found,) = measured_models([path], [tmp_path / "build"])
    assert found.measured_ms == 20.0
    assert "the runtime's call with its copies" in found.text


def other_chip(whole: Profile) -> Profile:
    return replace(whole, versions=replace(whole.versions, target="rk3576"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda whole: replace(whole, on_npu=False, figures_from="simulator (x)"), "not on a board's NPU"),
        (lambda whole: replace(whole, model_sha256="f" * 64), "no bundle with the same model"),
        (other_chip, "says int8 on rk3576"),
        (lambda whole: replace(whole, cores=(), stages=replace(whole.stages, npu=None)), "has no time of the network"),
    ],
)
def test_profiles_that_say_nothing(
    change: Callable[[Profile], Profile], said: str, bundle: Bundle, tmp_path: Path
) -> None:
    """Not of a board, of another bundle, of another chip than it, or without a time."""
    path = write(tmp_path / "profile.json", change(timed(bundle, 20.0)))
    with pytest.raises(RkdeployError) as caught:
        measured_models([path], [tmp_path / "build"])
    assert said in caught.value.message
    assert caught.value.hint


def test_another_chip_and_a_broken_file(bundle: Bundle, tmp_path: Path) -> None:
    """A factor of one chip or type is not one of another."""
    path = write(tmp_path / "profile.json", timed(bundle, 20.0))
    measured = measured_models([path], [tmp_path / "build"])
    with pytest.raises(RkdeployError, match="says nothing of int8 on rk3576"):
        on_board(replace(fitted(), target="rk3576"), measured)
    with pytest.raises(RkdeployError, match="says nothing of fp16 on rk3588"):
        on_board(replace(fitted(), dtype="fp16"), measured)
    path.write_text(path.read_text()[:200])
    with pytest.raises(RkdeployError, match=r"profile\.json"):
        measured_models([path], [])


def test_command(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--from` predicts for the board, says so in the table and keeps the factor in JSON."""
    monkeypatch.chdir(tmp_path)
    before = fitted()
    write(tmp_path / "profile.json", timed(bundle, 1.25 * before.time_ms))
    words = ["estimate", str(bundle.folder), "--from", "profile.json"]
    shown: Any = CliRunner().invoke(app, words, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.stdout.split())
    assert "predicted, not measured" in text
    assert "multiplied by 1.250, for the profiled board" in text
    document = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert document["predictions"][0]["board_factor"] == pytest.approx(1.25)

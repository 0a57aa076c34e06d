"""The whole search over the sample, with the vendor's toolkit: a trial is what `rkdeploy build` gives."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.analysis.tune.cost import cost_of
from rkdeploy.analysis.tune.pareto import UsableTrial
from rkdeploy.analysis.tune.trial import ranges_hash
from rkdeploy.analysis.tune.tune import TuneReport, build_options_of, tune
from rkdeploy.analysis.tune.tune_events import TuneEvents
from rkdeploy.analysis.tune.tune_options import TuneOptions
from rkdeploy.contract.bundle import read_bundle
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.command_line import build_command_line
from rkdeploy.host.building.gate_options import GateOptions
from rkdeploy.host.toolkit.simulator import kept_files
from rkdeploy.host.toolkit.toolkit import Toolkit
from tests.analysis.tune.test_cluster import loopback
from tests.command_line import rkdeploy

SAMPLE = Path(__file__).parents[3] / "calib_data"
IMAGES = 8
TRIALS = 6

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> TuneOptions:
    gate = GateOptions(SAMPLE / "data.yaml", limit=IMAGES)
    out = tmp_path_factory.mktemp("bundles")
    built = BuildOptions(
        SAMPLE / "best.pt", imgsz=(224, 288), calib=SAMPLE, calib_count=8, proof_images=4, gate=gate, out=out
    )
    return TuneOptions(built, trials=TRIALS, workers=2)


@pytest.fixture(scope="module")
def report(options: TuneOptions) -> TuneReport:
    return tune(options, TuneEvents())


def test_every_trial_ended(report: TuneReport) -> None:
    """Each has its figures, its cost and its hash; float16 layers cost more and are there where they were asked for."""
    assert [t.number for t in report.trials] == list(range(1, TRIALS + 1))
    results = [t.result for t in report.trials]
    assert all(r is not None and r.seconds > 0 and r.toolkit and r.rknn_bytes > 1 << 20 for r in results)
    default, worst = report.trials[0], next(t for t in report.trials if t.settings.float16 is not None)
    assert default.result is not None
    assert worst.result is not None
    assert (default.result.float16, worst.result.float16 > 0) == (0, True)
    assert worst.result.cost.value > default.result.cost.value
    assert default.result.cost.unit == "ms"
    ranges = {t.settings.seed: t.result.quantization for t in report.trials if t.result and t.settings.float16 is None}
    assert sorted(ranges) == [0, 1, 2]
    assert len(set(ranges.values())) == 3, "other images give other ranges"


def test_float_is_measured_once_and_right(report: TuneReport) -> None:
    """Float on 8 images of the sample finds nearly everything."""
    assert report.baseline.evaluation.images == IMAGES
    assert report.baseline.figures["mAP50-95 (boxes)"] > 0.7


@pytest.mark.parametrize("which", ["default", "float16"])
def test_the_printed_command_builds_the_trial(options: TuneOptions, report: TuneReport, which: str) -> None:
    """Same accuracy to the last digit, same predicted cost, same range of every tensor, same size of the model."""
    trial = next(t for t in report.trials if (t.settings.float16 is not None) == (which == "float16"))
    assert trial.result is not None
    assert trial.drop is not None
    chosen = build_options_of(options, UsableTrial(trial, trial.result, trial.drop, 1.0))
    words = shlex.split(build_command_line(chosen))
    assert words[:2] == ["rkdeploy", "build"]
    done = rkdeploy(*words[1:])
    assert done.returncode == 0, done.stderr
    bundle = read_bundle(chosen.folder)
    record = bundle.record
    assert record.accuracy is not None
    reference, built = record.accuracy.evaluations
    assert built.headlines() == trial.result.figures
    assert reference.headlines() == pytest.approx(report.baseline.figures, abs=1e-6)
    assert record.compiled is not None
    assert cost_of(record.compiled, "rk3588", "int8") == trial.result.cost
    assert len(record.toolkit.float16) == trial.result.float16
    assert bundle.rknn.stat().st_size == trial.result.rknn_bytes
    with Toolkit(log=options.build.out / "log") as toolkit:
        toolkit.open_kept(*kept_files(bundle))
        assert ranges_hash(toolkit.ranges()) == trial.result.quantization


def test_a_cluster_gives_the_same(options: TuneOptions, report: TuneReport, tmp_path: Path) -> None:
    """On two Dask workers, to which the inputs are sent, the first trials have the very results they had here."""
    with loopback(tmp_path) as cluster:
        found = tune(
            replace(options, study=tmp_path / "s.db", trials=2, workers=None, scheduler=cluster.address), TuneEvents()
        )
    for here, there in zip(report.trials, found.trials, strict=False):
        assert here.result is not None
        assert there.result is not None
        assert replace(there.result, seconds=here.result.seconds) == here.result
        assert (there.number, there.settings, there.drop) == (here.number, here.settings, here.drop)
    assert len(found.trials) == 2


def test_a_search_that_is_complete_runs_nothing(options: TuneOptions, report: TuneReport) -> None:
    """Asked again for as many trials, it gives the same ones without another."""

    class Strict(TuneEvents):
        def started(self, number: int, words: str) -> None:
            pytest.fail(f"trial {number} ({words}) was begun")

    again = tune(options, Strict())
    assert again.trials == report.trials
    assert again.outcome == report.outcome

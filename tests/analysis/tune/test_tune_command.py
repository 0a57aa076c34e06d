"""`rkdeploy tune` as a user meets it: what it refuses, and what it prints."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.tables.search_tables import search_blocks, trial_line
from rkdeploy.analysis.tune.baseline import Baseline
from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.analysis.tune.network_search_space import algorithms_of
from rkdeploy.analysis.tune.pareto import outcome_of
from rkdeploy.analysis.tune.search_document import SearchDocument
from rkdeploy.analysis.tune.tune import TuneReport, build_options_of
from rkdeploy.analysis.tune.tune_options import TuneOptions
from rkdeploy.cli.main import app
from rkdeploy.contract.accuracy import Evaluation, ObjectFigures
from rkdeploy.contract.documents import document_text, read_document
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.gate_options import GateOptions
from rkdeploy.host.toolkit.float16 import Float16Choice
from tests.analysis.tables.printed import printed
from tests.analysis.tune.stand_in_trials import SPACE, result_of
from tests.command_line import rkdeploy

SAMPLE = Path(__file__).parents[3] / "calib_data"
DATA = SAMPLE / "data.yaml"


def tune(cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    temporary = cwd / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = rkdeploy("tune", *arguments, cwd=cwd, env=environment)
    assert list(temporary.iterdir()) == []
    temporary.rmdir()
    return done


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.pt", "--data", DATA], 'Cannot read "missing.pt"'),
        ([SAMPLE / "best.pt", "--data", "missing.yaml", "--calib", SAMPLE], '"missing.yaml" does not exist'),
        ([SAMPLE / "best.pt", "--data", DATA, "--calib", "missing"], 'Calibration set "missing" does not exist'),
        ([SAMPLE / "best.pt", "--data", DATA, "--dtype", "fp16"], "--dtype fp16 quantizes nothing"),
        ([SAMPLE / "best.pt", "--data", DATA, "--max-cost", "-1"], "--max-cost is -1"),
        ([SAMPLE / "best.pt", "--data", DATA, "--calib", SAMPLE, "--labels", "nothing"], "No image of the val split"),
        ([SAMPLE / "best.pt", "--data", DATA, "--calib", SAMPLE, "--data-labels", "no"], "No image of the val split"),
        (
            [SAMPLE / "best.pt", "--data", DATA, "--calib", SAMPLE, "--count", "2", "--scheduler", "tcp://127.0.0.1:1"],
            'No Dask scheduler answers at "tcp://127.0.0.1:1"',
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, arguments: list[str | Path], message: str) -> None:
    """One message, exit code 1, no traceback, and nothing is left behind, in the folder or among temporary files."""
    done = tune(tmp_path, *arguments)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_another_search_in_the_same_file(tmp_path: Path) -> None:
    """A search that the toolkit refuses is a failed trial and no model; a file of other data is refused as such."""
    study = tmp_path / "study.db"
    refused = ("--target", "rk2118", "--imgsz", "64")  # a chip for sound: no convolution of images
    common: list[str | Path] = [
        SAMPLE / "best.pt",
        "--data",
        DATA,
        "--calib",
        SAMPLE,
        "--trials",
        "1",
        "--study",
        study,
    ]
    done = tune(tmp_path, *common, "--count", "2", *refused)
    assert done.returncode == 1
    assert "No trial gave a usable model" in done.stderr
    assert "Meet unsupported conv" in " ".join(done.stderr.split())
    assert "Trial 1 (default) failed" in done.stdout
    done = tune(tmp_path, *common, "--count", "3", *refused)
    assert done.returncode == 1
    assert "belongs to another search: it differs in labeled images." in " ".join(done.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


@pytest.mark.slow
def test_json_and_the_bundle(tmp_path: Path) -> None:
    """Piped, it prints one JSON document, says nothing else, and the bundle is there."""
    done = tune(
        tmp_path, SAMPLE / "best.pt", "--data", DATA, "--calib", SAMPLE, "--imgsz", "128", "--trials", "1",
        "--count", "4", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("warning:")] == []
    document = json.loads(done.stdout)
    assert document["recommended"] == 1
    assert document["front"] == [1]
    assert document["command"].startswith("rkdeploy build ")
    assert document["trials"][0]["settings"]["algorithm"] == "normal"
    assert {path.name for path in (tmp_path / "build").iterdir()} == {"best-rk3588-tune.db", "best-rk3588-int8"}


def evaluation() -> Evaluation:
    boxes = ObjectFigures("boxes", "IoU", 0.9, 0.8, None, None, None, None, None, ())
    points = ObjectFigures("keypoints", "OKS", 0.9, 0.9, None, None, None, None, None, ())
    return Evaluation("onnxruntime", "float", "onnxruntime on this PC", 12, (boxes, points))


def report() -> TuneReport:
    default = SPACE.default()
    settings = [default, replace(default, float16=Float16Choice(worst=2)), replace(default, seed=1)]
    trials = [FinishedTrial(n, s, result_of(s), "", 0.02 - 0.01 * (n == 2)) for n, s in enumerate(settings, 1)]
    refused = replace(default, method="layer")
    trials.append(FinishedTrial(4, refused, replace(result_of(refused), refused="too few matched"), "", 0.03))
    trials.append(FinishedTrial(5, replace(default, algorithm="mmse"), None, "it [bold]failed\x1b[31m", None))
    return TuneReport(Baseline(evaluation(), "val split"), tuple(trials), outcome_of(trials, default, 1.5))


def test_the_table() -> None:
    """The front with both figures, drop, cost and its change; the recommendation; every failure with its reason."""
    lines = printed(search_blocks(report(), 1.5, Words("en"))).splitlines()
    rows = [line.split() for line in lines if "%" in line]
    assert rows[0][:8] == ["1", "0.7800", "0.9000", "+0.0200", "4.000", "+0.0", "%", "1.500"]
    assert rows[1][:8] == ["2", "0.7900", "0.9000", "+0.0100", "4.600", "+15.0", "%", "3.500"]
    assert rows[1][-1] == "recommended"
    assert len(rows) == 2
    whole = "\n".join(lines)
    assert "Recommended: trial 2" in whole
    assert "Trial 4 (method layer) would be refused by build: too few matched" in whole
    assert r"Trial 5 (mmse) failed: it [bold]failed\x1b[31m" in whole
    assert "up to 0.0000 apart" in whole
    assert "predicted from the compile log, not measured" in whole


def test_the_table_has_the_held_out_agreement() -> None:
    """With its interval; results of older studies have none, and then there is no such column."""
    found = report()
    assert "against the float model" not in printed(search_blocks(found, 1.5, Words("en")))
    first = found.trials[0]
    assert first.result is not None
    result = replace(first.result, agreement=0.952, agreement_name="ap", agreement_interval=(0.94, 0.965))
    trials = [replace(first, result=result), *found.trials[1:]]
    newer = replace(found, trials=tuple(trials), outcome=outcome_of(trials, SPACE.default(), 1.5))
    text = printed(search_blocks(newer, 1.5, Words("en")))
    assert "held out, against the float model" in text
    assert "AP 0.952 (0.940 to 0.965)" in text


@pytest.mark.parametrize(("dtype", "searched"), [("int8", True), ("w8a16", False)])
def test_ranges_by_sensitivity_are_searched_for_int8(dtype: str, searched: bool) -> None:
    """Before the slow algorithm, and only where the emulation computes the type."""
    algorithms = algorithms_of(dtype)
    assert ("sensitivity" in algorithms) == searched
    assert (algorithms[0], algorithms[-1]) == ("normal", "mmse")


def test_the_document_is_read_again(tmp_path: Path) -> None:
    """The one reader of documents reads the output of --json to an equal value; the front is given by number."""
    document = SearchDocument.of(report(), "study.db", 1.5, "rkdeploy build best.pt")
    (tmp_path / "tune.json").write_text(document_text(document))
    assert read_document(tmp_path / "tune.json", (SearchDocument,), "") == document
    assert (document.front, document.recommended) == ((1, 2), 2)


def test_a_line_for_a_trial() -> None:
    """Figures, drop and cost; or why there are none."""
    first, *_, failed = report().trials
    assert "mAP50-95 (boxes) 0.7800" in trial_line(first)
    assert "drop +0.0200, 4.000 ms predicted" in trial_line(first)
    assert "failed" in trial_line(failed)
    assert "\x1b" not in trial_line(failed)


@pytest.mark.parametrize(("drop", "allowed"), [(-0.002, 0.01), (0.004, 0.01), (0.0101, 0.011), (0.0234, 0.024)])
def test_the_build_is_held_to_its_drop(drop: float, allowed: float) -> None:
    """The gate of the final build lets pass what the search saw, and not much more."""
    options = TuneOptions(BuildOptions(Path("best.pt"), gate=GateOptions(Path("data.yaml"))))
    candidate = replace(outcome_of(report().trials, SPACE.default(), 1.5).front[0], drop=drop)
    gate = build_options_of(options, candidate).gate
    assert gate is not None
    assert gate.max_drop == pytest.approx(allowed)


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"workers": 0}, {"max_cost": -1.0}])
def test_numbers_that_mean_nothing(wrong: dict[str, float]) -> None:
    """They are refused by name."""
    build = BuildOptions(Path("best.pt"), gate=GateOptions(Path("data.yaml")))
    with pytest.raises(RkdeployError, match="--"):
        TuneOptions(build, **wrong)  # type: ignore[arg-type]


def test_usage() -> None:
    """--data is needed; --help works."""
    assert CliRunner().invoke(app, ["tune", "best.pt"]).exit_code == 2
    assert CliRunner().invoke(app, ["tune", "--help"]).exit_code == 0

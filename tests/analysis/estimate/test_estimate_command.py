"""`rkdeploy estimate` as a user runs it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from rkdeploy.analysis.estimate.estimate_source import CompiledFor, EstimateSource
from rkdeploy.cli.main import app
from rkdeploy.contract.bundle import read_bundle
from rkdeploy.errors import RkdeployError
from rkdeploy.host.toolkit.compile_log import parse_compile_log

ROOT = Path(__file__).parents[3]
LOGS = ROOT / "tests/data/compile_log"
SAMPLE = ROOT / "calib_data/best.pt"
YOLOR = ROOT / "tests/data/yolor"


def run(*args: str) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["estimate", *args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the toolkit: YOLOv5n's recorded logs."""

    def models(source: EstimateSource, targets: tuple[str, ...], *_: object) -> list[CompiledFor]:
        names = {"rk3588": "2.5.0_yolov5n_rk3588_int8", "rk3576": "2.3.2_yolov5n_rk3576_int8"}
        texts = {
            target: gzip.decompress((LOGS / f"{names[target]}.txt.gz").read_bytes()).decode() for target in targets
        }
        return [CompiledFor(t, parse_compile_log(text), "from a log", (640, 640)) for t, text in texts.items()]

    monkeypatch.setattr("rkdeploy.analysis.estimate.estimate.compiled_models", models)


@pytest.mark.usefixtures("compiled")
def test_the_table_says_predicted(tmp_path: Path) -> None:
    """Every table is marked as predicted, has time, interval and rate of each chip, and says what it was fitted on."""
    text, _ = run("best.pt", "--target", "rk3588,rk3576,rk3588", "--layers", "2")
    assert "predicted, not measured" in text
    lines = [line.split() for line in text.splitlines()]
    table = {line[0]: line for line in lines if len(line) == 9 and line[0].startswith("rk")}
    assert set(table) == {"rk3588", "rk3576"}
    low, high = map(float, table["rk3588"][2].split("-"))
    assert low < float(table["rk3588"][1]) < high
    assert text.count("29 models' INT8 rates") == 2
    assert text.count("the 2 slowest layers, predicted") == 2


@pytest.mark.usefixtures("compiled")
def test_fp16_says_what_it_rests_on() -> None:
    """Without a fit there are no errors and no share in the interval, but one sentence for all chips, next to the
    table.
    """
    text, _ = run("best.pt", "--target", "rk3588,rk3576", "--dtype", "fp16")
    assert "predicted, not measured" in text
    assert "90%" not in text
    assert "left out of the fit" not in text
    assert text.count("none a detector") == 1
    assert "Less certain than INT8's: INT8's formula on FP16 layers" in " ".join(text.split())
    (one,) = json.loads(run("best.pt", "--target", "rk3588", "--dtype", "fp16", "--json")[0])["predictions"]
    assert (one["dtype"], one["coverage"]) == ("fp16", None)
    assert one["low_ms"] < one["time_ms"] < one["high_ms"]


@pytest.mark.usefixtures("compiled")
def test_json(tmp_path: Path) -> None:
    """The JSON has the same figures, says that they are predicted, and is the same on stdout and in a file."""
    file = tmp_path / "estimate.json"
    text, said = run("best.pt", "--target", "rk3588", "-o", str(file))
    assert "predicted, not measured" in text
    assert file.name in said
    stdout, _ = run("best.pt", "--target", "rk3588", "--json")
    assert stdout == file.read_text()
    document = json.loads(stdout)
    assert (document["figures_from"], document["input_hw"], document["schema_version"]) == ("predicted", [640, 640], 1)
    (one,) = document["predictions"]
    assert one["low_ms"] < one["time_ms"] < one["high_ms"]
    assert sum(layer["time_ms"] for layer in one["layers"]) == pytest.approx(one["time_ms"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["best.pt", "--target", "RV1106"], 'There is no latency model of "rv1106"'),
        (["best.pt", "--dtype", "w8a16"], 'There is no latency model of "w8a16"'),
        (["none.pt"], "none.pt"),
        (["none.txt"], "expected .pt, .pth, .weights or .onnx"),
        (["."], "is not a bundle"),
        ([str(YOLOR / "main_p6.pt")], "holds the weights of a network that a darknet cfg describes"),
        (["best.onnx", "--cfg", "yolor.cfg"], "needs no darknet cfg"),
        (["best.pt", "-o", "none/e.json"], "there is no folder"),
    ],
)
def test_refusals(args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed prediction is one clear message, before the toolkit is started."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RkdeployError) as caught:
        CliRunner().invoke(app, ["estimate", *args], catch_exceptions=False)
    assert said in caught.value.message


@pytest.mark.slow
def test_weights_only_with_their_cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of YOLOR's main branch, which holds weights only, is predicted with its darknet cfg."""
    monkeypatch.chdir(tmp_path)
    text, _ = run(
        str(YOLOR / "main_p6.pt"), "--cfg", str(YOLOR / "main_p6.cfg"), "--target", "rk3588", "--imgsz", "192x128",
        "--json",
    )  # fmt: skip
    document = json.loads(text)
    assert document["input_hw"] == [128, 192]
    assert document["predictions"][0]["time_ms"] > 0


@pytest.mark.slow
def test_noise_compiles_as_images_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample compiled on noise has the layers, cycles and traffic of its real build, which is then used instead."""
    monkeypatch.chdir(tmp_path)
    small = ("--imgsz", "192")
    args = (str(SAMPLE), *small, "--target", "rk3588", "--json")
    fresh = json.loads(run(*args)[0])["predictions"][0]
    assert fresh["compiled_from"].endswith("on noise")
    result = CliRunner().invoke(
        app,
        ["build", str(SAMPLE), *small, "--calib", str(ROOT / "calib_data"), "--calib-count", "8", "--proof-count", "2"],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    bundle = read_bundle(tmp_path / "build/best-rk3588-int8")
    assert bundle.record.compiled is not None
    assert bundle.record.compiled.layers[0].op == "InputOperator"
    for again in (run(*args), run(str(bundle.folder), "--json")):
        kept = json.loads(again[0])["predictions"][0]
        assert "best-rk3588-int8" in kept.pop("compiled_from")
        assert kept == {name: value for name, value in fresh.items() if name != "compiled_from"}
    other = json.loads(run(str(bundle.folder), "--target", "rk3576", "--json")[0])["predictions"][0]
    assert other["target"] == "rk3576"
    assert other["compiled_from"].endswith("on noise")
    assert msgspec.json.encode(bundle.record.compiled)

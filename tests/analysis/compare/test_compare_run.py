"""A comparison's order of work, with a stand-in for the toolkit: what is built, kept, measured, and what may fail."""

from __future__ import annotations

import functools
import gzip
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner
from typing_extensions import Self

from rkdeploy import __version__
from rkdeploy.analysis.compare import build_series as compare_series
from rkdeploy.analysis.compare import preparation
from rkdeploy.analysis.compare.compare_builds import compare
from rkdeploy.analysis.compare.compare_events import CompareEvents
from rkdeploy.analysis.compare.comparison import BuildComparison, Row
from rkdeploy.analysis.compare.variants import CompareOptions
from rkdeploy.cli.main import app
from rkdeploy.contract.accuracy import AccuracyReport, Evaluation, RankingFigures
from rkdeploy.contract.bundle import BUILD, CONTRACT, Bundle, new_bundle, read_bundle, write_json
from rkdeploy.contract.record import BuildRecord, SourceRecord, ToolkitRecord, Verification
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, NpuModel, Quantization
from rkdeploy.datasets.open_data import open_data
from rkdeploy.errors import RkdeployError, ToolkitError
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.chosen_images import choose_images
from rkdeploy.host.building.gate_options import GateOptions
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.request import request_of
from rkdeploy.host.toolkit.compile_log import parse_compile_log
from tests.analysis.compare.compare_rows import FIGURES_FROM, agreement

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "calib_data"
COMPILED = parse_compile_log(
    gzip.decompress((ROOT / "tests/data/compile_log/2.5.0_yolov5n_rk3588_int8.txt.gz").read_bytes()).decode()
)
NAMES = ("bolt", "nut", "washer")


def opened(model: Path, weights: Path | None, hw: tuple[int, int] | None, cfg: Path | None) -> Network:
    """The network of a file, opened once per content and size by all tests: nothing here changes it."""
    return opened_once(Content(model.read_bytes(), model), weights, hw, cfg)


@dataclass(frozen=True)
class Content:
    """Bytes of a file, which decide, and its place."""

    data: bytes
    path: Path = field(compare=False)


@functools.cache
def opened_once(content: Content, weights: Path | None, hw: tuple[int, int] | None, cfg: Path | None) -> Network:
    return open_network(content.path, weights, hw, cfg=cfg)


class StandIn:
    """Stands in for builds: writes bundles of the right request, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.built: list[str] = []
        self.measured: list[str] = []
        self.refused: dict[str, str] = {}
        self.shares: dict[str, float] = {}
        self.version = "2.5.0"
        stand_in = self

        class Toolkit:
            def __init__(self, **_: object) -> None:
                self.version = stand_in.version

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                pass

        monkeypatch.setattr(preparation, "Toolkit", Toolkit)
        monkeypatch.setattr(preparation, "open_network", opened)
        monkeypatch.setattr(compare_series, "build", self.build)

    def build(self, options: BuildOptions, events: BuildEvents) -> Bundle:
        for part, reason in self.refused.items():
            if part in (options.target, options.dtype):
                raise ToolkitError(reason, "Take another.")
        assert options.imgsz is not None
        self.built.append(options.folder.name)
        spec = ModelSpec(
            family="yolov5",
            task="detect",
            class_names=NAMES,
            input=InputSpec("images", *options.imgsz),
            outputs=(
                HeadOutput("stride8_map", "anchor_map", 0, 8, (1, 24, 4, 4), "sigmoid", Quantization("int8", 0.1, 0)),
            ),
            anchors=Anchors((((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),)),
            model=NpuModel("best.rknn", options.target, options.dtype),
        )
        accuracy, labeled = None, None
        if options.gate is not None:
            labeled = open_data(options.gate.data, spec, split=options.gate.split, limit=options.gate.limit)
            self.measured.append(options.folder.name)
            sides = (
                Evaluation("simulator", what, FIGURES_FROM, 3, ranking=RankingFigures(top1, 1.0))
                for what, top1 in (("float", 0.8), (options.dtype, 0.7))
            )
            accuracy = AccuracyReport(
                "best.rknn", "val split", "0.25", 0.001, 0.6, multi_label=True, validator="v", from_coco=False,
                evaluations=tuple(sides), notes=(),
            )  # fmt: skip
        with new_bundle(options.folder) as folder:
            write_json(folder / CONTRACT, spec)
            (folder / "best.rknn").write_bytes(b"RKNN")
            write_json(
                folder / BUILD,
                BuildRecord(
                    rkdeploy_version=__version__,
                    created="2026-01-01T00:00:00+00:00",
                    source=SourceRecord("best.pt", "0" * 64, None, "yolov5", "v7.0", "checkpoint", None, None, 1),
                    head=(),
                    verification=Verification(1, ("a.jpg",), 10, ()),
                    toolkit=ToolkitRecord(options.target, options.dtype, name="rknn-toolkit2", version=self.version),
                    calibration=None,
                    agreement=agreement(self.shares.get(options.target, 0.99)),
                    host={},
                    seconds={},
                    warnings=(),
                    compiled=COMPILED,
                    accuracy=accuracy,
                    request=request_of(options, choose_images(options), labeled),
                ),
            )
        return read_bundle(options.folder)


class Watcher(CompareEvents):
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def done(self, row: Row) -> None:
        self.rows.append(row)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(monkeypatch)


@pytest.fixture
def options(tmp_path: Path) -> CompareOptions:
    """The sample on its own images, which a test may change."""
    shutil.copytree(SAMPLE, tmp_path / "calib_data", ignore=shutil.ignore_patterns("*pose*", "val_00[3-9]*"))
    return CompareOptions(
        BuildOptions(tmp_path / "calib_data/best.pt", calib=tmp_path / "calib_data", proof_images=2),
        targets=("rk3588", "rk3576"),
        dtypes=("int8", "fp16"),
        sizes=((64, 64), (64, 96)),
        out=tmp_path / "out",
    )


def states(found: BuildComparison) -> list[str]:
    return [row.state for row in found.rows]


def test_every_combination_has_a_row_and_a_bundle(options: CompareOptions, stand_in: StandIn) -> None:
    """Rows in the order of targets, types and sizes; each bundle's folder says all three."""
    watcher = Watcher()
    found = compare(options, watcher)
    assert [str(row.variant) for row in found.rows] == [
        f"{t} {d} {s}" for t in ("rk3588", "rk3576") for d in ("int8", "fp16") for s in ("64x64", "96x64")
    ]
    assert {p.name for p in options.out.iterdir()} == {
        f"best-{t}-{d}-{s}" for t in ("rk3588", "rk3576") for d in ("int8", "fp16") for s in ("64x64", "96x64")
    }
    assert [str(row.variant) for row in watcher.rows][:2] == ["rk3588 int8 64x64", "rk3576 int8 64x64"]
    assert states(found) == ["built"] * 8
    by_dtype = {row.variant.dtype: row.figures for row in found.rows if row.figures is not None}
    assert by_dtype["int8"].speed is not None
    assert by_dtype["int8"].speed.coverage == 0.9
    assert by_dtype["fp16"].speed is not None
    assert by_dtype["fp16"].speed.coverage is None
    assert "none a detector" in by_dtype["fp16"].speed.notes[0]


def test_a_refusal_is_a_row(options: CompareOptions, stand_in: StandIn) -> None:
    """A type that a chip refuses, and a size that the network cannot have, leave the others alone."""
    stand_in.refused = {"fp16": "Current target_platform not support do_quantization = False!"}
    found = compare(replace(options, sizes=((64, 64), (65, 64))), Watcher())
    assert states(found) == ["built", "failed", "failed", "failed"] * 2
    reasons = [row.reason for row in found.rows]
    assert "not a multiple of the largest stride" in reasons[1]
    assert "not support" in reasons[2]
    assert found.rows[2].hint == "Take another."


def test_none_built_is_an_error(options: CompareOptions, stand_in: StandIn) -> None:
    """With one reason it is that reason; with several, what was said before."""
    stand_in.refused = {"int8": "No.", "fp16": "No."}
    with pytest.raises(RkdeployError, match=r"^No\. Take another\.$"):
        compare(options, Watcher())
    stand_in.refused = {"int8": "No.", "fp16": "Never."}
    with pytest.raises(RkdeployError, match="Not one of the 8 builds"):
        compare(options, Watcher())


def test_what_is_built_is_kept(options: CompareOptions, stand_in: StandIn) -> None:
    """The same again builds nothing; a further target builds that one only."""
    compare(options, Watcher())
    assert len(stand_in.built) == 8
    again = compare(options, Watcher())
    assert len(stand_in.built) == 8
    assert states(again) == ["kept"] * 8
    more = compare(replace(options, targets=("rk3588", "rk3566"), dtypes=("int8",)), Watcher())
    assert states(more) == ["kept", "kept", "built", "built"]


def small(options: CompareOptions) -> CompareOptions:
    return replace(options, targets=("rk3588",), dtypes=("int8",), sizes=((64, 64),))


@pytest.mark.parametrize("change", ["checkpoint", "image", "seed", "count", "proof", "toolkit", "damage", "older"])
def test_what_changed_is_built_again(change: str, options: CompareOptions, stand_in: StandIn) -> None:
    """Another checkpoint of that name, other images, options or toolkit, a damaged or older bundle: built again."""
    options = small(options)
    compare(options, Watcher())
    bundle = options.out / "best-rk3588-int8-64x64"
    if change == "checkpoint":
        shutil.copy(ROOT / "tests/data/yolov5/v7_n.pt", options.build.model)
    elif change == "image":
        for image in (options.build.model.parent / "images").rglob("*.jpg"):
            image.write_bytes(image.read_bytes() + b"\0")
    elif change == "seed":
        options = replace(options, build=replace(options.build, seed=1))
    elif change == "count":
        options = replace(options, build=replace(options.build, calib_count=19))
    elif change == "proof":
        options = replace(options, build=replace(options.build, proof_images=3))
    elif change == "toolkit":
        stand_in.version = "2.5.1"
    elif change == "damage":
        (bundle / "best.rknn").write_bytes(b"other")
    else:
        record_file = bundle / BUILD
        text = json.loads(record_file.read_bytes())
        del text["request"]
        with new_bundle(bundle) as folder:
            shutil.copytree(bundle, folder, dirs_exist_ok=True)
            (folder / BUILD).write_text(json.dumps(text))
    assert states(compare(options, Watcher())) == ["built"]
    assert len(stand_in.built) == 2


def test_where_it_goes_and_what_is_good_enough_build_nothing(options: CompareOptions, stand_in: StandIn) -> None:
    """Another --min-agreement judges the same bundles."""
    options = small(options)
    compare(options, Watcher())
    assert states(compare(replace(options, min_agreement=0.999), Watcher())) == ["kept"]


def test_accuracy_is_measured_once_where_chips_simulate_alike(options: CompareOptions, stand_in: StandIn) -> None:
    """The first of a type and size is measured; another chip that agrees to the last digit shares it, and says so."""
    data = options.build.model.parent / "data.yaml"
    options = replace(options, sizes=((64, 64),), build=replace(options.build, gate=GateOptions(data, limit=3)))
    found = compare(options, Watcher())
    assert stand_in.measured == ["best-rk3588-int8-64x64", "best-rk3588-fp16-64x64"]
    on = [row.figures.accuracy.on for row in found.rows if row.figures is not None and row.figures.accuracy is not None]
    assert [str(v) if v else None for v in on] == [None, None, "rk3588 int8 64x64", "rk3588 fp16 64x64"]
    assert states(compare(options, Watcher())) == ["kept"] * 4
    for label in (options.build.model.parent / "labels/val").glob("*.txt"):
        label.write_text("0 0.5 0.5 0.25 0.25\n")
    assert states(compare(options, Watcher())) == ["built", "built", "kept", "kept"]


def test_a_chip_that_simulates_otherwise_is_measured(options: CompareOptions, stand_in: StandIn) -> None:
    """If the agreement differs at all, accuracy is the build's own; and that build is kept the next time."""
    data = options.build.model.parent / "data.yaml"
    stand_in.shares = {"rk3576": 0.98}
    options = replace(
        options, sizes=((64, 64),), dtypes=("int8",), build=replace(options.build, gate=GateOptions(data, limit=3))
    )
    found = compare(options, Watcher())
    assert stand_in.measured == ["best-rk3588-int8-64x64", "best-rk3576-int8-64x64"]
    figures = found.rows[1].figures
    assert figures is not None
    assert figures.accuracy is not None
    assert figures.accuracy.on is None
    before = len(stand_in.built)
    assert states(compare(options, Watcher())) == ["kept", "kept"]
    assert len(stand_in.built) == before


def test_the_training_size_is_the_default(options: CompareOptions, stand_in: StandIn) -> None:
    """Without --imgsz there is one size, the checkpoint's."""
    found = compare(replace(options, sizes=(), targets=("rk3588",), dtypes=("int8",)), Watcher())
    assert [row.variant.input_hw for row in found.rows] == [(384, 384)]


def test_json_on_stdout_is_json_alone(options: CompareOptions, stand_in: StandIn, tmp_path: Path) -> None:
    """`--json` prints one document, which says of each figure whether it is predicted or from the simulator."""
    args = [
        "compare", str(options.build.model), "--calib", str(options.build.calib), "--out", str(options.out),
        "--proof-count", "2", "--target", "rk3588", "--imgsz", "64,96x64",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [*args, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["figures_from"] == {
        "speed": "predicted", "weight_kib": "predicted", "internal_kib": "predicted", "agreement": "simulator",
        "accuracy": "simulator",
    }  # fmt: skip
    assert [row["variant"]["input_hw"] for row in document["rows"]] == [[64, 64], [64, 96]]
    assert document["rows"][0]["figures"]["agreement_share"] == 0.99
    file = tmp_path / "c.json"
    result = CliRunner().invoke(app, [*args, "-o", str(file), "--format", "md"], catch_exceptions=False)
    assert "\n|  | target | type |" in result.stdout
    assert [row["state"] for row in json.loads(file.read_text())["rows"]] == ["kept", "kept"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["none.pt"], 'Cannot read "none.pt"'),
        (["best.engine"], "expected .pt, .pth, .weights or .onnx"),
        ([str(SAMPLE / "best.pt")], "No calibration images"),
        ([str(SAMPLE / "best.pt"), "--target", "rk3588,../x"], '--target is "../x"'),
        (
            [str(SAMPLE / "best.pt"), "--imgsz", "400,500", "--calib", str(SAMPLE)],
            "not a multiple of the largest stride",
        ),
        ([str(SAMPLE / "best.pt"), "--calib", str(SAMPLE), "--data", "none.yaml"], '"none.yaml" does not exist'),
        ([str(SAMPLE / "best.pt"), "-o", "none/c.json"], "there is no folder"),
        ([str(SAMPLE / "best.pt"), "--proof-count", "0"], "must be 1 or more"),
    ],
)
def test_known_failures(args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault common to all builds is one message, before the first of them, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RkdeployError) as caught:
        CliRunner().invoke(app, ["compare", *args], catch_exceptions=False)
    assert said in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "args",
    [["--imgsz", "big"], ["--imgsz", "384,"], ["--target", ","], ["--data-count", "3"], ["--min-agreement", "90"]],
)
def test_wrong_usage(args: list[str]) -> None:
    """Words that mean nothing are usage, code 2."""
    assert CliRunner().invoke(app, ["compare", str(SAMPLE / "best.pt"), *args]).exit_code == 2

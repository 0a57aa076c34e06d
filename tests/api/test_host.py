"""The commands as functions: what they take, what they give, and that they do what the command does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

import rkdeploy
from rkdeploy.accuracy.evaluation import EvaluationOptions
from rkdeploy.analysis.estimate.estimate_source import EstimateSource
from rkdeploy.api.keywords import keywords_of, options_from
from rkdeploy.api.option_types import BuildKeywords, EvaluateKeywords, ProfileKeywords
from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.documents import document_text
from rkdeploy.device.profiling.measure import ProfileOptions
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from tests.command_line import rkdeploy as command

CALIB = Path(__file__).parents[2] / "calib_data"


@pytest.mark.parametrize(
    ("typed", "kind", "left_out"),
    [
        (BuildKeywords, BuildOptions, set()),
        (EvaluateKeywords, EvaluationOptions, {"data"}),
        (ProfileKeywords, ProfileOptions, {"sysroot"}),
    ],
)
def test_keywords_are_the_options(typed: type, kind: type, left_out: set[str]) -> None:
    """Every option of the command has its keyword with a type that fits, and no other."""
    known = keywords_of(kind)
    assert set(get_type_hints(typed)) == set(known) - left_out
    for name, hint in get_type_hints(typed).items():
        leaf = known[name]
        assert leaf.optional == (type(None) in get_args(hint)), name
        if get_origin(leaf.type) is None and leaf.type is not Path:
            assert leaf.type in (hint, *get_args(hint)), name
        literal = next((one for one in (hint, *get_args(hint)) if get_origin(one) is Literal), None)
        if literal is not None:
            assert set(get_args(literal)) == set(get_args(leaf.type)), name


def test_values_become_fields() -> None:
    """As on the command line: texts where the option has a form, paths, sizes, groups only where one is given."""
    options = options_from(
        BuildOptions,
        {"imgsz": "640x384", "calib": "images", "data": "x.yaml", "float16_layers": ["model.0", "head"], "nms": None},
        model=Path("a.pt"),
    )
    assert (options.imgsz, options.calib, options.nms) == ((384, 640), Path("images"), None)
    assert options.gate is not None
    assert (options.gate.data, options.gate.max_drop) == (Path("x.yaml"), 0.01)
    assert options.float16 is not None
    assert options.float16.layers == ("model.0", "head")
    plain = options_from(BuildOptions, {"imgsz": 320}, model=Path("a.pt"))
    assert (plain.imgsz, plain.gate, plain.float16) == ((320, 320), None, None)
    assert plain == BuildOptions(Path("a.pt"), imgsz=(320, 320))


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"imgsz": "640x"}, RkdeployError, "not a size"),
        ({"algorithm": "best"}, RkdeployError, "expected one of normal, mmse"),
        ({"optimization_level": 9}, RkdeployError, "expected a number from 0 to 3"),
        ({"max_drop": 0.1}, RkdeployError, "max_drop needs data"),
        ({"target": "rk9999"}, RkdeployError, "rk9999"),
        ({"callib": "x"}, TypeError, "did you mean calib"),
    ],
)
def test_values_that_are_refused(keywords: dict[str, object], error: type[Exception], words: str) -> None:
    """With the keyword's name, as the command names the option."""
    with pytest.raises(error, match=words):
        options_from(BuildOptions, keywords, model=Path("a.pt"))


class Seen(rkdeploy.BuildEvents):
    """Keeps the stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, title: str) -> None:
        """A stage begins."""
        self.stages.append(title)


def test_build_and_load(tmp_path: Path) -> None:
    """A bundle that is loaded as it comes back; its stages were reported; a failed build leaves nothing."""
    seen = Seen()
    bundle = rkdeploy.build(
        CALIB / "best.pt", calib=CALIB, target="RK3588", out=tmp_path, calib_count=4, proof_count=8, events=seen
    )
    assert bundle.folder == tmp_path / "best-rk3588-int8"
    assert any("best.pt" in title for title in seen.stages)
    assert len(seen.stages) > 4
    with rkdeploy.load(bundle, backend="onnxruntime") as model:
        assert len(model(CALIB / "images" / "val" / "val_0000.jpg")) == 11
    with pytest.raises(RkdeployError, match=r"none\.pt"):
        rkdeploy.build(tmp_path / "none.pt", calib=CALIB, out=tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-rk3588-int8"]


def test_inspect_is_the_commands_json() -> None:
    """The same document."""
    printed = command("inspect", CALIB / "best.pt", "--json")
    assert json.loads(printed.stdout) == json.loads(document_text(rkdeploy.inspect(CALIB / "best.pt")))


def test_estimate(sample_bundle: Bundle) -> None:
    """Of a bundle without compiling again; by folder or by object, the same figures as the command."""
    steps: list[str] = []
    found = rkdeploy.estimate(sample_bundle, progress=steps.append)
    assert found == rkdeploy.estimate(sample_bundle.folder)
    (prediction,) = found.predictions
    assert prediction.target == "rk3588"
    assert prediction.low_ms < prediction.time_ms < prediction.high_ms
    printed = json.loads(command("estimate", sample_bundle.folder, "--json").stdout)
    assert printed["predictions"][0]["time_ms"] == pytest.approx(prediction.time_ms)
    with pytest.raises(RkdeployError, match="rk1808"):
        rkdeploy.estimate(sample_bundle, target="rk1808")
    assert keywords_of(EstimateSource).keys() >= {"imgsz", "weights"}


def test_evaluate(sample_bundle: Bundle, tmp_path: Path) -> None:
    """Float only, on a few images; progress is reported; without data, one message."""
    told: list[tuple[str, int, int]] = []
    found = rkdeploy.evaluate(
        sample_bundle,
        CALIB / "data.yaml",
        backend=["onnxruntime"],
        data_count=4,
        state=tmp_path,
        progress=lambda *step: told.append(step),
    )
    (one,) = found.evaluations
    assert one.backend == "onnxruntime"
    assert told[-1] == ("onnxruntime", 4, 4)
    with pytest.raises(RkdeployError, match="no data to evaluate on"):
        rkdeploy.evaluate(sample_bundle)


def test_profile(sample_bundle: Bundle) -> None:
    """Measured on this PC, and it says so."""
    found = rkdeploy.profile(sample_bundle, CALIB / "images" / "val", backend="opencv_dnn", frames=3, warmup=1)
    assert found.backend == "opencv_dnn"
    assert "PC" in found.figures_from


def test_report(sample_bundle: Bundle, tmp_path: Path) -> None:
    """HTML into a file, Markdown and JSON as text, Chinese too; a folder that is not there leaves nothing."""
    page = rkdeploy.report(sample_bundle, output=tmp_path / "r.html")
    assert page.startswith("<!")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page
    assert "| " in rkdeploy.report(sample_bundle.folder, form="md")
    assert json.loads(rkdeploy.report(sample_bundle, form="json"))["document"] == "rkdeploy report"
    assert "精度" in rkdeploy.report(sample_bundle, form="md", lang="zh")
    for wrong in ({"form": "pdf"}, {"lang": "fr"}, {"output": tmp_path / "no" / "r.html"}):
        with pytest.raises(RkdeployError):
            rkdeploy.report(sample_bundle, **wrong)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html"]

"""From paths to one report: what belongs together, where figures come from, and the answers of the summary."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from rkdeploy.analysis.estimate.latency import predict
from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.report.document_models import model_sha256_of
from rkdeploy.analysis.report.gather import gather
from rkdeploy.analysis.report.json_text import json_text
from rkdeploy.analysis.report.model_report import ModelReport, Verdict
from rkdeploy.contract.accuracy import Evaluation, RankingFigures
from rkdeploy.contract.bundle import BUILD, SUMS, Bundle
from rkdeploy.contract.record import BuildRecord, FieldError, Verification
from rkdeploy.errors import BundleError, RkdeployError
from rkdeploy.host.toolkit.error_analysis import LayerError
from tests.analysis.report.report_samples import (
    UNKNOWN,
    accuracy,
    agreement,
    compiled,
    make_bundle,
    objects,
    profile,
    record,
    spec,
    write,
)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "best-rk3588-int8")


def only(*paths: Path) -> ModelReport:
    (model,) = gather(paths).models
    return model


def answer(model: ModelReport, question: str) -> Verdict:
    return next(one for one in model.summary if one.question == question)


def explanation(path: Path, name: str = "best-rk3588-int8") -> Path:
    layers = [LayerError("Conv", "a", 0.99, 1.0, 0.98, 1.0)]
    cause = {"kind": "layer", "layer": "a", "text": "It falls.", "try_this": "Float.", "weight": 0.1}
    document = {
        "bundle": name, "figures_from": "simulator (rknn-toolkit2 2.5.0)", "images": ["x.jpg"], "ranges": [],
        "layers": msgspec.to_builtins(layers), "outputs": [], "causes": [cause], "schema_version": 1,
        "document": "rkdeploy explain",
    }  # fmt: skip
    path.write_text(json.dumps(document))
    return path


def test_a_bundle_alone_is_predicted(bundle: Bundle) -> None:
    """Without a board the time is the latency model's, figures and all, and nothing claims to be measured."""
    model = only(bundle.folder)
    expected = predict(compiled(), "rk3588", "int8")
    assert model.predicted is not None
    assert model.predicted.time_ms == expected.time_ms
    assert origin_of(model.predicted).kind == "predicted"
    (table,) = model.layers
    assert [row.time_ms for row in table.rows] == [layer.time_ms for layer in expected.layers]
    assert sum(row.share or 0 for row in table.rows) == pytest.approx(1)
    assert answer(model, "fast").code == "fast.predicted"
    assert model.profiles == ()
    assert "measured" not in {one.origin.kind for one in model.summary if one.origin}


def test_the_summary_of_a_good_build(bundle: Bundle) -> None:
    """Proven, agreeing, accurate, sized: each answer with its figure and where it comes from."""
    model = only(bundle.folder)
    right, accurate, _, big = model.summary
    assert (right.status, right.figure, right.origin and right.origin.kind) == ("good", "0.980", "simulator")
    assert (accurate.status, accurate.figure) == ("attention", "0.600")  # 0.62 for the float model: 0.02 lost
    assert accurate.values["change"] == pytest.approx(-0.02)
    assert big.figure == f"{(compiled().weight_kib + compiled().internal_kib) / 1024:.1f} MiB"


@pytest.mark.parametrize(
    ("built", "status"), [(0.62, "good"), (0.611, "good"), (0.605, "attention"), (0.58, "bad"), (0.63, "good")]
)
def test_how_much_loss_is_called_what(tmp_path: Path, built: float, status: str) -> None:
    """Up to 0.01 is good, up to 0.03 deserves attention, more is bad; a gain is good."""
    whole = record(accuracy=accuracy(built))
    assert answer(only(make_bundle(tmp_path / "b", built=whole).folder), "accurate").status == status


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"agreement": agreement(94)}, "attention", "right.ap50"),
        ({"agreement": replace(agreement(94), average_precisions=())}, "attention", "right.matched"),
        ({"agreement": None}, "unproven", "right.no_images"),
        (
            {"agreement": replace(agreement(), average_precisions=(), float_detections=0)},
            "unproven",
            "right.no_objects",
        ),
        ({"verification": Verification(1, ("a",), 0, (), decode_proven=False)}, "unproven", "right.no_decode"),
        ({"verification": Verification(1, ("a",), 9, (FieldError("xy", "px", 1.0, 0.001),))}, "bad", "right.wrong"),
        (
            {"agreement": replace(agreement(), average_precisions=(), same_first_class=0.97)},
            "good",
            "right.first_class",
        ),
    ],
)
def test_right_or_not(tmp_path: Path, changed: dict[str, object], status: str, code: str) -> None:
    """A low agreement, none at all, a decode that differs, a classifier."""
    whole = replace(record(), **changed)  # type: ignore[arg-type]
    verdict = answer(only(make_bundle(tmp_path / "b", built=whole).folder), "right")
    assert (verdict.status, verdict.code) == (status, code)


def test_a_chip_that_nobody_predicts(tmp_path: Path) -> None:
    """Without a latency model no time is invented, the reason is given, and the compiler's cycles are there."""
    model = only(make_bundle(tmp_path / "b", "fp16", target=UNKNOWN).folder)
    assert model.predicted is None
    assert answer(model, "fast").code == "fast.unknown"
    assert UNKNOWN in str(answer(model, "fast").values["reason"])
    (table,) = model.layers
    assert table.total_ms is None
    assert table.roofline is None
    assert all(row.time_ms is None for row in table.rows)
    assert sum(row.cycles or 0 for row in table.rows) == sum(layer.total_cycles for layer in compiled(
        "2.5.0_yolov5n_rk3588_fp16").layers)  # fmt: skip


def test_a_boards_profile_comes_first(bundle: Bundle, tmp_path: Path) -> None:
    """Matched by the model's hash, whatever its name; its times are measured on the board that it names."""
    file = write(tmp_path / "p.json", profile("other-name", model_sha256_of(bundle)))
    model = only(file, bundle.folder)
    assert model.name == "best-rk3588-int8"
    fast = answer(model, "fast")
    assert (fast.code, fast.figure) == ("fast.measured", "125.0 fps")
    assert fast.origin is not None
    assert (fast.origin.kind, fast.origin.by.startswith("Radxa ROCK 5B, librknnrt 2.3.2")) == ("measured", True)
    assert answer(model, "big").figure == "5.0 MiB"
    measured, predicted = model.layers
    assert (measured.origin.kind, measured.slowed) == ("measured", True)
    assert predicted.origin.kind == "predicted"


@pytest.mark.parametrize(
    ("backend", "kind"), [("librknnrt", "stand_in"), ("onnxruntime", "host"), ("simulator", "simulator")]
)
def test_what_is_no_board_is_never_called_one(bundle: Bundle, tmp_path: Path, backend: str, kind: str) -> None:
    """A profile that is not an NPU's never stands for the speed while there is a prediction, and says what it is."""
    one = replace(profile(sha256=model_sha256_of(bundle)), on_npu=False, backend=backend)
    file = write(tmp_path / "p.json", one)
    model = only(bundle.folder, file)
    assert origin_of(model.profiles[0]).kind == kind
    assert answer(model, "fast").code == "fast.predicted"
    assert {table.origin.kind for table in model.layers} == {"predicted", kind}
    alone = only(file)
    assert (answer(alone, "fast").code, answer(alone, "fast").status) == ("fast.no_board", "attention")
    for found in (model, alone):
        assert "measured" not in json_text(replace(gather([file]), models=(found,))).replace("measured_", "")


def test_layers_that_were_measured_know_their_work(bundle: Bundle, tmp_path: Path) -> None:
    """A measured layer takes multiply-accumulates and weights from the compiled layer of its name."""
    whole = profile(sha256=model_sha256_of(bundle))
    assert whole.layers is not None
    named = next(layer.name for layer in compiled().layers if "Conv" in layer.op)
    layers = (replace(whole.layers.layers[1], name=named), replace(whole.layers.layers[2], name="of no plan"))
    file = write(tmp_path / "p.json", replace(whole, layers=replace(whole.layers, layers=layers)))
    rows = only(bundle.folder, file).layers[0].rows
    assert (rows[0].macs or 0) > 0
    assert (rows[1].macs, rows[1].weight_bytes) == (None, None)
    assert only(file).layers[0].rows[0].macs is None, "without the bundle nobody knows"


def test_evaluations_and_explanations_join_their_model(bundle: Bundle, tmp_path: Path) -> None:
    """An evaluation by hash, or by name and type where it has none; an explanation by its folder's name."""
    fp16 = make_bundle(tmp_path / "best-rk3588-fp16", "fp16")
    hashed = write(tmp_path / "e1.json", accuracy(0.61, model_sha256=model_sha256_of(bundle)))
    named = write(tmp_path / "e2.json", accuracy(0.619, "fp16"))
    models = gather([bundle.folder, fp16.folder, hashed, named, explanation(tmp_path / "x.json")]).models
    assert [len(model.accuracy) for model in models] == [2, 2]
    assert [answer(model, "accurate").figure for model in models] == ["0.610", "0.619"]
    assert models[0].explanation is not None
    assert models[0].explanation.causes[0].try_this == "Float."
    assert models[1].explanation is None


def test_a_boards_accuracy_is_marked(bundle: Bundle, tmp_path: Path) -> None:
    """The NPU's mAP is measured, the same backend without an NPU is not, and the board's stands in the summary."""
    board = Evaluation("librknnrt", "int8", "librknnrt 2.3.2", 50, (objects(0.615),), on_npu=True)
    shim = replace(board, on_npu=False)
    for evaluation, kind in ((board, "measured"), (shim, "stand_in")):
        report = accuracy(evaluations=(evaluation,), model_sha256=model_sha256_of(bundle))
        model = only(bundle.folder, write(tmp_path / "e.json", report))
        assert origin_of(model.accuracy[1].evaluations[0]).kind == kind
        origin = answer(model, "accurate").origin
        assert origin is not None
        assert origin.kind == kind


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: write(p / "f.json", profile("x", "f" * 64)), 'the model "x" with SHA-256 ffffffffffff'),
        (lambda p: write(p / "f.json", profile("x", None)), 'was measured on the model "x"'),
        (lambda p: write(p / "f.json", accuracy(model_sha256="e" * 64)), "SHA-256 eeeeeeeeeeee"),
        (lambda p: write(p / "f.json", accuracy(model="other.rknn")), '"other.rknn" in int8'),
        (lambda p: write(p / "f.json", accuracy(dtype="fp16")), '"best.rknn" in fp16'),
        (lambda p: explanation(p / "f.json", "elsewhere"), 'explains the model "elsewhere"'),
    ],
)  # fmt: skip
def test_another_models_file_is_refused(
    bundle: Bundle, tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    """A file of another model is an error that names the file, its model and the one that was expected."""
    with pytest.raises(RkdeployError, match=said) as failure:
        gather([bundle.folder, make(tmp_path)])
    assert "f.json" in failure.value.message
    assert "best-rk3588-int8" in failure.value.message


def test_a_build_that_was_made_again(bundle: Bundle, tmp_path: Path) -> None:
    """For a profile of the same name and another hash the hint is to measure again."""
    with pytest.raises(RkdeployError) as failure:
        gather([bundle.folder, write(tmp_path / "f.json", profile(bundle.folder.name, "f" * 64))])
    assert "built again since then: measure it again" in failure.value.hint


def test_an_evaluation_that_could_be_of_two(bundle: Bundle, tmp_path: Path) -> None:
    """Two builds of one name and type, and an evaluation that tells neither: an error that says how to tell."""
    other = make_bundle(tmp_path / "b" / "best-rk3588-int8", model=b"another")
    with pytest.raises(RkdeployError, match="which 2 of the bundles have") as failure:
        gather([bundle.folder, other.folder, write(tmp_path / "e.json", accuracy())])
    assert "SHA-256" in failure.value.hint


def test_files_without_a_model(tmp_path: Path) -> None:
    """An explanation or an evaluation alone has no model to speak of; a report of nothing is refused."""
    for file in (explanation(tmp_path / "x.json"), write(tmp_path / "e.json", accuracy())):
        with pytest.raises(RkdeployError, match="its bundle next to it"):
            gather([file])
    with pytest.raises(RkdeployError, match="no model"):
        gather([])


def test_two_profiles_of_one_model(tmp_path: Path) -> None:
    """Profiles of the same model on two boards are two runs of one model; of another model a second one."""
    paths = [
        write(tmp_path / "a.json", profile("best", "a" * 64)),
        write(tmp_path / "b.json", profile("best", "a" * 64, created="2026-02-01T00:00:00+00:00")),
        write(tmp_path / "c.json", profile("best", "c" * 64)),
    ]
    assert [len(model.profiles) for model in gather(paths).models] == [2, 1]


def test_a_classifier(tmp_path: Path) -> None:
    """Without boxes the headline is top-1."""
    sides = (
        Evaluation("onnxruntime", "float", "onnxruntime on this PC", 80, ranking=RankingFigures(0.8, 0.95)),
        Evaluation("simulator", "int8", "simulator (x)", 80, ranking=RankingFigures(0.79, 0.94)),
    )
    verdict = answer(only(make_bundle(tmp_path / "b", built=record(accuracy=accuracy(evaluations=sides))).folder),
                     "accurate")  # fmt: skip
    assert (verdict.values["name"], verdict.figure, verdict.status) == ("top-1", "0.790", "good")


def test_a_bundle_of_before(tmp_path: Path) -> None:
    """No examples, no plan, no accuracy: what is not there is None, and the report still stands."""
    old = record(compiled=None, accuracy=None, agreement=None)
    model = only(make_bundle(tmp_path / "b", built=old, examples=False).folder)
    assert (model.examples, model.memory, model.layers, model.accuracy) == (None, None, (), ())
    assert [one.status for one in model.summary] == ["unproven", "unknown", "unknown", "plain"]


def test_a_bundle_without_its_record(bundle: Bundle) -> None:
    """As it lies on a board, without build.json: its contract is all that is known."""
    (bundle.folder / BUILD).unlink()
    sums = bundle.folder / SUMS
    sums.write_text("".join(line for line in sums.read_text().splitlines(keepends=True) if BUILD not in line))
    model = only(bundle.folder)
    assert (model.build, model.verification) == (None, None)
    assert model.contract is not None


def _plan(change: Callable[[BuildRecord], BuildRecord]) -> Callable[[Path], Path]:
    return lambda p: make_bundle(p / "b", built=change(record()), examples=False).folder


def _layers(**changed: object) -> Callable[[BuildRecord], BuildRecord]:
    def change(whole: BuildRecord) -> BuildRecord:
        assert whole.compiled is not None
        first, *rest = whole.compiled.layers
        return replace(whole, compiled=replace(whole.compiled, layers=(replace(first, **changed), *rest)))  # type: ignore[arg-type]

    return change


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p / "none", "neither a bundle's folder nor a file"),
        (lambda p: _text(p, "nonsense"), "not JSON with named fields"),
        (lambda p: _text(p, "[1, 2]"), "not JSON with named fields"),
        (lambda p: _text(p, "{}"), 'has no field "document", expected one that says "rkdeploy profile" or'),
        (lambda p: _text(p, '{"document": "\\u001b[2J"}'), r'is a document "\\x1b\[2J", expected'),
        (lambda p: _text(p, '{"class_names": [], "outputs": []}'), "Give a bundle's folder"),
        (lambda p: _text(p, '{"document": "rkdeploy estimate"}'), 'is a document "rkdeploy estimate"'),
        (lambda p: write(p / "f.json", replace(profile(), schema_version=9)), "schema version 9, expected 1"),
        (lambda p: _text(p, '{"document": "rkdeploy report", "schema_version": 2}'), "schema version 2, expected 1"),
        (lambda p: _text(p, '{"document": "rkdeploy report", "schema_version": 1}'),
         'not a whole document "rkdeploy report"'),
        (lambda p: _text(p, '{"document": "rkdeploy profile", "stages": 1, "schema_version": 1}'),
         'not a whole document "rkdeploy profile"'),
        (lambda p: write(p / "f.json", replace(profile(), input_width=10**30)), r"at `\$\.input_width`"),
        (lambda p: write(p / "f.json", replace(profile(), bundle="x" * 200_000)), r"<= 100000 - at `\$\.bundle`"),
        (_plan(_layers(read_kib=-1.0)), r"at `\$\.compiled\.layers\[0\]\.read_kib`"),
        (_plan(_layers(output_shape=(-1, 10**9))), r"at `\$\.compiled\.layers\[0\]\.output_shape"),
        (_plan(lambda r: replace(r, warnings=("x" * 200_000,))), r"length <= 100000 - at `\$\.warnings"),
    ],
)  # fmt: skip
def test_what_no_report_is_made_of(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    """Missing, damaged, of another version, impossible: one message that says which file and why."""
    with pytest.raises(RkdeployError, match=said) as failure:
        gather([make(tmp_path)])
    assert failure.value.message.isprintable()


def _text(folder: Path, text: str) -> Path:
    (folder / "f.json").write_text(text)
    return folder / "f.json"


def test_damaged_examples_fail_the_report(bundle: Bundle) -> None:
    """A modified picture is detected by its hash."""
    (bundle.folder / "examples/1.jpg").write_bytes(b"x")
    with pytest.raises(BundleError, match="changed after the build"):
        gather([bundle.folder])


def test_a_report_of_a_report(bundle: Bundle, tmp_path: Path) -> None:
    """The JSON form read again is the same report; its summary is made anew, whatever its file says."""
    first = gather([bundle.folder])
    file = tmp_path / "r.json"
    file.write_text(json_text(first))
    again = gather([file])
    assert again.models[0].summary == first.models[0].summary
    assert again.models[0].layers == first.models[0].layers
    document = json.loads(json_text(first))
    document["models"][0]["summary"][0].update(code="right.nonsense", values={}, figure="<b>")
    file.write_text(json.dumps(document))
    assert gather([file]).models[0].summary == first.models[0].summary


def test_anchors_beside_the_published_ones(bundle: Bundle) -> None:
    """Only the first anchor is another: 14 high instead of 13."""
    anchors = only(bundle.folder).anchors
    assert anchors is not None
    assert not anchors.are_defaults
    assert anchors.largest_ratio == pytest.approx(14 / 13)
    assert [level.stride for level in anchors.levels] == [8, 16, 32]
    assert anchors.levels[0].published_px[0] == (10.0, 13.0)
    assert spec().anchors is not None

"""Two reports side by side: what is judged, what is not, and the limits of a continuous integration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.analysis.page.content import Note, Table
from rkdeploy.analysis.report.diff.changes import compare, compare_paths
from rkdeploy.analysis.report.diff.compose_diff import compose_diff
from rkdeploy.analysis.report.diff.diff_document import Change, ReportDiff
from rkdeploy.analysis.report.diff.limits import FailLimit, parse_limits, require_limits
from rkdeploy.analysis.report.diff.noise import mean_share_noise, median_noise, rate_noise, share_noise
from rkdeploy.analysis.report.document_models import model_sha256_of
from rkdeploy.analysis.report.gather import gather
from rkdeploy.analysis.report.json_text import json_text
from rkdeploy.contract.accuracy import Evaluation
from rkdeploy.contract.record import BuildRecord
from rkdeploy.contract.spec import NpuModel
from rkdeploy.device.profiling.profile_document import Profile
from rkdeploy.device.stream.statistics import Latency
from rkdeploy.errors import RkdeployError
from tests.analysis.report.report_samples import (
    UNKNOWN,
    accuracy,
    agreement,
    make_bundle,
    objects,
    profile,
    record,
    spec,
    write,
)

INT8, FP16 = "best-rk3588-int8", "best-rk3588-fp16"


def builds(folder: Path, change: Callable[[BuildRecord], BuildRecord]) -> ReportDiff:
    """A build and the same one changed."""
    before = make_bundle(folder / "a" / INT8, examples=False)
    after = make_bundle(folder / "b" / INT8, built=change(record()), examples=False)
    return compare_paths(before.folder, after.folder)


def runs(folder: Path, before: Profile, after: Profile) -> ReportDiff:
    return compare_paths(write(folder / "a.json", before), write(folder / "b.json", after))


def change(comparison: ReportDiff, key: str) -> Change:
    return next(one for one in comparison.changes if one.key == key)


def slower(factor: float, *, spread: float = 0.0) -> Profile:
    """A profile whose stages all take so many times as long; `spread` is p90 - p50 in ms."""
    whole = profile()
    stages = whole.stages

    def times(one: Latency) -> Latency:
        p50 = one.p50_ms * factor
        return Latency(one.count, p50, p50 + spread, p50 + 2 * spread)

    assert stages.npu is not None
    return replace(
        whole,
        stages=replace(
            stages, preprocess=times(stages.preprocess), infer=times(stages.infer), decode=times(stages.decode),
            total=times(stages.total), npu=times(stages.npu),
        ),
        throughput=tuple(
            replace(t, frames_per_second=t.frames_per_second / factor, infer=times(t.infer)) for t in whole.throughput
        ),
    )  # fmt: skip


def test_a_build_with_itself_is_empty(tmp_path: Path) -> None:
    """Nothing changed, nothing differs, one sentence is said, and any limit holds."""
    folder = make_bundle(tmp_path / INT8).folder
    found = compare_paths(folder, folder)
    assert found.is_empty
    (section,) = compose_diff(found, "en").sections
    (note,) = section.blocks
    assert isinstance(note, Note)
    assert note.text == "No difference."
    require_limits(found, parse_limits("latency=0,fps=0%,memory=0,map=0,agreement=0%"))


def test_the_same_build_made_again_is_empty(tmp_path: Path) -> None:
    """Time and duration of the build are ignored."""
    assert builds(tmp_path, lambda r: replace(r, created="2027-01-01T00:00:00+00:00", seconds={"read": 9.0})).is_empty


def test_int8_with_fp16(tmp_path: Path) -> None:
    """Memory, cycles and traffic about double, each with both figures; a time that one side lacks is not judged."""
    folders = [
        make_bundle(tmp_path / name, name[-4:], target=target, examples=False).folder
        for name, target in ((INT8, "rk3588"), (FP16, UNKNOWN))
    ]
    found = compare_paths(*folders)
    for key in ("memory.weights", "memory.internal", "memory.total", "time.cycles", "time.traffic_bytes"):
        one = change(found, key)
        assert one.judgment == "worse", key
        assert 1.4 < (one.after or 0) / (one.before or 1) < 2.2, key
    time = change(found, "time.unlike")
    assert (time.judgment, time.after) == ("not_comparable", None)
    assert (time.before or 0) > 0
    assert UNKNOWN in found.after_no_time
    assert found.before_no_time == ""
    assert change(found, "accuracy.map50_95").judgment == "same"
    assert {one.key for one in found.differences} == {"target", "dtype", "rknn"}
    assert len(found.layers) > 50
    texts = [cell.text for section in compose_diff(found, "en").sections for block in section.blocks
             if isinstance(block, Table) for row in block.rows for cell in row]  # fmt: skip
    for part in ("weight memory", "internal tensor memory", "total memory", "compiler's cycles, sum", "worse"):
        assert part in texts, part


@pytest.mark.parametrize(
    ("factor", "judgment"), [(1.0, "same"), (1.005, "within_noise"), (1.05, "worse"), (0.9, "better")]
)
def test_measured_times(tmp_path: Path, factor: float, judgment: str) -> None:
    """Frames of no spread: 1 % is noise, more is not, for times and for rates."""
    found = runs(tmp_path, profile(), slower(factor))
    for key in ("time.network", "time.frame", "time.rate"):
        assert change(found, key).judgment == judgment, key


def test_measured_times_that_scatter(tmp_path: Path) -> None:
    """Ten percent more is not reported if frames scatter by more, and is reported if they do not."""
    assert (
        change(runs(tmp_path, slower(1, spread=30.0), slower(1.1, spread=30.0)), "time.frame").judgment
        == "within_noise"
    )
    assert change(runs(tmp_path, slower(1, spread=1.0), slower(1.1, spread=1.0)), "time.frame").judgment == "worse"


def test_predicted_is_never_judged_against_measured(tmp_path: Path) -> None:
    """A bundle with a board's profile of itself: both times are shown with their origin, neither is better."""
    bundle = make_bundle(tmp_path / INT8)
    file = write(tmp_path / "p.json", profile(sha256=model_sha256_of(bundle)))
    found = compare_paths(bundle.folder, file)
    times = [one for one in found.changes if one.group == "time"]
    assert [one.judgment for one in times] == ["not_comparable"]
    assert (times[0].before_origin and times[0].before_origin.kind) == "predicted"
    assert (times[0].after_origin and times[0].after_origin.kind) == "measured"
    for origin in ("stand_in", "host"):
        backend = {"stand_in": "librknnrt", "host": "onnxruntime"}[origin]
        other = write(tmp_path / "q.json", replace(slower(2), on_npu=False, backend=backend))
        assert {one.judgment for one in compare_paths(file, other).changes if one.group == "time"} == {
            "not_comparable"
        }, origin


def test_with_a_measurement_on_both_sides(tmp_path: Path) -> None:
    """Reports of a bundle with its profile: predictions and measurements are compared, each among themselves."""
    bundle = make_bundle(tmp_path / INT8)
    sides = []
    for name, factor in (("a", 1.0), ("b", 1.2)):
        file = write(tmp_path / f"{name}.json", replace(slower(factor), model_sha256=model_sha256_of(bundle)))
        sides.append(tmp_path / f"{name}-report.json")
        sides[-1].write_text(json_text(gather([bundle.folder, file], pictures=False)))
    found = compare_paths(*sides)
    assert change(found, "time.predicted").judgment == "same"
    assert change(found, "time.network").judgment == "worse"
    with pytest.raises(RkdeployError, match=r"time\.network got worse, from 21 to 25.2 ms \(\+20.0%\)"):
        require_limits(found, parse_limits("latency=5%"))


@pytest.mark.parametrize(
    ("built", "truths", "judgment"),
    [(0.59, 100, "within_noise"), (0.3, 100, "worse"), (0.59, 100_000, "worse"), (0.61, 100_000, "better")],
)
def test_accuracy_beyond_what_so_many_objects_vary(tmp_path: Path, built: float, truths: int, judgment: str) -> None:
    """The same drop is noise of 200 objects and none of 200,000; overall and by class."""

    def with_truths(value: float) -> BuildRecord:
        sides = accuracy().evaluations
        evaluations = (sides[0], replace(sides[1], objects=(objects(value, truths=truths),)))
        return record(accuracy=accuracy(evaluations=evaluations))

    folders = [
        make_bundle(tmp_path / name / INT8, built=with_truths(value), examples=False).folder
        for name, value in (("a", 0.6), ("b", built))
    ]
    found = compare_paths(*folders)
    assert change(found, "accuracy.map50_95").judgment == judgment
    assert change(found, "accuracy.class").noise > change(found, "accuracy.map50_95").noise


@pytest.mark.parametrize(
    "other",
    [
        accuracy(0.3, source="another split"),
        accuracy(0.3, evaluations=(Evaluation("simulator", "int8", "simulator (x)", 7, (objects(0.3),)),)),
        accuracy(0.3, evaluations=(Evaluation("librknnrt", "int8", "board", 50, (objects(0.3),), on_npu=True),)),
    ],
)
def test_other_images_or_another_kind_of_origin_are_not_comparable(tmp_path: Path, other: object) -> None:
    """Another split, another number of images, a board against the simulator: shown, never judged."""
    found = builds(tmp_path, lambda r: replace(r, accuracy=other))  # type: ignore[arg-type]
    assert change(found, "accuracy.map50_95").judgment == "not_comparable"
    with pytest.raises(RkdeployError, match=r"map=0\.01 cannot be judged: the two are not comparable"):
        require_limits(found, parse_limits("map=0.01"))


def test_agreement(tmp_path: Path) -> None:
    """98 of 100 against 97 is noise, against 50 it is worse; on other images it is not judged."""
    for matched, judgment in ((97, "within_noise"), (50, "worse"), (98, "same")):
        found = builds(tmp_path / str(matched), lambda r, m=matched: replace(r, agreement=agreement(m)))  # type: ignore[misc]
        assert change(found, "agreement.share").judgment == judgment
    found = builds(tmp_path / "other", lambda r: replace(r, agreement=replace(agreement(50), images=5)))
    assert change(found, "agreement.share").judgment == "not_comparable"


def test_what_differs_is_named(tmp_path: Path) -> None:
    """Options, versions and calibration that differ are listed with both values."""
    found = builds(
        tmp_path, lambda r: replace(r, toolkit=replace(r.toolkit, version="2.3.2", algorithm="mmse"), calibration=None)
    )
    listed = {one.key: (one.before, one.after) for one in found.differences}
    assert listed["toolkit"] == ("rknn-toolkit2 2.5.0", "rknn-toolkit2 2.3.2")
    assert listed["algorithm"] == ("normal", "mmse")
    assert listed["calibration"][0].startswith("1 (images, seed 0, ")
    assert "created" not in listed


def test_models_of_other_classes_are_said_to_be_such(tmp_path: Path) -> None:
    """Before any figure; a pair with the same classes has no such note."""
    same, other = (
        gather(
            [
                make_bundle(
                    tmp_path / name, contract=replace(contract, model=NpuModel("best.rknn", "rk3588", "int8"))
                ).folder
            ],
            pictures=False,
        ).models[0]
        for name, contract in (("a", spec()), ("b", spec(names=("person", "car", "dog"))))
    )
    first = compose_diff(compare(same, other), "en").sections[0].blocks[0]
    assert isinstance(first, Note)
    assert "different tasks or classes" in first.text
    fp16 = gather([make_bundle(tmp_path / "c", "fp16").folder], pictures=False).models[0]
    assert not isinstance(compose_diff(compare(same, fp16), "en").sections[0].blocks[0], Note)


def test_layers_that_changed(tmp_path: Path) -> None:
    """A layer with other cycles, one that went and one that came are listed; the others are not."""

    def edit(whole: BuildRecord) -> BuildRecord:
        assert whole.compiled is not None
        layers = list(whole.compiled.layers)
        layers[5] = replace(layers[5], read_kib=layers[5].read_kib + 100)
        layers[6] = replace(layers[6], name="came")
        return replace(whole, compiled=replace(whole.compiled, layers=tuple(layers)))

    found = builds(tmp_path, edit)
    names = [layer.name for layer in record().compiled.layers]  # type: ignore[union-attr]
    assert {one.name for one in found.layers} == {names[5], names[6], "came"}
    came = next(one for one in found.layers if one.name == "came")
    assert (came.before_op, came.before_cycles) == ("", None)


def test_a_side_must_be_one_model(tmp_path: Path) -> None:
    """A report of two models cannot be one side of a diff."""
    folders = [make_bundle(tmp_path / name, name[-4:], examples=False).folder for name in (INT8, FP16)]
    both = tmp_path / "both.json"
    both.write_text(json_text(gather(folders)))
    with pytest.raises(RkdeployError, match="has 2 models, expected one"):
        compare_paths(folders[0], both)


def test_noise_by_hand() -> None:
    """Each formula on figures that can be checked with a pocket calculator."""
    steady, wide = Latency(9, 20.0, 20.0, 20.0), Latency(100, 10.0, 22.816, 30.0)  # the second's deviation is 10 ms
    assert median_noise(steady, steady) == pytest.approx(0.2)  # 1 % of 20 ms
    assert median_noise(wide, Latency(100, 10, 10, 10)) == pytest.approx(1.96 * 1.2533 * 10 / 10, rel=1e-3)
    assert median_noise(wide, wide) == pytest.approx(1.96 * 1.2533 * 10 / 10 * 2**0.5, rel=1e-3)
    assert rate_noise(100.0, 100.0, wide, Latency(1, 10, 10, 10), (100, 100)) == pytest.approx(
        1.96 * 100 * 1.0 / 10, rel=1e-3
    )
    assert share_noise(0.5, 0.5, 96, 96) == pytest.approx(1.96 * (2 * 0.25 / 100) ** 0.5)
    assert share_noise(1.0, 1.0, 96, 96) > 0
    assert mean_share_noise([(0.5, 96), (0.5, 96)], [(0.5, 96), (0.5, 96)]) == pytest.approx(
        share_noise(0.5, 0.5, 96, 96) / 2**0.5
    )
    assert mean_share_noise([], []) == 0.0


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("latency=5%", (FailLimit("latency", 0.05, True, "latency=5%"),)),
        (
            "map=0.01, memory = 2",
            (FailLimit("map", 0.01, False, "map=0.01"), FailLimit("memory", 2.0, False, "memory=2")),
        ),
    ],
)
def test_limits_are_read(text: str, limits: tuple[FailLimit, ...]) -> None:
    """Percentages are relative, plain numbers absolute."""
    assert parse_limits(text) == limits


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("speed=5%", 'names "speed", expected one of latency, fps, memory, map, agreement'),
        ("", 'names "", expected one of'),
        ("latency", 'latency is "", expected a number or a percentage'),
        ("map=-1", 'map is "-1"'),
        ("map=nan", 'map is "nan"'),
        ("map=1,map=2", "names map twice"),
    ],
)
def test_limits_that_are_none(text: str, said: str) -> None:
    """Unknown keys, no numbers, negative ones, and a key twice are refused by name."""
    with pytest.raises(RkdeployError, match=said):
        parse_limits(text)


@pytest.mark.parametrize(
    ("limit", "broken"),
    [("memory=1%", True), ("memory=1", True), ("memory=200%", False), ("memory=100", False), ("map=0.001", False)],
)
def test_limits_on_what_is_counted(tmp_path: Path, limit: str, broken: bool) -> None:
    """Half more memory is over 1 % and 1 MiB; what did not change is within any limit."""

    def grown(whole: BuildRecord) -> BuildRecord:
        assert whole.compiled is not None
        return replace(whole, compiled=replace(whole.compiled, internal_kib=whole.compiled.internal_kib * 1.5))

    found = builds(tmp_path, grown)
    if broken:
        with pytest.raises(RkdeployError, match=r"memory\.total got worse, from .* MiB"):
            require_limits(found, parse_limits(limit))
    else:
        require_limits(found, parse_limits(limit))


def test_a_limit_on_accuracy_holds_within_noise_too(tmp_path: Path) -> None:
    """Simulated figures are the same in every run: a drop over the limit fails, though it is within noise."""
    found = builds(tmp_path, lambda r: replace(r, accuracy=accuracy(0.58)))
    assert change(found, "accuracy.map50_95").judgment == "within_noise"
    with pytest.raises(RkdeployError, match=r"from 0\.6 to 0\.58 "):
        require_limits(found, parse_limits("map=0.01"))
    require_limits(found, parse_limits("map=0.05"))


def test_a_limit_on_measured_time_spares_noise(tmp_path: Path) -> None:
    """A measured difference within noise fails no limit, one beyond it does."""
    limits = parse_limits("latency=1%,fps=1%")
    require_limits(runs(tmp_path, slower(1, spread=30.0), slower(1.1, spread=30.0)), limits)
    with pytest.raises(RkdeployError) as failure:
        require_limits(runs(tmp_path, slower(1), slower(1.1)), limits)
    assert "time.rate 3 got worse, from 125 to 113.6 fps" in failure.value.message


def test_a_limit_that_cannot_be_judged_fails(tmp_path: Path) -> None:
    """A gate that has nothing to look at does not pass."""
    found = runs(tmp_path, profile(), profile())
    with pytest.raises(RkdeployError, match=r"map=0\.01 cannot be judged: a side has no such figure"):
        require_limits(found, parse_limits("map=0.01"))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_change_has_its_words(tmp_path: Path, lang: str) -> None:
    """Whatever two bundles with profiles differ in can be put into words."""
    sides = []
    for dtype, factor in (("int8", 1.0), ("fp16", 1.5)):
        bundle = make_bundle(tmp_path / dtype, dtype)
        one = replace(slower(factor), model_sha256=model_sha256_of(bundle), versions=replace(
            profile().versions, runtime=dtype))  # fmt: skip
        sides.append(gather([bundle.folder, write(tmp_path / f"{dtype}.json", one)], pictures=False).models[0])
    page = compose_diff(compare(*sides), "zh" if lang == "zh" else "en")
    assert len(page.sections) >= 7

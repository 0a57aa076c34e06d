"""FP16's predicted time in a report and in a comparison: of lower standing, and said to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.analysis.page.content import Note, Page, Table
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.cards import card
from rkdeploy.analysis.report.compose import compose
from rkdeploy.analysis.report.diff.changes import compare, compare_paths
from rkdeploy.analysis.report.diff.compose_diff import compose_diff
from rkdeploy.analysis.report.diff.diff_document import Change, ReportDiff
from rkdeploy.analysis.report.diff.limits import parse_limits, require_limits
from rkdeploy.analysis.report.gather import gather
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.errors import RkdeployError
from tests.analysis.report.report_samples import make_bundle, record


def half(folder: Path) -> ModelReport:
    return gather([make_bundle(folder, "fp16", examples=False).folder], pictures=False).models[0]


def whole(folder: Path) -> ModelReport:
    return gather([make_bundle(folder, "int8", examples=False).folder], pictures=False).models[0]


def at(model: ModelReport, time_ms: float) -> ModelReport:
    """The same with another time, its interval in proportion."""
    found = model.predicted
    assert found is not None
    factor = time_ms / found.time_ms
    changed = replace(
        found, time_ms=time_ms, low_ms=found.low_ms * factor, high_ms=found.high_ms * factor,
        frames_per_second=1000 / time_ms,
    )  # fmt: skip
    return replace(model, predicted=changed)


def predicted(model: ModelReport) -> Prediction:
    assert model.predicted is not None
    return model.predicted


def change(found: ReportDiff, key: str) -> Change:
    return next(one for one in found.changes if one.key == key)


def notes(page: Page) -> list[str]:
    return [block.text for section in page.sections for block in section.blocks if isinstance(block, Note)]


def test_a_report_says_by_which_formula(tmp_path: Path) -> None:
    """The card asks for attention and names the formula; the section has no coverage and the sentence itself."""
    model = half(tmp_path / "best-rk3588-fp16")
    assert predicted(model).coverage is None
    fast = next(one for one in model.summary if one.question == "fast")
    assert (fast.code, fast.status, fast.figure) == ("fast.by_int8", "attention", f"{predicted(model).time_ms:.1f} ms")
    assert "INT8's formula" in card(fast, Words("en")).sentence
    assert "INT8" in card(fast, Words("zh")).sentence
    (table,) = model.layers
    assert table.total_ms == predicted(model).time_ms


@pytest.mark.parametrize(
    ("lang", "label", "interval"),
    [("en", "error on published rates of this type", "interval"), ("zh", "对已公布的同类型帧率的误差", "区间")],
)
def test_the_section_in_both_languages(tmp_path: Path, lang: str, label: str, interval: str) -> None:
    """Its interval has no percentage, its errors are those on published FP16 rates, and the note is there."""
    found = gather([make_bundle(tmp_path / "b", "fp16", examples=False).folder], pictures=False)
    page = compose(found, "zh" if lang == "zh" else "en")
    sections = [section for one in page.models for section in one.sections if section.ident == "speed"]
    (section,) = sections
    table = next(block for block in section.blocks if isinstance(block, Table))
    rows = {
        column.title: cell.text for column, cell in zip(reversed(table.columns), reversed(table.rows[0]), strict=True)
    }
    time = predicted(found.models[0])
    assert rows[interval] == f"{time.low_ms:.2f}-{time.high_ms:.2f}"
    texts = [block.text for block in section.blocks if isinstance(block, Note)]
    assert any(time.notes[0] in text for text in texts)
    errors = f"{time.median_error:.1%} / {time.worst_error:.0%}"
    assert any(label in text and errors in text for text in texts)


@pytest.mark.parametrize(
    ("int8_ms", "fp16_ms", "judgment"),
    [(5.0, 5.0, "same"), (5.0, 6.0, "within_noise"), (5.0, 9.0, "worse"), (9.0, 6.0, "within_noise"),
     (9.0, 3.0, "better")],
)  # fmt: skip
def test_int8_against_fp16(tmp_path: Path, int8_ms: float, fp16_ms: float, judgment: str) -> None:
    """Better or worse where the two intervals do not overlap, times and rates alike; both intervals are shown."""
    a, b = at(whole(tmp_path / "a"), int8_ms), at(half(tmp_path / "b"), fp16_ms)
    found = compare(a, b)
    time, rate = change(found, "time.predicted_apart"), change(found, "time.predicted_rate")
    assert (time.judgment, rate.judgment) == (judgment, judgment)
    p, q = predicted(a), predicted(b)
    apart = p.high_ms < q.low_ms or q.high_ms < p.low_ms
    assert apart == (judgment in {"better", "worse"})
    assert time.noise_from == rate.noise_from == "intervals"
    assert time.values == {"a": f"{p.low_ms:.2f}-{p.high_ms:.2f}", "b": f"{q.low_ms:.2f}-{q.high_ms:.2f}"}
    assert (found.before_rests_on, found.after_rests_on) == ("", q.notes[0])
    page = compose_diff(found, "en")
    cells = [cell.text for section in page.sections for block in section.blocks if isinstance(block, Table)
             for row in block.rows for cell in row]  # fmt: skip
    assert ("within the prediction's error" in cells) == (judgment == "within_noise")
    assert any(text.startswith("Side B is predicted with less certainty: INT8's formula") for text in notes(page))


def test_a_limit_needs_intervals_apart(tmp_path: Path) -> None:
    """A gate does not fail on what may be as fast, and does on what is slower for sure."""
    a, b = whole(tmp_path / "a"), half(tmp_path / "b")
    limits = parse_limits("latency=1%,fps=1%")
    require_limits(compare(at(a, 5.0), at(b, 6.0)), limits)
    with pytest.raises(RkdeployError, match="got worse, from 5 to 9 ms"):
        require_limits(compare(at(a, 5.0), at(b, 9.0)), limits)


def test_two_of_fp16_on_one_chip_err_alike(tmp_path: Path) -> None:
    """Their median error is the noise, as of two INT8 builds, and not the whole interval."""
    model = half(tmp_path / "b")
    found = compare(at(model, 10.0), at(model, 13.0))
    time = change(found, "time.predicted")
    assert time.noise == pytest.approx(13.0 * predicted(model).median_error)
    assert (time.noise_from, time.judgment) == ("model", "worse")
    other = replace(at(model, 13.0), target="rk3576")
    assert change(compare(at(model, 10.0), other), "time.predicted_apart").judgment == "within_noise"


def test_two_of_int8_rest_on_nothing(tmp_path: Path) -> None:
    """Nothing is said where the formula is the type's own."""
    folders = [make_bundle(tmp_path / name, built=record(), examples=False).folder for name in "ab"]
    found = compare_paths(*folders)
    assert (found.before_rests_on, found.after_rests_on) == ("", "")
    assert change(found, "time.predicted").judgment == "same"

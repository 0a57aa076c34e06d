"""The table of a comparison, in the terminal and as Markdown."""

from __future__ import annotations

from dataclasses import replace

from rkdeploy.analysis.compare.comparison import BuildComparison, Row
from rkdeploy.analysis.compare.recommendation import advice, pareto_front
from rkdeploy.analysis.page.content import ABSENT
from rkdeploy.analysis.page.markdown import markdown_of
from rkdeploy.analysis.page.texts import Lang, Words
from rkdeploy.analysis.tables.comparison_tables import comparison_blocks, row_line
from tests.analysis.compare.compare_rows import failed, row
from tests.analysis.tables.printed import printed


def comparison(*rows: Row) -> BuildComparison:
    return BuildComparison("best.pt", "2.5.0", 0.9, rows, pareto_front(rows), advice(rows, 0.9))


def shown(*rows: Row, lang: Lang = "en") -> str:
    return printed(comparison_blocks(comparison(*rows), Words(lang)), lang)


def markdown(*rows: Row) -> str:
    return markdown_of(comparison_blocks(comparison(*rows), Words("en")), Words("en"))


ROWS = (
    row("rk3588", 8.25, 0.985, 0.77),
    row("rk3576", 20, 0.985, 0.77),
    row("rk3588", None, 1.0, 0.78, dtype="fp16"),
    failed("rk9999", "No such\nchip."),
    failed("rk9999", "No such\nchip.", "Take another.", size=320),
)


def test_no_figure_is_cut_off() -> None:
    """The table is wider than a pipe's 80 columns and whole all the same, columns aligned."""
    lines = shown(*ROWS).splitlines()
    head, first = lines[1], lines[2]
    assert "mAP50-95 (boxes)" in head
    assert first.split()[:4] == ["*", "rk3588", "int8", "640x640"]
    assert first.split()[4:] == ["8.25", "7.50-9.08", "121.2", "2.00", "1.00", "3.00", "98.5%", "0.770", "built"]
    for name, value in (("predicted ms", "8.25"), ("agreement", "98.5%"), ("mAP50-95 (boxes)", "0.770")):
        assert head.index(name) + len(name) == first.index(value) + len(value), name


def test_every_figure_says_what_it_is() -> None:
    """Predicted or simulator: each column is explained, and what is not known is not printed."""
    text = shown(*ROWS)
    assert "predicted, not measured" in text
    assert "plans it (predicted)" in text
    assert "agreement: simulator (rknn-toolkit2 2.5.0)" in text
    assert "mAP50-95 (boxes): simulator" in text
    assert "Float on this PC: 640x640 0.800" in text
    assert 'time not predicted: rk3588 fp16 640x640. There is no latency model of "fp16"' in text
    half = next(line for line in text.splitlines() if " fp16 " in line and "built" in line)
    assert half.split()[3:6] == [ABSENT] * 3


def test_an_fp16_time_is_marked() -> None:
    """Its figures have a mark that the legend explains, and what they rest on stands once for all rows."""
    half = [row(target, 14, 1.0, dtype="fp16") for target in ("rk3588", "rk3576")]
    text = shown(row("rk3588", 8), *half)
    lines = [line.split() for line in text.splitlines()]
    (first,) = [line for line in lines if line[:4] == ["*", "rk3588", "fp16", "640x640"]]
    assert first[4:7] == ["~14.00", "~11.20-28.00", "~71.4"]
    (whole,) = [line for line in lines if line[1:3] == ["rk3588", "int8"]]
    assert whole[4:7] == ["8.00", "7.27-8.80", "125.0"]
    assert "~: predicted with less certainty" in text
    assert "interval (90%), frames/s" in text
    assert "time not predicted" not in text
    assert row_line(half[0]).startswith("rk3588 fp16 640x640: built, 14.00 ms predicted by INT8's formula, agreement")
    for form in (text, markdown(row("rk3588", 8), *half)):
        assert form.count("less certainty. INT8's formula on FP16 layers. Against") == 1


def test_failures_of_one_reason_are_one_line() -> None:
    """The reason is printed once, on one line, with the hint, and each row says that it failed."""
    text = shown(*ROWS)
    assert text.count("No such chip.") == 1
    assert sum(line.endswith("failed") for line in text.splitlines()) == 2


def test_another_builds_accuracy_is_named() -> None:
    """A figure that was simulated on another chip's build says so, in one line for all of them."""
    first, second = row("rk3588", 8, 0.98, 0.77), row("rk3576", 6, 0.98, 0.77)
    assert second.figures is not None
    assert second.figures.accuracy is not None
    taken = replace(second.figures, accuracy=replace(second.figures.accuracy, on=first.variant))
    text = shown(first, replace(second, figures=taken))
    assert "rk3576 int8 640x640 from rk3588 int8 640x640." in text
    assert "Taken from" not in shown(first, second)


def test_the_front_is_marked() -> None:
    """The star stands at the front's rows only, and says whether sizes were compared."""
    lines = shown(*ROWS).splitlines()
    assert [line.startswith("*  ") for line in lines[2:7]] == [True, False, False, False, False]
    assert "no other is as fast" in shown(*ROWS)
    assert "Builds without a predicted time are not on it." in shown(*ROWS)
    assert "Builds without" not in shown(row("a", 3))
    assert "no other of its size is as fast" in shown(row("a", 3), row("a", 2, size=320))


def test_markdown() -> None:
    """As many cells in each line as in the heading; a name out of a file cannot open a column or a tag."""
    text = markdown(*ROWS, failed("x", "a|b <script> [link](x) \x1b[31m"))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert len(table) == 2 + len(ROWS) + 1
    assert "a\\|b &lt;script&gt; \\[link\\](x)" in text
    assert "\x1b" not in text
    assert "<script>" not in text


def test_a_line_for_each_build() -> None:
    """Lines printed while the other builds run: state, figures and their source, or the reason."""
    assert row_line(ROWS[0]) == (
        "rk3588 int8 640x640: built, 8.25 ms predicted, agreement 98.5% (simulator), mAP50-95 (boxes) 0.770 (simulator)"
    )
    assert row_line(ROWS[3]) == "rk9999 int8 640x640: failed: No such chip."
    assert "not compared with the float model" in row_line(row("a", 3, None))


def test_the_same_in_chinese() -> None:
    """Headings and legend are Chinese; names and figures stay."""
    text = shown(*ROWS, lang="zh")
    assert "预测毫秒" in text
    assert "已构建" in text
    assert "8.25" in text
    assert "predicted, not measured" not in text

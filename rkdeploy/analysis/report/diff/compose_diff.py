"""A comparison as a page of one language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

from rkdeploy.analysis.page.content import (
    ABSENT,
    Block,
    Cell,
    Column,
    Note,
    Page,
    PageSection,
    Status,
    Table,
    count,
    figure,
)
from rkdeploy.analysis.page.texts import Lang, Words
from rkdeploy.analysis.report.diff.diff_document import Change, Group, Judgment, LayerChange, ReportDiff

_MIB, _KIB = 1 << 20, 1 << 10
_MOST_LAYERS, _MOST_CLASSES = 20, 40
_STATUS: dict[str, Status] = {
    "same": "plain",
    "better": "good",
    "worse": "bad",
    "within_noise": "plain",
    "not_comparable": "unknown",
}


def compose_diff(found: ReportDiff, lang: Lang) -> Page:
    """The whole comparison.  One without any difference is one sentence."""
    words = Words(lang)
    sections = list(_sections(found, words)) if not found.is_empty else []
    if not sections:
        sections = [PageSection("result", words("diff.result"), [Note(words("diff.empty"))])]
    return Page(
        lang=lang,
        title=words("diff.title", a=found.before, b=found.after),
        kind=words("diff.kind"),
        subtitle=words("diff.sides", a=found.before, b=found.after),
        models=(),
        sections=sections,
    )


def _sections(found: ReportDiff, words: Words) -> Iterator[PageSection]:
    yield _counts(found, words)
    for group in get_args(Group):
        changes = [one for one in found.changes if one.group == group]
        if changes:
            blocks = list(_group(changes, words))
            if group == "time":
                blocks += _why_no_time(found, words)
            yield PageSection(group, words(f"diff.group.{group}"), blocks)
    if found.layers:
        yield PageSection("layers", words("diff.layers"), [_layers(found.layers, words)])
    if found.differences:
        rows = []
        for one in found.differences:
            key = f"diff.option.{one.key}"
            name = words(key) if words.has(key) else one.key
            rows.append([Cell(name), Cell(one.before), Cell(one.after)])
        columns = (Column(words("diff.what")), Column("A"), Column("B"))
        title = words("diff.differences")
        yield PageSection("differences", title, [Table(title, columns, rows)])
    if any(one.noise for one in found.changes):
        yield PageSection("noise", words("diff.how_title"), [Note(words("diff.how"))])


def _counts(found: ReportDiff, words: Words) -> PageSection:
    """Number of figures that got better, worse, and so on."""
    numbers = Counter(one.judgment for one in found.changes)
    rows = [
        [Cell(words(f"diff.is.{name}"), status=_STATUS[name]), Cell(str(numbers[name]), numbers[name])]
        for name in get_args(Judgment)
        if numbers[name]
    ]
    columns = (Column(words("diff.judgment")), Column(words("diff.figures"), "right"))
    blocks: list[Block] = [Table(words("diff.counts"), columns, rows)]
    if any(one.key in {"task", "classes"} for one in found.differences):
        blocks.insert(0, Note(words("diff.other_task"), "attention"))
    return PageSection("result", words("diff.result"), blocks)


def _why_no_time(found: ReportDiff, words: Words) -> Iterator[Block]:
    for side, reason in (("A", found.before_no_time), ("B", found.after_no_time)):
        if reason:
            yield Note(words("diff.no_time", side=side, reason=reason))
    for side, note in (("A", found.before_rests_on), ("B", found.after_rests_on)):
        if note:
            yield Note(words("diff.rests_on", side=side, note=note), "attention")


def _group(changes: Sequence[Change], words: Words) -> Iterator[Block]:
    classes = [one for one in changes if one.key == "accuracy.class"]
    whole = [one for one in changes if one.key != "accuracy.class"]
    yield _table(words("diff.caption", group=words(f"diff.group.{changes[0].group}")), whole, words)
    changed = [one for one in classes if one.judgment != "same"]
    if changed:
        changed.sort(key=lambda one: -abs(one.difference or 0.0))
        yield _table(words("diff.classes"), changed[:_MOST_CLASSES], words)
        if len(changed) > _MOST_CLASSES:
            yield Note(words("diff.more_classes", count=len(changed) - _MOST_CLASSES))


def _table(caption: str, changes: Sequence[Change], words: Words) -> Table:
    """A table of changes.  The origin is next to the caption if all figures have the same one, else in a column."""
    origins = {origin for one in changes for origin in (one.before_origin, one.after_origin)}
    single = origins.pop() if len(origins) == 1 else None
    columns = [
        Column(words("diff.what")),
        Column("A", "right"),
        Column("B", "right"),
        Column(words("diff.difference"), "right"),
        Column(words("diff.noise"), "right"),
        Column(words("diff.judgment")),
    ]
    rows = [_row(one, words) for one in changes]
    if single is None:
        columns.append(Column(words("diff.from")))
        rows = [[*row, Cell(_origins(one, words))] for row, one in zip(rows, changes, strict=True)]
    return Table(caption, columns, rows, single)


def _row(one: Change, words: Words) -> list[Cell]:
    values = {key: _named(key, value, words) for key, value in one.values.items()}
    difference = one.difference if one.judgment != "not_comparable" else None
    relative = f" ({difference / one.before:+.1%})" if difference and one.before and one.unit != "share" else ""
    return [
        Cell(words(f"diff.{one.key}", **values)),
        _quantity(one.before, one.unit),
        _quantity(one.after, one.unit),
        Cell(ABSENT)
        if difference is None
        else Cell(f"{_form(difference, one.unit, signed=True)}{relative}", difference),
        Cell(ABSENT) if not one.noise else Cell(f"±{_form(one.noise, one.unit)}", one.noise),
        Cell(words(f"diff.is.{_judgment(one)}"), status=_STATUS[one.judgment]),
    ]


def _judgment(one: Change) -> str:
    """A difference of two predictions that may come of their intervals is not noise: it would be the same again."""
    within = one.judgment == "within_noise" and one.noise_from == "intervals"
    return "within_intervals" if within else one.judgment


def _named(key: str, value: str, words: Words) -> str:
    """A value of a change in words, where it is one of ours."""
    text = {"role": f"diff.role.{value}", "kind": f"accuracy.kind.{value.replace(' ', '_')}"}.get(key, "")
    return words(text) if words.has(text) else value


def _origins(one: Change, words: Words) -> str:
    before, after = one.before_origin, one.after_origin
    if before == after:
        return words.origin(before) if before else ABSENT
    texts = [words.origin(side) if side else words("diff.no_figure") for side in (before, after)]
    return words("diff.from_both", a=texts[0], b=texts[1])


def _quantity(value: float | None, unit: str) -> Cell:
    return Cell(ABSENT) if value is None else Cell(_form(value, unit), value)


def _form(value: float, unit: str, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if unit == "bytes":
        return f"{value / _MIB:{sign}.2f} MiB"
    if unit == "share":
        return f"{value:{sign}.3f}"
    if unit == "cycles":
        return f"{value / 1e6:{sign}.2f} M"
    return f"{value:{sign}.2f} {unit}" if unit == "ms" else f"{value:{sign}.1f} {unit}"


def _layers(layers: Sequence[LayerChange], words: Words) -> Table:
    timed = any(one.before_ms is not None or one.after_ms is not None for one in layers)
    shown = sorted(layers, key=lambda one: -_weight(one, timed=timed))[:_MOST_LAYERS]
    both = (
        timed and any(one.before_ms is not None for one in layers) and any(one.after_ms is not None for one in layers)
    )
    columns = [Column(words("layers.name")), Column(f"{words('layers.op')} A"), Column(f"{words('layers.op')} B")]
    pairs = (["us"] if both else []) + ["cycles", "traffic"]
    columns += [Column(f"{words(f'layers.{name}')} {side}", "right") for name in pairs for side in "AB"]
    rows = []
    for one in shown:
        absent = words("diff.no_layer")
        cells = [Cell(one.name), Cell(one.before_op or absent), Cell(one.after_op or absent)]
        if both:
            cells += [figure(None if ms is None else 1000 * ms, ".1f") for ms in (one.before_ms, one.after_ms)]
        cells += [count(one.before_cycles), count(one.after_cycles)]
        cells += [
            figure(None if size is None else size / _KIB, ",.0f")
            for size in (one.before_traffic_bytes, one.after_traffic_bytes)
        ]
        rows.append(cells)
    return Table(
        words("diff.layers_caption", shown=len(shown), count=len(layers)), columns, rows, sortable=True, tall=True
    )


def _weight(one: LayerChange, *, timed: bool) -> float:
    """Size of a layer's change: in time, else in traffic."""
    if timed and (one.before_ms is not None) and (one.after_ms is not None):
        return abs(one.after_ms - one.before_ms)
    return abs((one.after_traffic_bytes or 0) - (one.before_traffic_bytes or 0)) / 1e9

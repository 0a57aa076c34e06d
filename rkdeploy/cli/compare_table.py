"""A comparison as a user reads it: in the terminal, or as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.cli.console import plain, print_warning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from rkdeploy.analysis.compare.comparison import BuildComparison, BuildFigures, HeadlineFigure, Row
    from rkdeploy.analysis.estimate.prediction import Prediction

_LEFT = 4  # columns of words before those of figures
_MAX_REASON = 600
_BY_INT8 = " by INT8's formula"


def print_comparison(found: BuildComparison, console: Console) -> None:
    """Print the table, what its figures are, and the advice."""
    for line in _aligned(_cells(found)):
        console.print(plain(line))
    console.print()
    for line in _legend(found):
        console.print(plain(line))
    console.print()
    for line in found.advice:
        console.print(plain(line))
    for note in _notes(found):
        print_warning(note)


def markdown(found: BuildComparison) -> str:
    """The same as Markdown; names out of files cannot break it."""
    head, *rows = _cells(found)
    rule = ["---" if index < _LEFT or index == len(head) - 1 else "---:" for index in range(len(head))]
    lines = ["| " + " | ".join(map(_escaped, cells)) + " |" for cells in (head, rule, *rows)]
    paragraphs = [*_legend(found), *found.advice, *_notes(found)]
    return "\n".join((*lines, "", *(f"- {_escaped(line)}" for line in paragraphs))) + "\n"


def row_line(row: Row) -> str:
    """One line for a build that is done."""
    if row.figures is None:
        return f"{row.variant}: failed: {_one_line(row.reason)}"
    speed, share = row.figures.speed, row.figures.agreement_share
    parts = [
        f"{speed.time_ms:.2f} ms predicted{_mark(speed, _BY_INT8)}" if speed is not None else "time not predicted",
        f"agreement {share:.1%} (simulator)" if share is not None else "not compared with float",
        *(f"{one.name} {_fraction(one.built)} (simulator)" for one in _accuracy(row.figures)),
    ]
    return f"{row.variant}: {row.state}, {', '.join(parts)}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns with two spaces between them, words to the left and figures to the right.

    No table of rich's: that is as wide as the terminal, or 80 where there is none, and cuts the figures off.
    """
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    words = {*range(_LEFT), len(widths) - 1}
    return [
        "  ".join(
            cell.ljust(width) if index in words else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cells(found: BuildComparison) -> list[tuple[str, ...]]:
    """The heading and the rows."""
    names = _accuracy_names(found.rows)
    head = (
        "", "target", "dtype", "size", "predicted ms", "interval", "frames/s", "weights MiB", "internal MiB",
        "file MiB", "agreement", *names, "",
    )  # fmt: skip
    return [head, *(_row(row, names, on_front=row.variant in found.front) for row in found.rows)]


def _row(row: Row, names: Sequence[str], *, on_front: bool) -> tuple[str, ...]:
    variant, figures = row.variant, row.figures
    first = ("*" if on_front else "", variant.target, variant.dtype, variant.size)
    if figures is None:
        return (*first, *["-"] * (7 + len(names)), row.state)
    speed, share = figures.speed, figures.agreement_share
    by_name = {one.name: one.built for one in _accuracy(figures)}
    return (
        *first,
        f"{_mark(speed)}{speed.time_ms:.2f}" if speed else "-",
        f"{_mark(speed)}{speed.low_ms:.2f}-{speed.high_ms:.2f}" if speed else "-",
        f"{_mark(speed)}{speed.frames_per_second:.1f}" if speed else "-",
        _mib(figures.weight_kib),
        _mib(figures.internal_kib),
        _mib(figures.rknn_bytes / 1024),
        "-" if share is None else f"{share:.1%}",
        *(_fraction(by_name.get(name)) for name in names),
        row.state,
    )


def _mark(speed: Prediction, text: str = "~") -> str:
    """What a prediction of lower standing is marked with."""
    return text if speed.coverage is None else ""


def _legend(found: BuildComparison) -> list[str]:
    """What the figures are and where they come from; nothing of it was measured on a chip."""
    there = [row.figures for row in found.rows if row.figures is not None]
    speeds = [f.speed for f in there if f.speed is not None]
    by_size = not any(f.accuracies for f in there) and len({row.variant.input_hw for row in found.rows}) > 1
    lines = ["size: width x height of the network input, pixels."]
    if found.front:
        beaten = "as fast and has as high an " + ("accuracy" if any(f.accuracies for f in there) else "agreement")
        among = " Builds without a predicted time are not on it." if len(speeds) < len(there) else ""
        lines.append(f"*: on the Pareto front, no other{' of its size' if by_size else ''} is {beaten}.{among}")
    if speeds:
        coverage = next((f" ({one.coverage:.0%})" for one in speeds if one.coverage is not None), "")
        lines.append(
            f"ms, interval{coverage}, frames/s: predicted, not measured. NPU time of one frame on one core at its "
            "highest clock, one context, pre- and postprocessing apart."
        )
    lines += [
        f"~: predicted with less certainty. {text} Against INT8, or on another chip, such a build beats or is beaten "
        "only where the two intervals do not overlap."
        for text in dict.fromkeys(one.rests_on for one in speeds if one.coverage is None)
    ]
    lines.append(
        f"weights, internal: memory as the compiler of rknn-toolkit2 {found.toolkit} plans it (predicted). file: size "
        "of the .rknn."
    )
    agreements = [f.agreement for f in there if f.agreement is not None]
    if agreements:
        one = agreements[0]
        rule = "; AP (IoU 0.5 to 0.95) with float's detections as the truth"
        lines.append(
            f"agreement: {one.figures_from}, with float at the same size, on {one.images} images from {one.source}"
            f"{rule if one.float_detections else ''}."
        )
    lines += _accuracy_lines(found.rows)
    unpredicted = [(row, row.figures.not_predicted) for row in found.rows if row.figures is not None]
    lines += [f"time not predicted: {names}. {why}" for names, why in _by_reason(unpredicted)]
    hints = {row.reason: row.hint for row in reversed(found.rows)}
    failures = _by_reason([(row, row.reason) for row in found.rows])
    return lines + [f"failed: {names}. {_one_line(f'{why} {hints[why]}')}" for names, why in failures]


def _by_reason(rows: Sequence[tuple[Row, str]]) -> list[tuple[str, str]]:
    """The names of the rows that share a reason, and the reason."""
    found: dict[str, list[str]] = {}
    for row, reason in rows:
        if reason:
            found.setdefault(reason, []).append(str(row.variant))
    return [(", ".join(names), reason) for reason, names in found.items()]


def _accuracy_lines(rows: Sequence[Row]) -> list[str]:
    """Where accuracy comes from, and float's at each size."""
    measured = {row.variant: row.figures.accuracy for row in rows if row.figures is not None and row.figures.accuracy}
    if not measured:
        return []
    first = next(iter(measured.values()))
    references = dict.fromkeys(
        f"{variant.size} {', '.join(_fraction(one.reference) for one in found.figures)}"
        for variant, found in measured.items()
    )
    names = ", ".join(one.name for one in first.figures)
    origin = f"{first.figures_from}, on {first.images} images of the {first.source}"
    lines = [f"{names}: {origin}. Float on this PC: {'; '.join(references)}."]
    carried = [f"{variant} from {found.on}" for variant, found in measured.items() if found.on]
    if carried:
        lines.append(
            "Taken from another chip's build that gave the same in the simulator, to the last digit, on the images of "
            f"the agreement: {', '.join(carried)}."
        )
    return lines


def _notes(found: BuildComparison) -> list[str]:
    """What the predictions say of themselves."""
    rows = [
        (row, note)
        for row in found.rows
        if row.figures is not None and row.figures.speed is not None
        for note in row.figures.speed.notes
        if note != row.figures.speed.rests_on
    ]
    return [f"{names}: {note}" for names, note in _by_reason(rows)]


def _accuracy_names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(one.name for row in rows if row.figures is not None for one in _accuracy(row.figures)))


def _accuracy(figures: BuildFigures) -> tuple[HeadlineFigure, ...]:
    return figures.accuracy.figures if figures.accuracy is not None else ()


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mib(kib: float | None) -> str:
    return "-" if kib is None else f"{kib / 1024:.2f}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_REASON else f"{line[:_MAX_REASON]}..."


def _escaped(text: str) -> str:
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return "".join(f"\\{c}" if c in "\\`*_[]<>|" else c for c in shown)

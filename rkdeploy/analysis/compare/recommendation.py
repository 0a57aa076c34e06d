"""Recommended builds: the Pareto front, and advice for each goal.

Agreement compares a build with the float model at its own size and does not show the cost of a smaller size.  So
without accuracy on labeled images, the quality of builds of different sizes is not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rkdeploy.analysis.compare.comparison import BuildFigures, Row
from rkdeploy.analysis.compare.variants import Variant
from rkdeploy.analysis.estimate.prediction import Prediction


@dataclass(frozen=True, slots=True)
class _Build:
    """A row that was built.

    Attributes:
        row: the row of the comparison.
        figures: figures of that row.
        goodness: its accuracies, else its agreement; empty if neither is known.
    """

    row: Row
    figures: BuildFigures
    goodness: tuple[float, ...]

    @property
    def time_ms(self) -> float | None:
        return self.figures.speed.time_ms if self.figures.speed is not None else None

    @property
    def mean(self) -> float:
        return sum(self.goodness) / len(self.goodness)


def pareto_front(rows: Sequence[Row]) -> tuple[Variant, ...]:
    """The builds that no other beats: none that can be compared is as fast and as good, and better in one of the two.

    Speed is the predicted time.  A less certain time (FP16's) only beats or is beaten if the two intervals do not
    overlap:
    otherwise it is not known which is faster.  Two of them on one chip have the same errors, and are compared directly.
    Builds without a predicted time are on no front.
    """
    there = [c for c in _builds(rows) if c.time_ms is not None and c.goodness]
    return tuple(c.row.variant for c in there if not any(_beats(other, c) for other in there))


def advice(rows: Sequence[Row], min_agreement: float) -> tuple[str, ...]:
    """A sentence or two for each goal: fastest that agrees with the float model, and most accurate.

    Args:
        rows: all of them.
        min_agreement: lowest accepted agreement, as for `rkdeploy build --min-agreement`, 0..1.
    """
    there = _builds(rows)
    found = [_fastest(there, min_agreement), *_most_accurate(there)]
    sizes = {c.row.variant.input_hw for c in there}
    if len(sizes) > 1 and not all(c.figures.accuracies for c in there):
        found.append(
            "Agreement is with the float model at the same size: it does not show the cost of a smaller input. "
            "--data measures that on labeled images."
        )
    return tuple(text for text in found if text)


def _builds(rows: Sequence[Row]) -> list[_Build]:
    found = []
    for row in rows:
        if row.figures is None:
            continue
        share = row.figures.agreement_share
        found.append(_Build(row, row.figures, row.figures.accuracies or (() if share is None else (share,))))
    return found


def _beats(a: _Build, b: _Build) -> bool:
    first, second = a.figures.speed, b.figures.speed
    if first is None or second is None or not _comparable(a, b):
        return False
    if not all(x >= y for x, y in zip(a.goodness, b.goodness, strict=True)):
        return False
    standings = (first.coverage is None, second.coverage is None)
    if any(standings) and (not all(standings) or a.row.variant.target != b.row.variant.target):
        return first.high_ms < second.low_ms
    return first.time_ms < second.time_ms or (first.time_ms == second.time_ms and a.goodness != b.goodness)


def _comparable(a: _Build, b: _Build) -> bool:
    if bool(a.figures.accuracies) != bool(b.figures.accuracies) or len(a.goodness) != len(b.goodness):
        return False
    return bool(a.figures.accuracies) or a.row.variant.input_hw == b.row.variant.input_hw


def _fastest(there: Sequence[_Build], min_agreement: float) -> str:
    """The lowest predicted time among those that agree with the float model."""
    timed = [
        (c.figures.speed, c) for c in there if c.figures.speed is not None and c.figures.agreement_share is not None
    ]
    if not timed:
        return ""
    agreeing = [(speed, c) for speed, c in timed if c.figures.agrees(min_agreement)]
    if not agreeing:
        best = max((c for _, c in timed), key=lambda c: c.figures.agreement_share or 0.0)
        return (
            f"None whose time is predicted keeps {min_agreement:.0%} agreement with the float model; "
            f"{best.row.variant} comes closest with {_share(best)}."
        )
    speed, first = min(agreeing, key=lambda pair: pair[0].time_ms)
    text = f"Fastest that keeps {min_agreement:.0%} agreement: {first.row.variant}, {_time(speed)}, {_quality(first)}."
    close = [str(c.row.variant) for other, c in agreeing if c is not first and other.low_ms <= speed.high_ms]
    if close:
        text += f" Within the predictions' intervals of it: {', '.join(close)}."
    return text


def _most_accurate(there: Sequence[_Build]) -> list[str]:
    """The highest accuracy, else the highest agreement of each size; among equals the fastest."""
    measured = [c for c in there if c.figures.accuracies]
    if measured:
        return [_best("Most accurate", measured)]
    agreed = [c for c in there if c.goodness]
    sizes = list(dict.fromkeys(c.row.variant.input_hw for c in agreed))
    return [
        _best(
            "Closest to the float model" + (f" at {hw[1]}x{hw[0]}" if len(sizes) > 1 else ""),
            [c for c in agreed if c.row.variant.input_hw == hw],
        )
        for hw in sizes
    ]


def _best(goal: str, there: Sequence[_Build]) -> str:
    best = max(there, key=lambda c: (c.mean, -(c.time_ms or float("inf"))))
    speed = best.figures.speed
    text = f"{goal}: {best.row.variant}, {_quality(best)}, {_time(speed) if speed else 'time not predicted'}."
    timed = [(c.figures.speed, c) for c in there if c.figures.speed is not None]
    if speed is None and timed:
        known_speed, known = max(timed, key=lambda pair: (pair[1].mean, -pair[0].time_ms))
        text += f" With a predicted time: {known.row.variant}, {_quality(known)}, {_time(known_speed)}."
    return text


def _time(speed: Prediction) -> str:
    how = "predicted" if speed.coverage is not None else "predicted by INT8's formula"
    return f"{speed.time_ms:.1f} ms {how} ({speed.frames_per_second:.0f} frames/s)"


def _share(build: _Build) -> str:
    return f"{build.figures.agreement_share or 0.0:.1%}"


def _quality(build: _Build) -> str:
    """Accuracy and agreement, in the simulator."""
    measured = build.figures.accuracy
    parts = [f"{one.name} {one.built or 0.0:.3f}" for one in measured.figures] if measured is not None else []
    if build.figures.agreement_share is not None:
        parts.append(f"agreement {_share(build)}")
    return f"{', '.join(parts)} in the simulator"

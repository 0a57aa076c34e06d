"""A pair of figures to a change with its judgment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rkdeploy.analysis.origin import Origin
from rkdeploy.analysis.report.diff.diff_document import Change, Group, Judgment, LimitKey, NoiseFrom, Unit


@dataclass(frozen=True, slots=True)
class FigureKind:
    """A kind of figure that two models are compared by.

    Attributes:
        group: where it belongs.
        key: name of its text, `time.predicted`.
        unit: of the figures.
        higher_is_better: True for rates and accuracy, False for times and sizes.
        limit_key: key under which `--fail-on` limits it; None for none.
    """

    group: Group
    key: str
    unit: Unit
    higher_is_better: bool = False
    limit_key: LimitKey | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """The figure of one side.

    Attributes:
        value: in the unit of its kind; None if the side has none.
        origin: source of the figure; None if it needs none, as the size of a file.
    """

    value: float | None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Noise:
    """Differences that mean nothing.

    Attributes:
        amount: largest of them, in the unit of the figures.
        source: how that is known.
    """

    amount: float = 0.0
    source: NoiseFrom = "exact"


EXACT: Final = Noise()
"""Of figures that are counted."""
_NO_VALUES: Final[Mapping[str, str]] = {}


def judged(
    kind: FigureKind, before: Figure, after: Figure, noise: Noise = EXACT, values: Mapping[str, str] = _NO_VALUES
) -> Change:
    """A comparable pair: better or worse where the difference is larger than the noise.

    Args:
        kind: of both figures.
        before: of A.
        after: of B.
        noise: differences that mean nothing.
        values: what goes into the text of the kind.
    """
    assert before.value is not None
    assert after.value is not None
    difference = after.value - before.value
    judgment: Judgment
    if difference == 0:
        judgment = "same"
    elif abs(difference) <= noise.amount:
        judgment = "within_noise"
    else:
        judgment = "better" if (difference > 0) == kind.higher_is_better else "worse"
    before, after = Figure(float(before.value), before.origin), Figure(float(after.value), after.origin)
    return _change(kind, before, after, noise, values, judgment)


def one_sided(kind: FigureKind, before: Figure, after: Figure, values: Mapping[str, str] = _NO_VALUES) -> Change:
    """A figure that one side does not have, or that both have from sources that cannot be compared."""
    return _change(kind, before, after, EXACT, values, "not_comparable")


def _change(
    kind: FigureKind, before: Figure, after: Figure, noise: Noise, values: Mapping[str, str], judgment: Judgment
) -> Change:
    return Change(
        group=kind.group,
        key=kind.key,
        values=dict(values),
        unit=kind.unit,
        higher_is_better=kind.higher_is_better,
        before=before.value,
        after=after.value,
        before_origin=before.origin,
        after_origin=after.origin,
        noise=noise.amount,
        noise_from=noise.source,
        judgment=judgment,
        limit_key=kind.limit_key,
    )

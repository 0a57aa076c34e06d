"""A pair of figures to a change with its judgment."""

from __future__ import annotations

from rkdeploy.analysis.origin import Origin
from rkdeploy.analysis.report.diff.diff_document import Change, Group, Judgment, LimitKey, NoiseFrom, Unit


def judged(
    group: Group,
    key: str,
    unit: Unit,
    before: float,
    after: float,
    before_origin: Origin | None,
    after_origin: Origin | None,
    *,
    higher_is_better: bool,
    noise: float = 0.0,
    noise_from: NoiseFrom = "exact",
    limit_key: LimitKey | None = None,
    values: dict[str, str] | None = None,
) -> Change:
    """A comparable pair: better or worse where the difference is larger than the noise."""
    difference = after - before
    judgment: Judgment
    if difference == 0:
        judgment = "same"
    elif abs(difference) <= noise:
        judgment = "within_noise"
    else:
        judgment = "better" if (difference > 0) == higher_is_better else "worse"
    return Change(
        group, key, values or {}, unit, higher_is_better, float(before), float(after), before_origin, after_origin,
        noise, noise_from, judgment, limit_key,
    )  # fmt: skip


def one_sided(
    group: Group,
    key: str,
    unit: Unit,
    before: float | None,
    after: float | None,
    before_origin: Origin | None,
    after_origin: Origin | None,
    *,
    higher_is_better: bool = False,
    limit_key: LimitKey | None = None,
    values: dict[str, str] | None = None,
) -> Change:
    """A figure that one side has not, or that both have from sources that cannot be held against each other."""
    return Change(
        group, key, values or {}, unit, higher_is_better, before, after, before_origin, after_origin, 0.0, "exact",
        "not_comparable", limit_key,
    )  # fmt: skip

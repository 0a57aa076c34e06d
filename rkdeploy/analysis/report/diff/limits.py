"""`--fail-on latency=5%,map=0.01`: how much worse B may be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from rkdeploy.analysis.report.diff.diff_document import Change, LimitKey, ReportDiff
from rkdeploy.errors import RkdeployError, shown

_UNITS: dict[LimitKey, tuple[str, float]] = {
    "latency": ("ms", 1.0),
    "fps": ("fps", 1.0),
    "memory": ("MiB", float(1 << 20)),
    "map": ("", 1.0),
    "agreement": ("", 1.0),
}
_NUMBER = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(%?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class FailLimit:
    """One limit.

    Attributes:
        key: what it is on.
        most: how much worse B may be: a share of A's figure where `relative`, else in ms, frames per second, MiB, or
            points from 0 to 1.
        relative: see `most`.
        text: as the user wrote it.
    """

    key: LimitKey
    most: float
    relative: bool
    text: str


def parse_limits(text: str) -> tuple[FailLimit, ...]:
    """Read the option.

    Raises:
        RkdeployError: an unknown key, no number, or a key twice.
    """
    keys: tuple[LimitKey, ...] = get_args(LimitKey)
    limits: list[FailLimit] = []
    for part in text.split(","):
        key, _, amount = (piece.strip() for piece in part.partition("="))
        known = next((one for one in keys if one == key), None)
        if known is None:
            raise RkdeployError(
                f"--fail-on names {shown(key)}, expected one of {', '.join(keys)}.", "Such as latency=5%,map=0.01."
            )
        found = _NUMBER.fullmatch(amount)
        if found is None:
            raise RkdeployError(
                f"--fail-on {key} is {shown(amount)}, expected a number or a percentage.", f"Such as {key}=5%."
            )
        if any(limit.key == key for limit in limits):
            raise RkdeployError(f"--fail-on names {key} twice.")
        relative = bool(found[2])
        limits.append(FailLimit(known, float(found[1]) / (100 if relative else 1), relative, f"{key}={amount}"))
    return tuple(limits)


def require_limits(comparison: ReportDiff, limits: Sequence[FailLimit]) -> None:
    """Refuse a B that is worse than a limit allows.

    A figure that was measured must also be worse beyond its noise, and a prediction by another type's formula beyond
    its interval; the others are the same in every run.

    Raises:
        RkdeployError: with every limit that B is over, or that cannot be judged.
    """
    lines = [line for limit in limits for line in _broken(comparison, limit)]
    if lines:
        raise RkdeployError("\n".join(lines))


def _broken(comparison: ReportDiff, limit: FailLimit) -> list[str]:
    concerned = [one for one in comparison.changes if one.limit_key == limit.key]
    judged = [one for one in concerned if one.judgment != "not_comparable"]
    if not judged:
        why = "the two are not comparable" if concerned else "a side has no such figure"
        return [f"--fail-on {limit.text} cannot be judged: {why}."]
    return [line for one in judged if (line := _line(one, limit))]


def _line(change: Change, limit: FailLimit) -> str:
    """The violation of the limit; empty if there is none."""
    unit, size = _UNITS[limit.key]
    before, after = change.before, change.after
    assert before is not None
    assert after is not None
    worse = before - after if change.higher_is_better else after - before
    allowed = limit.most * abs(before) if limit.relative else limit.most * size
    if worse <= allowed or (change.noise_from in {"frames", "intervals"} and change.judgment != "worse"):
        return ""
    share = f" ({worse / abs(before):+.1%})" if before else ""
    name = " ".join((change.key, *change.values.values()))
    figures = f"{before / size:.4g} to {after / size:.4g} {unit}".strip()
    return f"{name} got worse, from {figures}{share}; --fail-on {limit.text} allows less."

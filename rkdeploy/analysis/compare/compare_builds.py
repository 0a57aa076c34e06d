"""The comparison: ordinary builds, and what is known of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence

from rkdeploy.analysis.compare.build_series import build_series
from rkdeploy.analysis.compare.compare_events import CompareEvents
from rkdeploy.analysis.compare.comparison import BuildComparison, Row
from rkdeploy.analysis.compare.parallel_builds import build_in_processes
from rkdeploy.analysis.compare.preparation import Prepared, prepare
from rkdeploy.analysis.compare.recommendation import advice, pareto_front
from rkdeploy.analysis.compare.variants import CompareOptions, Variant, build_options
from rkdeploy.errors import RkdeployError

_ANY_SIZE = ((32, 32),)


def compare(options: CompareOptions, events: CompareEvents) -> BuildComparison:
    """Build all, or find them built.

    Raises:
        RkdeployError: when the file, the images or the toolkit are unusable, or not one build succeeded.
    """
    for variant in _variants(options, options.sizes or _ANY_SIZE):
        build_options(options, variant, measured=True)  # refuses what means nothing before the work begins
    prepared = prepare(options, events)
    wanted = _variants(options, tuple(prepared.sizes))
    found: dict[Variant, Row] = {}

    def begin(variant: Variant) -> None:
        events.begin(variant, len(found), len(wanted))

    # closed whatever happens: processes end when it is
    with contextlib.closing(_rows(options, prepared, _groups(options, wanted), begin, events)) as done:
        for row in done:
            found[row.variant] = row
            events.done(row)
    rows = tuple(found[variant] for variant in wanted)
    _require_one(rows)
    return BuildComparison(
        model=options.build.model.name,
        toolkit=prepared.toolkit,
        min_agreement=options.min_agreement,
        rows=rows,
        front=pareto_front(rows),
        advice=advice(rows, options.min_agreement),
    )


def _rows(
    options: CompareOptions,
    prepared: Prepared,
    groups: Sequence[Sequence[Variant]],
    begin: Callable[[Variant], None],
    events: CompareEvents,
) -> Generator[Row, None, None]:
    """All rows, as they are done."""
    if options.workers > 1 and len(groups) > 1:
        yield from build_in_processes(options, prepared, groups, begin, events)
        return
    for group in groups:
        yield from build_series(options, prepared, group, begin, events)


def _groups(options: CompareOptions, wanted: Sequence[Variant]) -> list[list[Variant]]:
    """Series of builds of one type and size.

    Several processes may share one group if nothing is measured on labeled images: then no build waits for
    another's.
    """
    if options.workers > 1 and options.build.gate is None:
        return [[variant] for variant in wanted]
    groups: dict[tuple[object, ...], list[Variant]] = {}
    for variant in wanted:
        groups.setdefault((variant.dtype, variant.input_hw), []).append(variant)
    return list(groups.values())


def _variants(options: CompareOptions, sizes: Sequence[tuple[int, int]]) -> list[Variant]:
    """In the order of a table: by target, type, size."""
    every = (Variant(target, dtype, hw) for target in options.targets for dtype in options.dtypes for hw in sizes)
    return list(dict.fromkeys(every))


def _require_one(rows: Sequence[Row]) -> None:
    """Refuse a comparison of nothing.

    Raises:
        RkdeployError: when no build succeeded; with the reason, if it is one.
    """
    if any(row.figures is not None for row in rows):
        return
    reasons = {(row.reason, row.hint) for row in rows}
    reason, hint = next(iter(reasons))
    if len(reasons) == 1:
        raise RkdeployError(reason, hint)
    raise RkdeployError(f"Not one of the {len(rows)} builds succeeded; the reasons are above.")

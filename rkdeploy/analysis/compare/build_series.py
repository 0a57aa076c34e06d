"""Builds of one type and size for several chips, one after the other.

They are simulated on the held-out images each.  Where that gives the same to the last digit, accuracy on labeled
images is measured on the first of them only: rknn-toolkit2 2.5.0 simulates all chips alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rkdeploy.analysis.compare.build_figures import figures_of, labeled_accuracy, simulates_alike
from rkdeploy.analysis.compare.comparison import LabeledAccuracy, Row
from rkdeploy.analysis.compare.earlier_bundles import earlier_bundle
from rkdeploy.analysis.compare.preparation import Prepared
from rkdeploy.analysis.compare.variants import CompareOptions, Variant, build_options
from rkdeploy.contract.bundle import Bundle
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_stages import build


@dataclass(frozen=True, slots=True)
class _Done:
    """A build that is there."""

    variant: Variant
    bundle: Bundle
    kept: bool


def build_series(
    options: CompareOptions,
    prepared: Prepared,
    series: Sequence[Variant],
    begin: Callable[[Variant], None],
    events: BuildEvents,
) -> Iterator[Row]:
    """Build a series and yield a row for each build as it is done; a failure is also a row.

    Args:
        options: of the comparison.
        prepared: inputs shared by all builds.
        series: of one type and size.
        begin: called with the build that begins.
        events: of the builds.
    """
    leader: _Done | None = None
    for variant in series:
        begin(variant)
        try:
            done, accuracy = _one(options, prepared, variant, leader, events)
            figures = figures_of(done.bundle, accuracy)
        except RkdeployError as error:
            yield Row(variant, "failed", reason=error.message, hint=error.hint)
        else:
            leader = leader or done
            yield Row(variant, "kept" if done.kept else "built", done.bundle.folder, figures)


def _one(
    options: CompareOptions, prepared: Prepared, variant: Variant, leader: _Done | None, events: BuildEvents
) -> tuple[_Done, LabeledAccuracy | None]:
    """One build, and its accuracy where that is wanted.

    Args:
        options: of the comparison.
        prepared: what all share.
        variant: which build.
        leader: a build of the same type and size for another chip.
        events: of the build.

    Raises:
        RkdeployError: why it failed.
    """
    for failure in (prepared.sizes[variant.input_hw], prepared.images[variant.dtype]):
        if isinstance(failure, RkdeployError):
            raise failure
    if options.build.gate is None:
        return _obtained(options, prepared, variant, events, measured_here=False), None
    done = _kept(options, prepared, variant, measured_here=True)
    if done is None and leader is not None and leader.bundle.record.accuracy is not None:
        alike = _obtained(options, prepared, variant, events, measured_here=False)
        if simulates_alike(leader.bundle, alike.bundle):
            return alike, labeled_accuracy(leader.bundle.record.accuracy, leader.variant)
    if done is None:
        done = _obtained(options, prepared, variant, events, measured_here=True)
    report = done.bundle.record.accuracy
    return done, labeled_accuracy(report) if report is not None else None


def _obtained(
    options: CompareOptions, prepared: Prepared, variant: Variant, events: BuildEvents, *, measured_here: bool
) -> _Done:
    """A bundle that is there already, else a new one."""
    kept = _kept(options, prepared, variant, measured_here=measured_here)
    if kept is not None:
        return kept
    return _Done(variant, build(build_options(options, variant, measured=measured_here), events), kept=False)


def _kept(options: CompareOptions, prepared: Prepared, variant: Variant, *, measured_here: bool) -> _Done | None:
    """A bundle of the very same build."""
    images = prepared.images[variant.dtype]
    assert not isinstance(images, RkdeployError)
    asked = build_options(options, variant, measured=measured_here)
    found = earlier_bundle(asked, images, prepared.labeled if measured_here else None, prepared.toolkit)
    return _Done(variant, found, kept=True) if found is not None else None

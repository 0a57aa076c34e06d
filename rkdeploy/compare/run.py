"""The comparison: ordinary builds, one after the other, and what is known of each.

Builds of one type and size for several chips are simulated on the held-back images each.  Where that gives the same to
the last digit, accuracy on labelled images is measured on the first of them only: rknn-toolkit2 2.5.0 simulates all
chips alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rkdeploy.building.accuracy_gate import open_gate
from rkdeploy.building.network import Network
from rkdeploy.building.open_network import open_network
from rkdeploy.building.pipeline import build, choose_images
from rkdeploy.building.request import ChosenImages
from rkdeploy.bundle import Bundle
from rkdeploy.compare.choice import advice, pareto_front
from rkdeploy.compare.comparison import Comparison, Measured, Row
from rkdeploy.compare.events import CompareEvents
from rkdeploy.compare.figures import figures_of, measured, simulates_alike
from rkdeploy.compare.kept import kept_bundle
from rkdeploy.compare.variants import CompareOptions, Variant, build_options
from rkdeploy.errors import RkdeployError
from rkdeploy.evaluate.truth import LabelledSet
from rkdeploy.graph.cut import CutOptions, cut
from rkdeploy.quantize.toolkit import Toolkit

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What all builds share, found before the first of them.

    Attributes:
        sizes: (height, width) each that the network can have, or why it cannot.
        images: by type, or why there are none.
        labelled: the images to measure on, None without.
        toolkit: version of rknn-toolkit2.
    """

    sizes: dict[tuple[int, int], RkdeployError | None]
    images: dict[str, ChosenImages | RkdeployError]
    labelled: LabelledSet | None
    toolkit: str


@dataclass(frozen=True, slots=True)
class _Done:
    """A build that is there."""

    variant: Variant
    bundle: Bundle
    kept: bool


def compare(options: CompareOptions, events: CompareEvents) -> Comparison:
    """Build all, or find them built.

    Raises:
        RkdeployError: when the file, the images or the toolkit are unusable, or not one build succeeded.
    """
    for variant in _variants(options, options.sizes or ((32, 32),)):
        build_options(options, variant, measured=True)  # refuses what means nothing before the work begins
    prepared = _prepare(options, events)
    wanted = _variants(options, tuple(prepared.sizes))
    found: dict[Variant, Row] = {}
    groups: dict[tuple[object, ...], list[Variant]] = {}
    for variant in wanted:
        groups.setdefault((variant.dtype, variant.input_hw), []).append(variant)
    for group in groups.values():
        leader: _Done | None = None
        for variant in group:
            events.begin(variant, len(found) + 1, len(wanted))
            try:
                done, accuracy = _one(options, prepared, variant, leader, events)
                row = Row(
                    variant, "kept" if done.kept else "built", done.bundle.folder, figures_of(done.bundle, accuracy)
                )
                leader = leader or done
            except RkdeployError as error:
                row = Row(variant, "failed", reason=error.message, hint=error.hint)
            found[variant] = row
            events.done(row)
    rows = tuple(found[variant] for variant in wanted)
    _require_one(rows)
    return Comparison(
        model=options.model.name,
        toolkit=prepared.toolkit,
        min_agreement=options.min_agreement,
        rows=rows,
        front=pareto_front(rows),
        advice=advice(rows, options.min_agreement),
    )


def _variants(options: CompareOptions, sizes: Sequence[tuple[int, int]]) -> list[Variant]:
    """In the order of a table: by target, type, size."""
    every = (Variant(target, dtype, hw) for target in options.targets for dtype in options.dtypes for hw in sizes)
    return list(dict.fromkeys(every))


def _prepare(options: CompareOptions, events: CompareEvents) -> _Prepared:
    """Look at everything that can be wrong for all builds alike: it is one message then, and not one a build."""
    events.stage(f"Reading {options.model.name}")
    networks: dict[tuple[int, int], Network | RkdeployError] = {}
    if options.sizes:
        for hw in options.sizes:
            networks[hw] = _opened(options, hw)
    else:
        network = open_network(options.model, options.weights, None, cfg=options.cfg)
        networks[network.input_hw] = network
    network = _first(networks.values())
    events.stage("Choosing images")
    images: dict[str, ChosenImages | RkdeployError] = {
        dtype: _images(options, Variant(options.targets[0], dtype, network.input_hw)) for dtype in options.dtypes
    }
    _first(images.values())
    labelled = None
    if options.gate is not None:
        spec = network.contract(cut(network.simplified, network.head, CutOptions())[1])
        labelled = open_gate(options.gate, spec)
    events.stage("Starting rknn-toolkit2")
    with (
        tempfile.TemporaryDirectory(prefix="rkdeploy-compare-") as folder,
        Toolkit(log=Path(folder) / "toolkit.log", python=options.toolkit_python) as toolkit,
    ):
        version = toolkit.version
    sizes = {hw: found if isinstance(found, RkdeployError) else None for hw, found in networks.items()}
    return _Prepared(sizes, images, labelled, version)


def _opened(options: CompareOptions, hw: tuple[int, int]) -> Network | RkdeployError:
    try:
        return open_network(options.model, options.weights, hw, cfg=options.cfg)
    except RkdeployError as error:
        return error


def _images(options: CompareOptions, variant: Variant) -> ChosenImages | RkdeployError:
    try:
        return choose_images(build_options(options, variant, measured=False), lambda _: None)
    except RkdeployError as error:
        return error


def _first(found: Iterable[_Found | RkdeployError]) -> _Found:
    """The first that is no failure.

    Raises:
        RkdeployError: the first failure, when there is nothing else.
    """
    failures = []
    for one in found:
        if not isinstance(one, RkdeployError):
            return one
        failures.append(one)
    raise failures[0]


def _one(
    options: CompareOptions, prepared: _Prepared, variant: Variant, leader: _Done | None, events: CompareEvents
) -> tuple[_Done, Measured | None]:
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
    if options.gate is None:
        return _obtained(options, prepared, variant, events, measured_here=False), None
    done = _kept(options, prepared, variant, measured_here=True)
    if done is None and leader is not None and leader.bundle.record.accuracy is not None:
        alike = _obtained(options, prepared, variant, events, measured_here=False)
        if simulates_alike(leader.bundle, alike.bundle):
            return alike, measured(leader.bundle.record.accuracy, leader.variant)
    if done is None:
        done = _obtained(options, prepared, variant, events, measured_here=True)
    report = done.bundle.record.accuracy
    return done, measured(report) if report is not None else None


def _obtained(
    options: CompareOptions, prepared: _Prepared, variant: Variant, events: CompareEvents, *, measured_here: bool
) -> _Done:
    """A bundle that is there already, else a new one."""
    kept = _kept(options, prepared, variant, measured_here=measured_here)
    if kept is not None:
        return kept
    return _Done(variant, build(build_options(options, variant, measured=measured_here), events), kept=False)


def _kept(options: CompareOptions, prepared: _Prepared, variant: Variant, *, measured_here: bool) -> _Done | None:
    """A bundle of the very same build."""
    images = prepared.images[variant.dtype]
    assert not isinstance(images, RkdeployError)
    asked = build_options(options, variant, measured=measured_here)
    found = kept_bundle(asked, images, prepared.labelled if measured_here else None, prepared.toolkit)
    return _Done(variant, found, kept=True) if found is not None else None


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

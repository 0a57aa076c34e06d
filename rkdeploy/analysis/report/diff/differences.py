"""Versions and options that differ: what may be the reason for the changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from rkdeploy.analysis.page.content import ABSENT
from rkdeploy.analysis.report.diff.diff_document import Difference
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.device.profiling.profile_document import Profile


def differences_of(a: ModelReport, b: ModelReport) -> Iterator[Difference]:
    """Versions and options that differ, without the time of the build, which always does.

    Facts that only one side can have (a bundle has no board, a profile no build) are not differences.
    """
    for before, after in zip(_groups(a), _groups(b), strict=True):
        if before is None or after is None:
            continue
        for key in dict.fromkeys((*before, *after)):
            one, other = before.get(key, ABSENT), after.get(key, ABSENT)
            if one != other:
                yield Difference(key, one, other)


def _groups(model: ModelReport) -> tuple[dict[str, str] | None, ...]:
    """The facts of the model, its contract, its build and its first run; None for those that it does not have."""
    height, width = model.input_hw
    whole = {"target": model.target, "dtype": model.dtype, "input": f"{width}x{height}"}
    sha256 = {"rknn": f"{model.model_sha256[:12]}…"} if model.model_sha256 else None
    return (
        whole,
        sha256,
        dict(_contract(model)) if model.contract is not None else None,
        dict(_build(model)) if model.build is not None else None,
        dict(_run(model.profiles[0])) if model.profiles else None,
    )


def _contract(model: ModelReport) -> Iterator[tuple[str, str]]:
    contract = model.contract
    assert contract is not None
    yield "task", f"{contract.family} {contract.task}"
    yield "classes", ", ".join(contract.class_names)
    yield "outputs", ", ".join(f"{o.name} {o.role} {'x'.join(map(str, o.shape))}" for o in contract.outputs)
    if model.anchors is not None:
        yield "anchors", " ".join(f"{w:g},{h:g}" for level in model.anchors.levels for w, h in level.own_px)


def _run(run: Profile) -> Iterator[tuple[str, str]]:
    versions = run.versions
    facts = {
        "backend": run.backend,
        "board": versions.board,
        "soc": versions.soc,
        "runtime": versions.runtime,
        "driver": versions.driver,
        "kernel": versions.kernel,
        "frames": run.frames.source,
        "frame_size": f"{run.frames.width}x{run.frames.height}",
    }
    for clock in run.conditions.clocks:
        facts[f"governor {clock.name}"] = clock.governor
        facts[f"clock {clock.name}"] = f"{clock.median_hz / 1e6:.0f} MHz" if clock.median_hz else None
    yield from ((key, value) for key, value in facts.items() if value)


def _build(model: ModelReport) -> Iterator[tuple[str, str]]:
    build = model.build
    assert build is not None
    source, toolkit, calibration = build.source, build.toolkit, build.calibration
    yield "source", f"{source.file} {source.sha256[:12]}…"
    if source.parameters:
        yield "parameters", f"{source.parameters:,}"
    yield "rkdeploy", build.rkdeploy_version
    yield "toolkit", f"{toolkit.name} {toolkit.version}"
    yield "algorithm", toolkit.algorithm or ABSENT
    yield "method", toolkit.method or ABSENT
    yield "optimization_level", str(toolkit.optimization_level)
    yield "disabled_rules", ", ".join(toolkit.disabled_rules) or ABSENT
    yield "float16", ", ".join(toolkit.float16) if toolkit.float16 else ABSENT
    correction = toolkit.bias_correction
    yield "bias_correction", str(correction.layers) if correction is not None and correction.accepted else ABSENT
    if calibration is not None:
        digest = hashlib.sha256("".join(one.sha256 for one in calibration.images).encode()).hexdigest()[:12]
        yield "calibration", f"{len(calibration.images)} ({calibration.source}, seed {calibration.seed}, {digest}…)"
    yield from ((f"package {name}", version) for name, version in build.host.items())

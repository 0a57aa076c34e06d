"""Two models' reports to a comparison.  Measured and predicted figures are never judged against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import hypot
from operator import attrgetter
from pathlib import Path
from typing import Final

from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.analysis.origin import Origin, origin_of
from rkdeploy.analysis.report.diff.accuracy_changes import accuracy_changes, agreement_changes
from rkdeploy.analysis.report.diff.diff_document import Change, LayerChange, ReportDiff, Unit
from rkdeploy.analysis.report.diff.differences import differences_of
from rkdeploy.analysis.report.diff.judge import Figure, FigureKind, Noise, judged, one_sided
from rkdeploy.analysis.report.diff.noise import median_noise, rate_noise
from rkdeploy.analysis.report.gather import gather
from rkdeploy.analysis.report.model_report import LayerRow, LayerTable, ModelReport
from rkdeploy.device.profiling.profile_document import Profile
from rkdeploy.errors import RkdeployError

_PREDICTED_TIME: Final = FigureKind("time", "time.predicted", "ms", limit_key="latency")
_PREDICTED_RATE: Final = FigureKind("time", "time.predicted_rate", "fps", higher_is_better=True, limit_key="fps")
_PREDICTED_APART: Final = FigureKind("time", "time.predicted_apart", "ms", limit_key="latency")
_RATE: Final = FigureKind("time", "time.rate", "fps", higher_is_better=True, limit_key="fps")
_UNLIKE_TIMES: Final = FigureKind("time", "time.unlike", "ms", limit_key="latency")
_WEIGHTS: Final = FigureKind("memory", "memory.weights", "bytes")
_INTERNAL: Final = FigureKind("memory", "memory.internal", "bytes")
_TOTAL: Final = FigureKind("memory", "memory.total", "bytes", limit_key="memory")
_FILE_SIZE: Final = FigureKind("memory", "memory.file", "bytes")
_LIMITED_STAGES: Final = frozenset({"network", "infer", "frame"})


@dataclass(frozen=True, slots=True)
class _MemoryFigures:
    """Memory of one side in bytes, and its origin."""

    weights: int
    internal: int
    total: int
    origin: Origin


def compare_paths(before: Path, after: Path) -> ReportDiff:
    """Compare what two paths hold: a bundle, a profile or a report each.

    Raises:
        RkdeployError: a path that cannot be read, or that holds several models.
    """
    return compare(_one(before), _one(after))


def _one(path: Path) -> ModelReport:
    found = gather([path], pictures=False).models
    if len(found) != 1:
        raise RkdeployError(
            f'"{path}" has {len(found)} models, expected one.', "Write a report of each model by itself."
        )
    return found[0]


def compare(a: ModelReport, b: ModelReport) -> ReportDiff:
    """Compare everything that both sides have, and list what one side has alone."""
    changes = (*_time(a, b), *_memory(a, b), *accuracy_changes(a, b), *agreement_changes(a, b))
    return ReportDiff(
        a.name,
        b.name,
        tuple(changes),
        tuple(_layers(a, b)),
        tuple(differences_of(a, b)),
        _no_time(a),
        _no_time(b),
        _rests_on(a),
        _rests_on(b),
    )


def _no_time(side: ModelReport) -> str:
    """Reason why there is no time, as the prediction said when it refused."""
    return "" if side.predicted is not None or side.profiles else side.not_predicted


def _rests_on(side: ModelReport) -> str:
    """Basis of a prediction of lower standing."""
    return side.predicted.rests_on if side.predicted is not None else ""


def _time(a: ModelReport, b: ModelReport) -> Iterator[Change]:
    yield from _predicted(a, b)
    kinds = dict.fromkeys(origin_of(run).kind for run in (*a.profiles, *b.profiles))
    for kind in kinds:
        first, second = (next((r for r in side.profiles if origin_of(r).kind == kind), None) for side in (a, b))
        if first is not None and second is not None:
            yield from _measured(first, second)
    yield from _unlike(a, b)
    yield from _planned(a, b)


def _predicted(a: ModelReport, b: ModelReport) -> Iterator[Change]:
    p, q = a.predicted, b.predicted
    if p is None or q is None:
        return
    if _standings_differ(a, b, p, q):
        yield from _predicted_apart(p, q)
        return
    # on one chip both predictions err alike; on two, each by itself
    error = max(p.median_error, q.median_error) if a.target == b.target else hypot(p.median_error, q.median_error)
    noise = Noise(error * max(p.time_ms, q.time_ms), "model")
    yield judged(_PREDICTED_TIME, _time_of(p), _time_of(q), noise)
    noise = Noise(error * max(p.frames_per_second, q.frames_per_second), "model")
    yield judged(_PREDICTED_RATE, _rate_of(p), _rate_of(q), noise)


def _time_of(prediction: Prediction) -> Figure:
    return Figure(prediction.time_ms, origin_of(prediction))


def _rate_of(prediction: Prediction) -> Figure:
    return Figure(prediction.frames_per_second, origin_of(prediction))


def _standings_differ(a: ModelReport, b: ModelReport, p: Prediction, q: Prediction) -> bool:
    """True if the two do not err alike: one is by another type's formula, or both are and on two chips."""
    return (p.coverage is None) != (q.coverage is None) or (p.coverage is None and a.target != b.target)


def _predicted_apart(p: Prediction, q: Prediction) -> Iterator[Change]:
    """Judged where the two intervals do not overlap."""
    first, last = sorted((p, q), key=lambda one: one.time_ms)
    noise = first.high_ms - first.time_ms + last.time_ms - last.low_ms
    intervals = {name: f"{one.low_ms:.2f}-{one.high_ms:.2f}" for name, one in (("a", p), ("b", q))}
    yield judged(_PREDICTED_APART, _time_of(p), _time_of(q), Noise(noise, "intervals"), intervals)
    rates = [1000 / max(ms, 1e-9) for ms in (first.time_ms, first.high_ms, last.low_ms, last.time_ms)]
    rate_noise = rates[0] - rates[1] + rates[2] - rates[3]
    yield judged(_PREDICTED_RATE, _rate_of(p), _rate_of(q), Noise(rate_noise, "intervals"))


def _measured(a: Profile, b: Profile) -> Iterator[Change]:
    pairs = [("network", a.stages.npu or a.stages.infer, b.stages.npu or b.stages.infer)]
    if (a.stages.npu is None) != (b.stages.npu is None):  # one runtime tells the network's own time, the other not
        pairs = [("infer", a.stages.infer, b.stages.infer)]
    pairs += [
        ("preprocess", a.stages.preprocess, b.stages.preprocess),
        ("decode", a.stages.decode, b.stages.decode),
        ("frame", a.stages.total, b.stages.total),
    ]
    first, second = origin_of(a), origin_of(b)
    for name, one, other in pairs:
        kind = FigureKind("time", f"time.{name}", "ms", limit_key="latency" if name in _LIMITED_STAGES else None)
        noise = Noise(median_noise(one, other), "frames")
        yield judged(kind, Figure(one.p50_ms, first), Figure(other.p50_ms, second), noise)
    for rate in a.throughput:
        same = next((two for two in b.throughput if two.contexts == rate.contexts), None)
        if same is not None:
            amount = rate_noise(
                rate.frames_per_second, same.frames_per_second, rate.infer, same.infer, (rate.frames, same.frames)
            )
            before, after = Figure(rate.frames_per_second, first), Figure(same.frames_per_second, second)
            yield judged(_RATE, before, after, Noise(amount, "frames"), {"contexts": str(rate.contexts)})


def _unlike(a: ModelReport, b: ModelReport) -> Iterator[Change]:
    """Times that only one side has, or that are of different kinds: shown, never judged."""
    times = [_best_time(side) for side in (a, b)]
    both_alike = (a.predicted is not None and b.predicted is not None) or bool(
        {origin_of(run).kind for run in a.profiles} & {origin_of(run).kind for run in b.profiles}
    )
    if both_alike or times == [None, None]:
        return
    before, after = (one or Figure(None) for one in times)
    yield one_sided(_UNLIKE_TIMES, before, after)


def _best_time(side: ModelReport) -> Figure | None:
    """The network's time that says most: a board's, else predicted, else whatever ran."""
    runs = sorted(side.profiles, key=lambda run: origin_of(run).kind != "measured")
    if side.predicted is not None and (not runs or origin_of(runs[0]).kind != "measured"):
        return _time_of(side.predicted)
    if not runs:
        return None
    return Figure((runs[0].stages.npu or runs[0].stages.infer).p50_ms, origin_of(runs[0]))


def _planned(a: ModelReport, b: ModelReport) -> Iterator[Change]:
    """Counts of the compiler: the only figures of time that any two builds share."""
    first, second = _plan(a), _plan(b)
    if first is None or second is None:
        return
    units: tuple[tuple[str, Unit], ...] = (("cycles", "cycles"), ("traffic_bytes", "bytes"))
    for key, unit in units:
        sums = [float(sum(getattr(row, key) or 0 for row in table.rows)) for table in (first, second)]
        origins = [a.memory.origin if a.memory else first.origin, b.memory.origin if b.memory else second.origin]
        before, after = (Figure(value, origin) for value, origin in zip(sums, origins, strict=True))
        yield judged(FigureKind("time", f"time.{key}", unit), before, after)


def _plan(side: ModelReport) -> LayerTable | None:
    return next((table for table in side.layers if table.origin.kind == "predicted"), None)


def _memory(a: ModelReport, b: ModelReport) -> Iterator[Change]:
    if a.memory is not None and b.memory is not None:
        first, second = (
            _MemoryFigures(one.weight_bytes, one.internal_bytes, one.total_bytes, one.origin)
            for one in (a.memory, b.memory)
        )
        yield from _memory_changes(first, second)
    for run in a.profiles:
        same = next((two for two in b.profiles if origin_of(two).kind == origin_of(run).kind and two.npu_memory), None)
        if run.npu_memory is None or same is None or same.npu_memory is None:
            continue
        first, second = (
            _MemoryFigures(m.weights, m.internal, m.weights + m.internal, origin_of(one))
            for one, m in ((run, run.npu_memory), (same, same.npu_memory))
        )
        yield from _memory_changes(first, second)
    if a.rknn_bytes is not None and b.rknn_bytes is not None:
        yield judged(_FILE_SIZE, Figure(a.rknn_bytes), Figure(b.rknn_bytes))


def _memory_changes(a: _MemoryFigures, b: _MemoryFigures) -> Iterator[Change]:
    for kind, before, after in (
        (_WEIGHTS, a.weights, b.weights),
        (_INTERNAL, a.internal, b.internal),
        (_TOTAL, a.total, b.total),
    ):
        yield judged(kind, Figure(before, a.origin), Figure(after, b.origin))


def _layers(a: ModelReport, b: ModelReport) -> Iterator[LayerChange]:
    """Layers that differ, by name; those of one side only after the others."""
    pair = _like_tables(a.layers, b.layers)
    if pair is None:
        return
    first, second = pair
    others = {row.name: row for row in second.rows if row.name}
    seen: set[str] = set()
    for row in first.rows:
        other = others.get(row.name) if row.name not in seen else None
        seen.add(row.name)
        if row.name and (other is None or _differs(row, other)):
            yield _layer_change(row, other)
    for row in second.rows:
        if row.name and row.name not in seen:
            yield _layer_change(None, row)


def _like_tables(a: Sequence[LayerTable], b: Sequence[LayerTable]) -> tuple[LayerTable, LayerTable] | None:
    """Two tables whose times are of one kind, a board's first."""
    for kind in ("measured", "predicted", "simulator", "host", "stand_in"):
        first, second = (next((t for t in tables if t.origin.kind == kind), None) for tables in (a, b))
        if first is not None and second is not None:
            return first, second
    return None


_compared = attrgetter("op", "dtype", "target", "time_ms", "cycles", "traffic_bytes", "weight_bytes")


def _differs(a: LayerRow, b: LayerRow) -> bool:
    return _compared(a) != _compared(b)


def _layer_change(a: LayerRow | None, b: LayerRow | None) -> LayerChange:
    named = a or b
    assert named is not None
    return LayerChange(
        name=named.name,
        before_op=f"{a.op} {a.dtype} {a.target}" if a else "",
        after_op=f"{b.op} {b.dtype} {b.target}" if b else "",
        before_ms=a.time_ms if a else None,
        after_ms=b.time_ms if b else None,
        before_cycles=a.cycles if a else None,
        after_cycles=b.cycles if b else None,
        before_traffic_bytes=a.traffic_bytes if a else None,
        after_traffic_bytes=b.traffic_bytes if b else None,
    )

"""Time of a frame, rates by contexts, and what the board was like meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.page.blocks import (
    ABSENT,
    TIMES,
    Block,
    Cell,
    Column,
    LegendEntry,
    Note,
    Plot,
    Section,
    Table,
    facts,
    figure,
    moment,
)
from rkdeploy.analysis.page.plots.bar_plots import Group, Part, Spread, grouped_bars, spreads, stacked_bar
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.device.profiling.profile import Profile

_MIB = 1 << 20


def speed_section(model: ModelReport, words: Words) -> Section:
    """What boards measured, the prediction, then what no board measured: no two of them stand in one table."""
    blocks: list[Block] = []
    measured = [index for index, run in enumerate(model.profiles) if origin_of(run).kind == "measured"]
    for index in measured:
        blocks += _run(model.profiles[index], words)
    if model.predicted is not None:
        blocks += _predicted(model, words)
    for index, run in enumerate(model.profiles):
        if index not in measured:
            blocks += _run(run, words)
    if model.predicted is None:
        if model.not_predicted:
            blocks.insert(0, Note(words("speed.no_prediction", reason=model.not_predicted)))
        elif not model.profiles:
            blocks.append(Note(words("speed.none"), "unknown"))
    return Section("speed", words("speed.title"), blocks)


def _predicted(model: ModelReport, words: Words) -> Iterator[Block]:
    found = model.predicted
    assert found is not None
    title = words("speed.predicted_plot")
    parts = [Part(words(f"limit.{name}"), time_ms, name) for name, time_ms in found.parts]
    known = found.coverage is not None
    coverage = f"{found.coverage:.0%}" if found.coverage is not None else ""
    rows = [
        (words("speed.network_ms"), f"{found.time_ms:.2f} ms"),
        (words("speed.interval", coverage=coverage).strip(), f"{found.low_ms:.2f}-{found.high_ms:.2f} ms"),
        (words("speed.rate"), f"{found.frames_per_second:.1f} fps"),
        *((words("speed.part", part=words(f"limit.{name}")), f"{time_ms:.2f} ms ({time_ms / found.time_ms:.0%})")
          for name, time_ms in found.parts),
        (words("speed.errors" if known else "speed.errors_published"),
         f"{found.median_error:.1%} / {found.worst_error:.0%}"),
        (words("speed.fitted_on"), found.fitted_on),
    ]  # fmt: skip
    yield facts(words("speed.predicted_caption"), words("common.what"), words("common.value"), rows, origin_of(found))
    yield Plot(
        title,
        stacked_bar(parts, found.low_ms, found.high_ms, "ms"),
        words("speed.predicted_desc"),
        [LegendEntry(p.kind, f"{p.label} {p.value:.2f} ms") for p in parts],
        origin_of(found),
        words("speed.predicted_note", coverage=coverage) if known else words("speed.predicted_note_int8"),
    )
    for note in found.notes:
        yield Note(note, "attention", quoted=True)


def _run(run: Profile, words: Words) -> Iterator[Block]:
    if origin_of(run).kind != "measured":
        yield Note(words(f"speed.not_a_board.{origin_of(run).kind}", by=origin_of(run).by), "attention")
    title = words("speed.stages_plot", frames=run.stages.total.count)
    stages = run.stages
    named = [("preprocess", stages.preprocess), ("infer", stages.infer)]
    named += [("npu", stages.npu)] if stages.npu is not None else []
    named += [("decode", stages.decode), ("total", stages.total)]
    rows = [
        [
            Cell(words(f"stage.{name}")), figure(one.p50_ms, ".2f"), figure(one.p90_ms, ".2f"),
            figure(one.p99_ms, ".2f"),
            Cell(f"{one.p50_ms / stages.total.p50_ms:.0%}" if stages.total.p50_ms > 0 else ABSENT),
        ]
        for name, one in named
    ]  # fmt: skip
    columns = (
        Column(words("speed.stage")), *(Column(f"{p} ms", "right") for p in ("p50", "p90", "p99")),
        Column(words("speed.of_frame"), "right"),
    )  # fmt: skip
    yield Table(words("speed.stages_caption", frames=stages.total.count), columns, rows, origin_of(run))
    spread = [Spread(words(f"stage.{name}"), one.p50_ms, one.p90_ms, one.p99_ms) for name, one in named]
    yield Plot(
        title,
        spreads(spread),
        words("speed.stages_desc"),
        (),
        origin_of(run),
        words("speed.stages_note"),
    )
    if run.throughput:
        yield from _throughput(run, words)
    if run.cores:
        cores = [
            [Cell(str(c.core), c.core), *(figure(v, ".2f") for v in (c.infer.p50_ms, c.infer.p90_ms, c.infer.p99_ms))]
            for c in run.cores
        ]
        columns = (Column(words("speed.core")), *(Column(f"{p} ms", "right") for p in ("p50", "p90", "p99")))
        yield Table(words("speed.cores_caption"), columns, cores, origin_of(run))


def _throughput(run: Profile, words: Words) -> Iterator[Block]:
    first = run.throughput[0]
    rows = [
        [
            Cell(str(one.contexts), one.contexts), Cell(" ".join(map(str, one.cores or ())) or ABSENT),
            figure(one.frames_per_second, ".1f"), _gain(one.frames_per_second, first.frames_per_second),
            figure(one.network_per_second, ".1f"), _gain(one.network_per_second, first.network_per_second),
            figure(one.infer.p50_ms, ".2f"), figure(one.cpu_ms_per_frame, ".1f"),
            Cell(" ".join(f"{p:.0f}" for p in one.npu_load_percent or ()) or ABSENT),
        ]
        for one in run.throughput
    ]  # fmt: skip
    columns = (
        Column(words("speed.contexts")), Column(words("speed.cores")),
        *(Column(words(f"speed.{t}"), "right")
          for t in ("pipeline", "gain", "network", "gain", "infer_ms", "cpu_ms", "load")),
    )  # fmt: skip
    yield Table(words("speed.throughput_caption"), columns, rows, origin_of(run))
    title = words("speed.throughput_plot")
    groups = [
        Group(words("speed.n_contexts", n=one.contexts), (one.frames_per_second, one.network_per_second))
        for one in run.throughput
    ]
    yield Plot(
        title,
        grouped_bars(groups, ("built", "third"), digits=1),
        words("speed.throughput_desc"),
        [LegendEntry("built", words("speed.pipeline")), LegendEntry("third", words("speed.network"))],
        origin_of(run),
    )


def _gain(rate: float, first: float) -> Cell:
    return Cell(f"{rate / first:.2f}{TIMES}", rate / first) if first > 0 else Cell(ABSENT)


def conditions_section(model: ModelReport, words: Words) -> Section | None:
    """What every measurement ran under, what it lacks, and what it advises."""
    blocks: list[Block] = []
    for run in model.profiles:
        blocks += _conditions(run, words)
    return Section("conditions", words("conditions.title"), blocks) if blocks else None


def _conditions(run: Profile, words: Words) -> Iterator[Block]:
    conditions, versions = run.conditions, run.versions
    busy = conditions.busy_before
    rows = [
        (words("conditions.backend"), f"{run.backend}, {origin_of(run).by}"),
        (words("conditions.board"), ", ".join(filter(None, (versions.board, versions.soc)))),
        (words("conditions.kernel"), versions.kernel or ""),
        (words("conditions.runtime"), versions.runtime or ""),
        (words("conditions.driver"), versions.driver or ""),
        (words("conditions.toolkit"), versions.toolkit or ""),
        (words("conditions.processors"), str(conditions.processors)),
        (words("conditions.busy"), "" if busy is None else f"{busy:.0%}"),
        (words("conditions.frames"), f"{run.frames.source}, {run.frames.width}x{run.frames.height}"),
        (words("conditions.created"), moment(run.created)),
        *((words("conditions.package", name=name), version) for name, version in versions.packages.items()),
    ]
    if run.process_memory is not None:
        memory = run.process_memory
        slope, error = memory.slope_bytes_per_1000_frames / 1024, memory.slope_error_bytes_per_1000_frames / 1024
        rows.append((words("conditions.resident"), f"{memory.last_bytes / _MIB:.1f} MiB"))
        rows.append((words("conditions.growth"), f"{slope:+,.0f} ± {error:,.0f} KiB"))
    yield facts(words("conditions.caption"), words("common.what"), words("common.value"), rows)
    if conditions.clocks:
        clocks = [
            [
                Cell(c.name),
                Cell(c.governor or ABSENT),
                *(_mhz(hz) for hz in (c.idle_hz, c.lowest_hz, c.median_hz, c.limit_hz, c.highest_hz)),
            ]
            for c in conditions.clocks
        ]
        titles: tuple[str, ...] = ("idle", "lowest", "median", "limit", "highest")
        columns = (
            Column(words("conditions.clock")), Column(words("conditions.governor")),
            *(Column(words(f"conditions.{t}"), "right") for t in titles),
        )  # fmt: skip
        yield Table(words("conditions.clocks_caption"), columns, clocks, origin_of(run))
    if conditions.temperatures:
        heat = [
            [Cell(t.name), *(figure(v, ".1f") for v in (t.first_celsius, t.hottest_celsius, t.throttles_at_celsius))]
            for t in conditions.temperatures
        ]
        titles = ("first", "hottest", "throttles")
        columns = (Column(words("conditions.sensor")), *(Column(words(f"conditions.{t}"), "right") for t in titles))
        yield Table(words("conditions.heat_caption"), columns, heat, origin_of(run))
    for name in conditions.throttled:
        yield Note(words("conditions.throttled", name=name), "bad")
    for advice in run.advice:
        text = f"{advice.message} {advice.fix}".strip()
        yield Note(text, "attention" if advice.level == "warning" else "plain", quoted=True)
    if run.missing:
        missing = [(one.figure, one.reason) for one in run.missing]
        yield facts(words("conditions.missing"), words("common.what"), words("conditions.why"), missing)


def _mhz(hz: int | None) -> Cell:
    return Cell(ABSENT) if hz is None else Cell(f"{hz / 1e6:.0f}", hz)

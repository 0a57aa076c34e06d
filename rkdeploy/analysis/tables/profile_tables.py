"""Measured times: stages of a frame, rates by contexts, layers, memory, and the state of the board."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

from rkdeploy.analysis.origin import Origin, origin_of
from rkdeploy.analysis.page.columns import ColumnOf, count_column, number_column, share_column, table_of, text_column
from rkdeploy.analysis.page.content import TIMES, Block, LegendEntry, Note, PageSection, Plot, Table, facts, moment
from rkdeploy.analysis.page.plots.bar_plots import Group, Spread, grouped_bars, spreads
from rkdeploy.analysis.page.plots.svg import Drawings
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.layer_rows import measured_table
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.analysis.tables.layer_time_tables import layer_table
from rkdeploy.analysis.tables.memory_tables import runtime_memory
from rkdeploy.analysis.tables.prediction_tables import prediction_blocks, prediction_plot
from rkdeploy.device.profiling.layer_table import OpShare
from rkdeploy.device.profiling.profile_document import (
    ClockProfile,
    CoreTiming,
    LayerProfile,
    Profile,
    Stages,
    TemperatureProfile,
    Throughput,
)
from rkdeploy.device.stream.statistics import Latency

_MIB = 1 << 20
_FLOAT_BACKENDS = frozenset({"onnxruntime", "opencv_dnn"})


def profile_blocks(profile: Profile, words: Words, slowest: int = 0) -> Iterator[Block]:
    """Everything in a profile.

    Args:
        profile: what was measured.
        words: of the language.
        slowest: rows of the layer table, slowest first; 0 for all layers in their order.
    """
    yield Note(words("profile.head", bundle=profile.bundle, by=words.origin(origin_of(profile))))
    yield from time_blocks(profile, words)
    if profile.layers is not None:
        yield from _layers(profile, profile.layers, slowest, words)
    if profile.npu_memory is not None:
        yield runtime_memory(profile.npu_memory, origin_of(profile), words)
    yield from condition_blocks(profile, words)


def speed_section(model: ModelReport, words: Words) -> PageSection:
    """Times of boards, the prediction, then times of other machines: no two of them are in one table."""
    blocks: list[Block] = []
    measured = [one for one in model.profiles if origin_of(one).kind == "measured"]
    for one in measured:
        blocks += time_blocks(one, words)
    if model.predicted is not None:
        blocks += [*prediction_blocks((model.predicted,), words), prediction_plot(model.predicted, words)]
    for one in model.profiles:
        if one not in measured:
            blocks += time_blocks(one, words)
    if model.predicted is None and model.not_predicted:
        blocks.insert(0, Note(words("speed.no_prediction", reason=model.not_predicted)))
    elif model.predicted is None and not model.profiles:
        blocks.append(Note(words("speed.none"), "unknown"))
    return PageSection("speed", words("speed.title"), blocks)


def conditions_section(model: ModelReport, words: Words) -> PageSection | None:
    """Conditions of every measurement, missing figures, and advice."""
    blocks = [block for one in model.profiles for block in condition_blocks(one, words)]
    return PageSection("conditions", words("conditions.title"), blocks) if blocks else None


def time_blocks(profile: Profile, words: Words) -> Iterator[Block]:
    """Stages of a frame, several contexts, each core."""
    origin = origin_of(profile)
    if origin.kind != "measured":
        yield Note(words(f"speed.not_a_board.{origin.kind}", by=origin.by), "attention")
    named = _named_stages(profile.stages)
    frames, whole_ms = profile.stages.total.count, profile.stages.total.p50_ms
    columns: list[ColumnOf[tuple[str, Latency]]] = [
        text_column(words("speed.stage"), lambda row: words(f"stage.{row[0]}")),
        number_column("p50 ms", lambda row: row[1].p50_ms, ".2f"),
        number_column("p90 ms", lambda row: row[1].p90_ms, ".2f"),
        number_column("p99 ms", lambda row: row[1].p99_ms, ".2f"),
        number_column(words("speed.of_frame"), lambda row: row[1].p50_ms / whole_ms if whole_ms > 0 else None, ".0%"),
    ]
    yield table_of(words("speed.stages_caption", frames=frames), columns, named, origin)
    drawn = [Spread(words(f"stage.{name}"), one.p50_ms, one.p90_ms, one.p99_ms) for name, one in named]
    yield Plot(
        words("speed.stages_plot", frames=frames),
        Drawings.of(partial(spreads, drawn)),
        words("speed.stages_desc"),
        (),
        origin,
        words("speed.stages_note"),
    )
    yield from _sums(profile.stages, words)
    if profile.throughput:
        yield _throughput(profile, words)
        yield _throughput_plot(profile, words)
    if profile.cores:
        yield _cores(profile, words)


def _named_stages(stages: Stages) -> list[tuple[str, Latency]]:
    network = [("npu", stages.npu)] if stages.npu is not None else []
    return [
        ("preprocess", stages.preprocess),
        ("infer", stages.infer),
        *network,
        ("decode", stages.decode),
        ("total", stages.total),
    ]


def _sums(stages: Stages, words: Words) -> Iterator[Block]:
    """Time outside of the network, and the rate."""
    total_ms = stages.total.p50_ms
    if stages.npu is not None:
        npu_ms = stages.npu.p50_ms
        yield Note(
            words(
                "speed.elsewhere",
                total=total_ms,
                network=npu_ms,
                rest=max(0.0, total_ms - npu_ms),
                preprocess=stages.preprocess.p50_ms,
                decode=stages.decode.p50_ms,
                copy=max(0.0, stages.infer.p50_ms - npu_ms),
            )
        )
    rate = 1000 / total_ms if total_ms > 0 else 0.0
    yield Note(
        words("speed.one_by_one", rate=rate, cpu=stages.cpu_ms_per_frame, detections=stages.detections_per_frame)
    )


def _throughput(profile: Profile, words: Words) -> Table:
    first = profile.throughput[0] if len(profile.throughput) > 1 else None
    columns: list[ColumnOf[Throughput]] = [
        text_column(words("speed.contexts"), lambda one: str(one.contexts)),
        text_column(words("speed.cores"), lambda one: " ".join(map(str, one.cores or ()))),
        number_column(words("speed.pipeline"), lambda one: one.frames_per_second, ".1f"),
        number_column(words("speed.gain"), lambda one: _gain(one, first, "frames_per_second"), ".2f", TIMES),
        number_column(words("speed.network"), lambda one: one.network_per_second, ".1f"),
        number_column(words("speed.gain"), lambda one: _gain(one, first, "network_per_second"), ".2f", TIMES),
        number_column(words("speed.infer_ms"), lambda one: one.infer.p50_ms, ".2f"),
        number_column(words("speed.cpu_ms"), lambda one: one.cpu_ms_per_frame, ".1f"),
        text_column(words("speed.load"), lambda one: " ".join(f"{p:.0f}" for p in one.npu_load_percent or ()), "right"),
    ]
    return table_of(words("speed.throughput_caption"), columns, profile.throughput, origin_of(profile))


def _gain(
    one: Throughput, first: Throughput | None, rate: Literal["frames_per_second", "network_per_second"]
) -> float | None:
    before: float = getattr(first, rate) if first is not None else 0.0
    return getattr(one, rate) / before if before > 0 else None


def _throughput_plot(profile: Profile, words: Words) -> Plot:
    groups = [
        Group(words("speed.n_contexts", n=one.contexts), (one.frames_per_second, one.network_per_second))
        for one in profile.throughput
    ]
    return Plot(
        words("speed.throughput_plot"),
        Drawings.of(lambda width: grouped_bars(groups, ("built", "third"), digits=1, width=width)),
        words("speed.throughput_desc"),
        [LegendEntry("built", words("speed.pipeline")), LegendEntry("third", words("speed.network"))],
        origin_of(profile),
    )


def _cores(profile: Profile, words: Words) -> Table:
    columns: list[ColumnOf[CoreTiming]] = [
        text_column(words("speed.core"), lambda one: str(one.core)),
        number_column("p50 ms", lambda one: one.infer.p50_ms, ".2f"),
        number_column("p90 ms", lambda one: one.infer.p90_ms, ".2f"),
        number_column("p99 ms", lambda one: one.infer.p99_ms, ".2f"),
    ]
    return table_of(words("speed.cores_caption"), columns, profile.cores, origin_of(profile))


def _layers(profile: Profile, layers: LayerProfile, slowest: int, words: Words) -> Iterator[Block]:
    origin = origin_of(profile)
    yield _ranking(layers, origin, words)
    table = measured_table(layers, origin, None, profile.versions.target)
    yield layer_table(table, words, slowest)
    yield Note(words("layers.slowed"))
    if layers.total_us is not None:
        yield Note(words("layers.sum", ms=layers.total_us / 1000, runs=layers.runs))
    if layers.rw_kib is not None:
        yield Note(words("layers.moved", mib=layers.rw_kib / 1024))


def _ranking(layers: LayerProfile, origin: Origin, words: Words) -> Table:
    """Operators by their time."""
    columns: list[ColumnOf[OpShare]] = [
        text_column(words("layers.op"), lambda one: one.op),
        text_column(words("layers.runs_on"), lambda one: one.target),
        count_column(words("layers.count"), lambda one: one.count),
        number_column(words("layers.us"), lambda one: one.time_us, ",.0f"),
        share_column(words("layers.share"), lambda one: one.share),
    ]
    return table_of(words("layers.ranking_caption"), columns, layers.ranking, Origin(origin.kind, layers.figures_from))


def condition_blocks(profile: Profile, words: Words) -> Iterator[Block]:
    """The machine, its clocks and temperatures, missing figures, and advice."""
    conditions, origin = profile.conditions, origin_of(profile)
    yield facts(words("conditions.caption"), words("common.what"), words("common.value"), _machine(profile, words))
    if conditions.clocks:
        clocks: list[ColumnOf[ClockProfile]] = [
            text_column(words("conditions.clock"), lambda one: one.name),
            text_column(words("conditions.governor"), lambda one: one.governor),
            number_column(words("conditions.idle"), lambda one: one.idle_hz, ".0f", factor=1e-6),
            number_column(words("conditions.lowest"), lambda one: one.lowest_hz, ".0f", factor=1e-6),
            number_column(words("conditions.median"), lambda one: one.median_hz, ".0f", factor=1e-6),
            number_column(words("conditions.limit"), lambda one: one.limit_hz, ".0f", factor=1e-6),
            number_column(words("conditions.highest"), lambda one: one.highest_hz, ".0f", factor=1e-6),
        ]
        yield table_of(words("conditions.clocks_caption"), clocks, conditions.clocks, origin)
    if conditions.temperatures:
        heat: list[ColumnOf[TemperatureProfile]] = [
            text_column(words("conditions.sensor"), lambda one: one.name),
            number_column(words("conditions.first"), lambda one: one.first_celsius, ".1f"),
            number_column(words("conditions.hottest"), lambda one: one.hottest_celsius, ".1f"),
            number_column(words("conditions.throttles"), lambda one: one.throttles_at_celsius, ".1f"),
        ]
        yield table_of(words("conditions.heat_caption"), heat, conditions.temperatures, origin)
    for name in conditions.throttled:
        yield Note(words("conditions.throttled", name=name), "bad")
    if profile.missing:
        missing = [(one.figure, one.reason) for one in profile.missing]
        yield facts(words("conditions.missing"), words("common.what"), words("conditions.why"), missing)
    for advice in profile.advice:
        text = f"{advice.message}\n{advice.fix}".strip()
        yield Note(text, "attention" if advice.level == "warning" else "plain", quoted=True)


def _machine(profile: Profile, words: Words) -> list[tuple[str, str]]:
    conditions, versions, frames = profile.conditions, profile.versions, profile.frames
    busy, load = conditions.busy_before, conditions.load_average
    size = f"{profile.input_width}x{profile.input_height}"
    rows = [
        (words("conditions.model"), f"{versions.target} {versions.dtype}, {size}"),
        (words("conditions.runs"), words("conditions.float") if profile.backend in _FLOAT_BACKENDS else ""),
        (words("conditions.toolkit"), versions.toolkit or ""),
        (words("conditions.backend"), f"{profile.backend}, {origin_of(profile).by}"),
        (words("conditions.board"), ", ".join(filter(None, (versions.board, versions.soc)))),
        (words("conditions.kernel"), versions.kernel or ""),
        (words("conditions.runtime"), versions.runtime or ""),
        (words("conditions.driver"), versions.driver or ""),
        (words("conditions.processors"), str(conditions.processors)),
        (words("conditions.busy"), "" if busy is None else f"{busy:.0%}"),
        (words("conditions.load"), "" if load is None else f"{load:.2f}"),
        (
            words("conditions.frames"),
            words("conditions.frames_of", source=frames.source, size=f"{frames.width}x{frames.height}", n=frames.count),
        ),
        (words("conditions.created"), moment(profile.created)),
        (words("environment.rkdeploy"), profile.rkdeploy_version),
        *((words("conditions.package", name=name), version) for name, version in versions.packages.items()),
    ]
    if profile.process_memory is not None:
        memory = profile.process_memory
        slope, error = memory.slope_bytes_per_1000_frames / 1024, memory.slope_error_bytes_per_1000_frames / 1024
        rows.append((words("conditions.resident"), f"{memory.last_bytes / _MIB:.1f} MiB"))
        rows.append((words("conditions.growth"), f"{slope:+,.0f} ± {error:,.0f} KiB"))
    return rows

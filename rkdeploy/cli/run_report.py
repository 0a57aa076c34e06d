"""Messages of `rkdeploy run`: during a run, and at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.cli.console import err, out, plain, print_warning
from rkdeploy.device.stream.track_json import named_counts
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rkdeploy.cli.detection_counter import DetectionCounter
    from rkdeploy.device.runtime.protocol import MemorySize
    from rkdeploy.device.stream.run_events import RunResult
    from rkdeploy.device.stream.statistics import PipelineStats, RecognizerStats, SourceStats
    from rkdeploy.device.tracking.stream_tracker import StreamCounts

_MIB = 1 << 20


def status_line(stats: PipelineStats) -> str:
    """The figures of this moment, in one line."""
    age = stats.stages.age
    parts = [
        f"{stats.processed} frames, {stats.frames_per_second:.1f} a second",
        f"age p50 {age.p50_ms:.0f} p99 {age.p99_ms:.0f} ms",
    ]
    counts = (("dropped", stats.dropped), ("failed", stats.failed), ("reconnects", stats.reconnects))
    parts += [f"{count} {name}" for name, count in counts if count]
    if stats.sources:
        rates = [source.frames_per_second for source in stats.sources]
        parts.append(f"{len(rates)} sources at {min(rates):.1f} to {max(rates):.1f}")
    if stats.contexts_working < stats.contexts:
        parts.append(f"{stats.contexts_working} of {stats.contexts} contexts")
    return ", ".join(parts)


def memory_line(sizes: Sequence[MemorySize]) -> str:
    """Memory of each context: its own, for tensors inside of the network, and the weights."""
    each = [f"{size.internal / _MIB:.1f}" for size in sizes]
    own = f"{each[0]} MiB each" if len(set(each)) == 1 else f"{', '.join(each)} MiB"
    return f"Memory of the contexts: {own}, and {sizes[0].weights / _MIB:.1f} MiB of weights"


def report_failed(stats: PipelineStats, *, live: bool) -> None:
    """Frames without a result: worth a warning in a stream, but files were to be answered one by one."""
    all_frames = many(stats.processed + stats.failed, "frame")
    text = f"{stats.failed} of {all_frames} failed in the runtime and have no result. The last: {stats.last_failure}"
    if not live or not stats.processed:
        raise BackendError(text)
    print_warning(text)


def summarize(
    counter: DetectionCounter,
    result: RunResult,
    class_names: Sequence[str],
    written: Mapping[str, str],
    *,
    to_stderr: bool,
) -> None:
    """Print what was found, how fast, and what was lost.

    Args:
        counter: what was found.
        result: of the whole run.
        class_names: of the contract.
        written: what was written -> where.
        to_stderr: stdout has something else.
    """
    target, stats = err if to_stderr else out, result.stats
    target.print(f"{many(stats.processed, 'frame')}: {plain(counter.in_words(stats.processed))}")
    if stats.processed:
        rate = stats.processed / stats.running_s if stats.running_s else 0.0
        target.print(
            f"{rate:.1f} frames per second over {stats.running_s:.1f} s, {many(stats.contexts, 'context')} "
            f"({plain(result.figures_from)})"
        )
        stages = stats.stages
        timed = (
            ("capture", stages.capture),
            ("preprocess", stages.preprocess),
            ("infer", stages.infer),
            ("decode", stages.decode),
            ("sinks", stages.sink),
            ("capture to sinks", stages.age),
        )
        listed = ", ".join(f"{name} {latency.p50_ms:.1f}/{latency.p99_ms:.1f}" for name, latency in timed)
        target.print(f"p50/p99 ms: {listed}")
    for one in stats.recognizers:
        target.print(plain(_recognizer_line(one, stats.processed)))
    for line in track_lines(result.tracked, class_names):
        target.print(plain(line))
    if stats.dropped:
        target.print(
            f"{stats.dropped} of {stats.captured} frames dropped: {stats.dropped_before_network} came faster than the "
            f"network, {stats.dropped_before_sinks} faster than drawing and writing."
        )
    for source in stats.sources:
        target.print(plain(_source_line(source, stats.running_s)))
    if stats.reconnects and not stats.sources:
        target.print(f"The source was connected again {many(stats.reconnects, 'time')}.")
    if stats.contexts_rebuilt:
        target.print(f"Contexts were opened again {many(stats.contexts_rebuilt, 'time')}.")
    if result.left_out:
        target.print(f"{len(result.left_out)} files could not be read and were left out.")
    for what, where in written.items():
        target.print(f"{what}: {plain(where)}")


def track_lines(tracked: Sequence[StreamCounts], class_names: Sequence[str]) -> list[str]:
    """Tracks, crossings and stays of each stream, a line for each; streams are named where there are several."""
    lines = []
    for stream in tracked:
        of = f" of {stream.source}" if len(tracked) > 1 else ""
        left_out = f"; boxes of a second class of an object left out: {stream.second_boxes}"
        lines.append(f"Tracks{of}: {_by_class(stream.tracks, class_names)}{left_out if stream.second_boxes else ''}")
        lines += [
            f"Line {line.name}{of}: in {_by_class(line.entered, class_names)}, out {_by_class(line.left, class_names)}"
            for line in stream.lines
        ]
        lines += [
            f"Zone {zone.name}{of}: {_by_class(zone.visits, class_names)}; stayed {zone.mean_s:.1f} s on average, "
            f"{zone.longest_s:.1f} s at most; inside at the end {_by_class(zone.inside, class_names)}"
            for zone in stream.zones
        ]
    return lines


def _by_class(counts: Mapping[int, int], class_names: Sequence[str]) -> str:
    """`3 bolt, 1 nut`; `0` for none."""
    named = named_counts(counts, class_names)
    return ", ".join(f"{count} {name}" for name, count in sorted(named.items(), key=lambda one: -one[1])) or "0"


def _source_line(source: SourceStats, running_s: float) -> str:
    """Rate, drops and reconnections of one of several live sources."""
    rate = source.processed / running_s if running_s else 0.0
    counts = (("dropped", source.dropped), ("failed", source.failed), ("reconnects", source.reconnects))
    parts = [f"{source.name}: {many(source.processed, 'frame')}, {rate:.1f} a second"]
    return ", ".join([*parts, *(f"{count} {name}" for name, count in counts if count)])


def _recognizer_line(stats: RecognizerStats, frames: int) -> str:
    """Count of the crops of a further model of a chain, and what one took."""
    parts = [f"Then {stats.name}: {many(stats.crops, 'crop')} ({stats.crops / max(1, frames):.1f} a frame)"]
    if stats.crops:
        stages = stats.stages
        timed = (("cut", stages.preprocess), ("infer", stages.infer), ("decode", stages.decode))
        listed = ", ".join(f"{name} {latency.p50_ms:.1f}/{latency.p99_ms:.1f}" for name, latency in timed)
        parts.append(f"p50/p99 ms: {listed}")
    if stats.failed:
        parts.append(f"{stats.failed} failed in the runtime and have no answer")
    if stats.left_out:
        parts.append(f"{stats.left_out} left out: beyond --max-crops, or nothing to cut out")
    if stats.contexts_rebuilt:
        parts.append(f"contexts opened again {many(stats.contexts_rebuilt, 'time')}")
    return "; ".join(parts)


def many(count: int, name: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{count} {name}{'' if count == 1 else 's'}"

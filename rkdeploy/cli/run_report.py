"""What `rkdeploy run` says of a run: while it goes on, and at its end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rkdeploy.cli.console import err, out, plain, print_warning
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.postprocess.detections import Detections
    from rkdeploy.runtime.protocol import Runtime
    from rkdeploy.stream.frames import Frame
    from rkdeploy.stream.pipeline import Pipeline
    from rkdeploy.stream.statistics import PipelineStats

_ON_THIS_PC = frozenset({"onnxruntime", "opencv_dnn", "simulator"})


class Tally:
    """Counts what was found, and prints a line a frame where nothing else is asked for."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.found: Counter[str] = Counter()
        self.prints = False
        self._class_names = tuple(class_names)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def write(self, frame: Frame, detections: Detections) -> None:
        """Count one frame."""
        counts = Counter(self._class_names[i] for i in detections.class_ids.tolist())
        self.found.update(counts)
        if self.prints:
            err.print(plain(f"{frame.source} [{frame.index}]: {_listed(counts)}"))


def status_line(stats: PipelineStats) -> str:
    """The figures of this moment, in one line."""
    age = stats.stages.age
    parts = [
        f"{stats.processed} frames, {stats.frames_per_second:.1f} a second",
        f"age p50 {age.p50_ms:.0f} p99 {age.p99_ms:.0f} ms",
    ]
    counts = (("dropped", stats.dropped), ("failed", stats.failed), ("reconnects", stats.reconnects))
    parts += [f"{count} {name}" for name, count in counts if count]
    if stats.contexts_working < stats.contexts:
        parts.append(f"{stats.contexts_working} of {stats.contexts} contexts")
    return ", ".join(parts)


def figures_source(pipeline: Pipeline, runtime: Runtime) -> str:
    """Where the figures come from, as a user reads it."""
    return f"{pipeline.figures_from}{', not an NPU' if runtime.name in _ON_THIS_PC else ''}"


def report_failed(stats: PipelineStats, *, live: bool) -> None:
    """Frames without a result: worth a warning in a stream, but files were to be answered one by one."""
    all_frames = many(stats.processed + stats.failed, "frame")
    text = f"{stats.failed} of {all_frames} failed in the runtime and have no result. The last: {stats.last_failure}"
    if not live:
        raise BackendError(text)
    print_warning(text)


def summarise(
    tally: Tally, stats: PipelineStats, figures_from: str, written: Mapping[str, str], skipped: Sequence[str], *,
    to_stderr: bool,
) -> None:  # fmt: skip
    """Print what was found, how fast, and what was lost.

    Args:
        tally: what was found.
        stats: of the whole run.
        figures_from: see `figures_source`.
        written: what was written -> where.
        skipped: files that could not be read.
        to_stderr: stdout has something else.
    """
    target = err if to_stderr else out
    target.print(f"{many(stats.processed, 'frame')}: {plain(_listed(tally.found))}")
    if stats.processed:
        rate = stats.processed / stats.running_s if stats.running_s else 0.0
        target.print(
            f"{rate:.1f} frames a second over {stats.running_s:.1f} s, {many(stats.contexts, 'context')} "
            f"({plain(figures_from)})"
        )
        stages = stats.stages
        timed = (
            ("capture", stages.capture), ("preprocess", stages.preprocess), ("infer", stages.infer),
            ("decode", stages.decode), ("sinks", stages.sink), ("capture to sinks", stages.age),
        )  # fmt: skip
        listed = ", ".join(f"{name} {latency.p50_ms:.1f}/{latency.p99_ms:.1f}" for name, latency in timed)
        target.print(f"p50/p99 ms: {listed}")
    if stats.dropped:
        target.print(
            f"{stats.dropped} of {stats.captured} frames dropped: {stats.dropped_before_network} came faster than the "
            f"network, {stats.dropped_before_sinks} faster than drawing and writing."
        )
    if stats.reconnects:
        target.print(f"The source was connected again {many(stats.reconnects, 'time')}.")
    if stats.contexts_rebuilt:
        target.print(f"Contexts were opened again {many(stats.contexts_rebuilt, 'time')}.")
    if skipped:
        target.print(f"{len(skipped)} files could not be read and were left out.")
    for what, where in written.items():
        target.print(f"{what}: {plain(where)}")


def _listed(found: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.most_common()) or "nothing"


def many(count: int, name: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{count} {name}{'' if count == 1 else 's'}"

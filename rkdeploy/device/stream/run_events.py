"""Callbacks of a run, and what they are given: the run under way, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rkdeploy.device.runtime.backend_names import NPU_BACKENDS
from rkdeploy.device.runtime.board_identity import read_board

if TYPE_CHECKING:
    from rkdeploy.device.runtime.protocol import Runtime
    from rkdeploy.device.stream.pipeline import Pipeline
    from rkdeploy.device.stream.sources.source import Source
    from rkdeploy.device.stream.statistics import PipelineStats
    from rkdeploy.device.tracking.stream_tracker import StreamCounts
    from rkdeploy.errors import SourceError

_ON_THIS_PC: Final = frozenset({"onnxruntime", "opencv_dnn", "simulator"})


class RunEvents:
    """Callbacks of a run; each does nothing unless overridden."""

    def warning(self, text: str) -> None:
        """Something that a user should know."""

    def left_out(self, error: SourceError) -> None:
        """A file that could not be read, and is left out."""

    def opened(self, source: Source, *, has_sinks: bool) -> None:
        """The source is open; `has_sinks` tells whether results go anywhere."""

    def view(self, url: str) -> None:
        """The page in the browser can be opened."""

    def started(self, run: Running) -> None:
        """The first frame is on its way."""

    def tick(self, run: Running) -> None:
        """Called ten times per second until the run ends."""

    def ends(self) -> bool:
        """Tell whether the run is to end now; what is under way is finished."""
        return False


@dataclass(frozen=True, slots=True)
class Running:
    """A run under way.

    Attributes:
        source: what it runs on.
        pipeline: what runs it.
        runtime: of its first context.
        video_writer: package and encoder of the videos that are written, for users; empty where none is.
    """

    source: Source
    pipeline: Pipeline
    runtime: Runtime
    video_writer: str = ""

    @property
    def on_npu(self) -> bool:
        """True if the network runs on a board's NPU: by an NPU's backend, on a Rockchip board."""
        return self.runtime.name in NPU_BACKENDS and read_board().soc is not None

    @property
    def figures_from(self) -> str:
        """Source of the figures, for users."""
        return f"{self.pipeline.figures_from}{', not an NPU' if self.runtime.name in _ON_THIS_PC else ''}"


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of a run.

    Attributes:
        source: description of the input.
        live: True for a camera or stream.
        stats: of the whole run.
        figures_from: source of its figures.
        left_out: messages on files that could not be read.
        failure: error that ended a live run; the results until then are written.
        tracked: tracks and counts of each stream; empty without tracking.
    """

    source: str
    live: bool
    stats: PipelineStats
    figures_from: str
    left_out: tuple[str, ...]
    failure: Exception | None
    tracked: tuple[StreamCounts, ...] = ()

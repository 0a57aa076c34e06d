"""The report as plain frozen data: what the JSON form holds and what the other forms are rendered from.

Sizes are bytes, times milliseconds, shares 0..1.  None is a figure that nobody gave.  Texts of ours are codes with
their values, put into words by `rkdeploy.analysis.page.texts`; texts of others (warnings, advice, notes) are as they
were written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rkdeploy.analysis.origin import Origin
from rkdeploy.analysis.page.blocks import Status
from rkdeploy.analysis.report.memory_map import TensorLife
from rkdeploy.contract.accuracy import MapFigures, ObjectFigures, RankingFigures
from rkdeploy.contract.record import Agreement, CalibrationRecord, SourceRecord, ToolkitRecord, Verification
from rkdeploy.contract.spec import HeadOutput, InputSpec, Task
from rkdeploy.device.profiling.figures import (
    Advice,
    BoardConditions,
    CoreTiming,
    InputFrames,
    Missing,
    ProcessMemory,
    Stages,
    Throughput,
    Versions,
)
from rkdeploy.device.runtime.protocol import MemorySize

REPORT_VERSION = 1
DOCUMENT: Literal["rkdeploy report"] = "rkdeploy report"

PartName = Literal["compute", "memory", "activation", "attention", "overhead"]
LimitName = Literal["", "compute", "memory", "activation", "attention"]
Question = Literal["right", "accurate", "fast", "big"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the summary.

    Attributes:
        question: what it answers: is the model read right, how accurate, how fast, how big is it?
        status: how good that is.
        code: name of the sentence.
        figure: the one figure to show large, as `texts` forms it; empty when there is none.
        values: what goes into the sentence.
        origin: of the figure, None for what is no figure.
    """

    question: Question
    status: Status
    code: str
    figure: str
    values: dict[str, float | int | str]
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """How the bundle was built.

    Attributes:
        created: UTC, ISO 8601.
        rkdeploy_version: that built it.
        source, toolkit, calibration: as `build.json` has them.
        host: Python and packages, name to version.
        seconds: wall time a stage.
        rknn_bytes: size of the `.rknn`.
    """

    created: str
    rkdeploy_version: str
    source: SourceRecord
    toolkit: ToolkitRecord
    calibration: CalibrationRecord | None
    host: dict[str, str]
    seconds: dict[str, float]
    rknn_bytes: int


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """What goes in and comes out, as `contract.json` has it.

    Attributes:
        family, task, class_names, input, outputs, end_to_end: as in `ModelSpec`.
    """

    family: str
    task: Task
    class_names: tuple[str, ...]
    input: InputSpec
    outputs: tuple[HeadOutput, ...]
    end_to_end: bool


@dataclass(frozen=True, slots=True)
class AnchorLevel:
    """Anchors of one level: (width, height) in pixels of the network input, the model's and the published ones.

    Attributes:
        stride: input pixels a cell.
        own_px: the model's anchors: (width, height).
        published_px: the published ones: (width, height).
    """

    stride: int
    own_px: tuple[tuple[float, float], ...]
    published_px: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class AnchorFacts:
    """A model's anchors beside those that its family was published with.

    Attributes:
        levels: finest first; `published_px` is empty where there are none for so many levels.
        data_set: what the published ones were chosen for, `COCO`.
        are_defaults: whether both are the same within 0.05 px.
        largest_ratio: largest of width or height over the published one, or its inverse; None without published ones.
    """

    levels: tuple[AnchorLevel, ...]
    data_set: str
    are_defaults: bool
    largest_ratio: float | None


@dataclass(frozen=True, slots=True)
class AgreementFacts:
    """The built model against float on held-out images.

    Attributes:
        origin: who compared.
        agreement: as `build.json` has it.
    """

    origin: Origin
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class AccuracySide:
    """One network on labeled images.

    Attributes:
        origin: who ran it.
        computes: `float`, or the built model's type.
        images: how many.
        objects, ranking, class_maps: the figures, see `rkdeploy.contract.accuracy`.
    """

    origin: Origin
    computes: str
    images: int
    objects: tuple[ObjectFigures, ...]
    ranking: RankingFigures | None
    class_maps: tuple[MapFigures, ...]


@dataclass(frozen=True, slots=True)
class AccuracyFacts:
    """Several networks on the same labeled images.

    Attributes:
        source: where images and labels come from.
        validator: whose ways the figures follow.
        confidence: of precision and recall.
        sides: float first.
        notes: what the measurement said.
    """

    source: str
    validator: str
    confidence: str
    sides: tuple[AccuracySide, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimePart:
    """A part of the predicted time.

    Attributes:
        name: what the time goes into.
        time_ms: its share of the predicted time.
    """

    name: PartName
    time_ms: float


@dataclass(frozen=True, slots=True)
class PredictedTime:
    """NPU time of a frame on one core before there is a board.

    Attributes:
        origin: of the prediction.
        time_ms: predicted.
        low_ms, high_ms, coverage: its interval, and the share of models that such an interval holds; None for a
            prediction of lower standing, by another type's formula.
        frames_per_second: one core.
        parts: what the time goes into.
        median_error, worst_error: on models left out of the fit; without coverage, on published rates of this type.
        fitted_on: in words.
        notes: what a prediction without coverage rests on, and why it may be worse than that.
    """

    origin: Origin
    time_ms: float
    low_ms: float
    high_ms: float
    coverage: float | None
    frames_per_second: float
    parts: tuple[TimePart, ...]
    median_error: float
    worst_error: float
    fitted_on: str
    notes: tuple[str, ...]

    @property
    def rests_on(self) -> str:
        """What a prediction without coverage rests on, in a sentence; empty with coverage."""
        return self.notes[0] if self.coverage is None and self.notes else ""


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One `profile.json`; `origin` says whether its times are a board's.  Everything else is as there.

    Attributes:
        origin: who measured.
        created, backend, frames, stages, cores, throughput, npu_memory, process_memory: as in the profile.
        conditions, versions: as in the profile.
        missing: figures that the profile has not, each with the reason.
        advice: what spoils the measurement, or where time is lost.
    """

    origin: Origin
    created: str
    backend: str
    frames: InputFrames
    stages: Stages
    cores: tuple[CoreTiming, ...]
    throughput: tuple[Throughput, ...]
    npu_memory: MemorySize | None
    process_memory: ProcessMemory | None
    conditions: BoardConditions
    versions: Versions
    missing: tuple[Missing, ...]
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer.

    Attributes:
        number, op, name, dtype, target: as the compiler or the runtime has them.
        output_shape: as text.
        time_ms: of this layer; None where nobody says.
        share: of all layers' time.
        limit: what decides the predicted time; empty when measured or unknown.
        macs: multiply-accumulates, from the shapes; None where those do not say.
        traffic_bytes: read and written.
        weight_bytes: of its weights, biases and tables.
        cycles: as the compiler counts them; it counts convolutions only.
    """

    number: int
    op: str
    name: str
    dtype: str
    target: str
    output_shape: str
    time_ms: float | None
    share: float | None
    limit: LimitName
    macs: int | None
    traffic_bytes: int | None
    weight_bytes: int | None
    cycles: int | None


@dataclass(frozen=True, slots=True)
class Roofline:
    """The chip's two lines.

    Attributes:
        origin: of the lines: coefficients fitted on published rates.
        macs_per_second: most that one core computes: `macs_per_cycle` times the clock that the fit implies.
        bytes_per_second: most that it moves, as the fit implies.
        macs_per_cycle: the best that the compiler plans in any layer of this model.
    """

    origin: Origin
    macs_per_second: float
    bytes_per_second: float
    macs_per_cycle: float


@dataclass(frozen=True, slots=True)
class LayerTable:
    """All layers in the order of execution.

    Attributes:
        origin: of the times, or of the plan where there are none.
        rows: the layers.
        total_ms: sum of their times.
        roofline: None where the chip's lines or the times are not known.
        slowed: whether collecting slowed every layer, so that shares are good and the sum is too large.
    """

    origin: Origin
    rows: tuple[LayerRow, ...]
    total_ms: float | None
    roofline: Roofline | None
    slowed: bool


@dataclass(frozen=True, slots=True)
class PlannedMemory:
    """Memory as the compiler plans it.

    Attributes:
        origin: the compiler.
        weight_bytes, internal_bytes: sizes of the two blocks.
        tensors: what lies where in the second, and when.
        peak_bytes, peak_layer: most that is alive at once, and where.
    """

    origin: Origin
    weight_bytes: int
    internal_bytes: int
    tensors: tuple[TensorLife, ...]
    peak_bytes: int
    peak_layer: int

    @property
    def total_bytes(self) -> int:
        """Both blocks."""
        return self.weight_bytes + self.internal_bytes


@dataclass(frozen=True, slots=True)
class ExamplePicture:
    """A held-out image with what both sides found in it.

    Attributes:
        source: name of the image.
        width, height: of the pictures, pixels.
        reference_count, built_count, matched: objects.
        reference_first, built_first: first class of a classifier, else empty.
        reference_webp, built_webp: the drawn pictures; None in the JSON form.
    """

    source: str
    width: int
    height: int
    reference_count: int
    built_count: int
    matched: int
    reference_first: str
    built_first: str
    reference_webp: bytes | None
    built_webp: bytes | None


@dataclass(frozen=True, slots=True)
class ExampleFacts:
    """Examples: float left, the built model right.

    Attributes:
        reference_origin, built_origin: of the two sides.
        confidence: objects from this score upwards.
        iou, score_difference: what makes a match.
        pictures: the examples.
    """

    reference_origin: Origin
    built_origin: Origin
    confidence: float
    iou: float
    score_difference: float
    pictures: tuple[ExamplePicture, ...]


@dataclass(frozen=True, slots=True)
class ExplainedLayer:
    """A layer's loss: cosine similarity to float with only this layer quantized, and with all before it.

    Attributes:
        name, op: of the layer, and its operator.
        single_cosine: cosine similarity, -1..1, with only this layer quantized.
        entire_cosine: cosine similarity, -1..1, with all layers before it quantized too.
    """

    name: str
    op: str
    single_cosine: float
    entire_cosine: float


@dataclass(frozen=True, slots=True)
class ExplainedCause:
    """A cause that `rkdeploy explain` names, and what it says to try.

    Attributes:
        kind: name of the cause.
        layer: where it is; empty where it is no single one.
        text: the cause in words.
        try_this: what to try.
    """

    kind: str
    layer: str
    text: str
    try_this: str


@dataclass(frozen=True, slots=True)
class ExplanationFacts:
    """What `rkdeploy explain` found.

    Attributes:
        origin: who explained.
        images: on how many images.
        layers: the layers, each with its loss.
        causes: what the loss comes from.
    """

    origin: Origin
    images: int
    layers: tuple[ExplainedLayer, ...]
    causes: tuple[ExplainedCause, ...]


@dataclass(frozen=True, slots=True)
class ModelReport:
    """All that is known of one built model.

    Attributes:
        name: of the bundle's folder.
        model_sha256: of the `.rknn`; None where nothing says.
        target, dtype: what it was built for.
        input_hw: (height, width) in pixels.
        summary: the answers, one a question.
        build, contract, anchors, verification, agreement, predicted, memory, examples, explanation: see there; None
            where no file says.
        accuracy: one each for the build and every evaluation that was given.
        runs: one a profile.
        layers: a board's first, then the predicted or planned ones, then one for each other profile that has them.
        warnings: what the build said.
    """

    name: str
    model_sha256: str | None
    target: str
    dtype: str
    input_hw: tuple[int, int]
    summary: tuple[Verdict, ...]
    build: BuildFacts | None
    contract: ContractFacts | None
    anchors: AnchorFacts | None
    verification: Verification | None
    agreement: AgreementFacts | None
    accuracy: tuple[AccuracyFacts, ...]
    predicted: PredictedTime | None
    runs: tuple[MeasuredRun, ...]
    layers: tuple[LayerTable, ...]
    memory: PlannedMemory | None
    examples: ExampleFacts | None
    explanation: ExplanationFacts | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The whole document.

    Attributes:
        models: one each, in the order in which they were given.
        created: of this report, UTC, ISO 8601.
        rkdeploy_version: that wrote it.
        document: says what this file is.
        schema_version: of this document.
    """

    models: tuple[ModelReport, ...]
    created: str
    rkdeploy_version: str
    document: Literal["rkdeploy report"] = DOCUMENT
    schema_version: int = REPORT_VERSION

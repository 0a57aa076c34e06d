"""The report as plain frozen data: what the JSON form holds and what the other forms are rendered from.

Sizes are bytes, times milliseconds, shares 0..1.  None is a figure that is not known.  Texts of ours are codes with
their values, put into words by `rkdeploy.analysis.page.texts`; texts of others (warnings, advice, notes) are as they
were written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.analysis.explain.explanation import Explanation
from rkdeploy.analysis.origin import Origin
from rkdeploy.analysis.page.content import Status
from rkdeploy.analysis.report.memory_map import TensorLife
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.agreement import Agreement
from rkdeploy.contract.bounds import Amount, Count, Figure, Pixels, Positive, Text, Whole
from rkdeploy.contract.compiled_model import MAX_LAYERS
from rkdeploy.contract.record import BuildRecord, Verification
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.profiling.profile_document import Profile

REPORT_VERSION = 1
_MAX_MODELS = 100

LimitName = Literal["", "compute", "memory", "activation", "attention"]
Question = Literal["right", "accurate", "fast", "big"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the summary.

    Attributes:
        question: the question that it answers.
        status: good, bad, ...
        code: name of the sentence.
        figure: the one figure to show large, as formatted by `texts`; empty when there is none.
        values: values in the sentence.
        origin: of the figure, None without a figure.
    """

    question: Question
    status: Status
    code: Text
    figure: Text
    values: dict[Text, Figure | Whole | Text]
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class LevelAnchors:
    """Anchors of one level: (width, height) in pixels of the network input, the model's and the published ones.

    Attributes:
        stride: input pixels per cell.
        own_px: the model's anchors: (width, height).
        published_px: the published ones: (width, height).
    """

    stride: Whole
    own_px: tuple[tuple[Positive, Positive], ...]
    published_px: tuple[tuple[Positive, Positive], ...]

    def __post_init__(self) -> None:
        """Refuse anchors that cannot be set side by side.

        Raises:
            ValueError: the model's anchors and the published ones differ in number.
        """
        if self.published_px and len(self.published_px) != len(self.own_px):
            raise ValueError("the model's anchors and the published ones differ in number")


@dataclass(frozen=True, slots=True)
class AnchorFacts:
    """A model's anchors next to those that its family was published with.

    Attributes:
        levels: finest first; `published_px` is empty where there are none for so many levels.
        data_set: what the published ones were chosen for, `COCO`.
        are_defaults: whether both are the same within 0.05 px.
        largest_ratio: largest of width or height over the published one, or its inverse; None without published ones.
    """

    levels: tuple[LevelAnchors, ...]
    data_set: Text
    are_defaults: bool
    largest_ratio: Positive | None


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer.

    Attributes:
        number, op, name, dtype, target: as the compiler or the runtime has them.
        output_shape: as text.
        time_ms: of this layer; None where it is not known.
        share: of all layers' time.
        limit: what decides the time, as the prediction or the runtime's cycles say; empty when unknown.
        macs: multiply-accumulates, from the shapes; None where those do not say.
        traffic_bytes: read and written.
        weight_bytes: of its weights, biases and tables.
        cycles: as the compiler counts them; it counts convolutions only.
    """

    number: Whole
    op: Text
    name: Text
    dtype: Text
    target: Text
    output_shape: Text
    time_ms: Amount | None
    share: Amount | None
    limit: LimitName
    macs: Count | None
    traffic_bytes: Count | None
    weight_bytes: Count | None
    cycles: Count | None


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
    macs_per_second: Positive
    bytes_per_second: Positive
    macs_per_cycle: Positive


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
    rows: Annotated[tuple[LayerRow, ...], Meta(max_length=MAX_LAYERS)]
    total_ms: Amount | None
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
    weight_bytes: Count
    internal_bytes: Count
    tensors: Annotated[tuple[TensorLife, ...], Meta(max_length=MAX_LAYERS)]
    peak_bytes: Count
    peak_layer: Count

    @property
    def total_bytes(self) -> int:
        """Both blocks."""
        return self.weight_bytes + self.internal_bytes


@dataclass(frozen=True, slots=True)
class ExamplePicture:
    """A held-out image with the objects that both sides found in it.

    Attributes:
        source: name of the image.
        width, height: of the pictures, pixels.
        reference_count, built_count, matched: objects.
        reference_first, built_first: first class of a classifier, else empty.
        reference_webp, built_webp: the drawn pictures; None in the JSON form.
    """

    source: Text
    width: Pixels
    height: Pixels
    reference_count: Count
    built_count: Count
    matched: Count
    reference_first: Text
    built_first: Text
    reference_webp: bytes | None
    built_webp: bytes | None


@dataclass(frozen=True, slots=True)
class ExampleFacts:
    """Examples: the float model left, the quantized model right.

    Attributes:
        reference_origin, built_origin: of the two sides.
        confidence: lowest score of the objects.
        iou, score_difference: limits of a match.
        pictures: the examples.
    """

    reference_origin: Origin
    built_origin: Origin
    confidence: Figure
    iou: Figure
    score_difference: Figure
    pictures: tuple[ExamplePicture, ...]


@dataclass(frozen=True, slots=True)
class ModelReport:
    """All that is known of one built model: the documents themselves, and what is derived from them.

    Attributes:
        name: of the bundle's folder.
        model_sha256: of the `.rknn`; None if unknown.
        target, dtype: what it was built for.
        input_hw: (height, width) in pixels.
        summary: the answers, one per question.
        contract: the bundle's contract; None without a bundle.
        build: the bundle's record, without `compiled` and `accuracy`, which are in `layers`, `memory` and `accuracy`;
            None where there is none.
        rknn_bytes: size of the `.rknn`; None without a bundle.
        anchors: the contract's anchors next to the published ones; None for a model without anchors.
        accuracy: one each for the build and every evaluation that was given, float first in each.
        predicted: the predicted time, its layers in `layers`; None where it cannot be predicted.
        not_predicted: reason why there is no prediction; empty where there is one, or nothing to predict from.
        profiles: as they were given, their layers in `layers`.
        layers: a board's first, then the predicted or planned ones, then one for each other profile that has them.
        memory: as the compiler plans it; None where no file says.
        examples: held-out images; None where there are none.
        explanation: what `rkdeploy explain` found; None where it was not given.
    """

    name: Text
    model_sha256: Text | None
    target: Text
    dtype: Text
    input_hw: tuple[Pixels, Pixels]
    summary: tuple[Verdict, ...]
    contract: ModelSpec | None
    build: BuildRecord | None
    rknn_bytes: Count | None
    anchors: AnchorFacts | None
    accuracy: tuple[AccuracyReport, ...]
    predicted: Prediction | None
    not_predicted: Text
    profiles: tuple[Profile, ...]
    layers: tuple[LayerTable, ...]
    memory: PlannedMemory | None
    examples: ExampleFacts | None
    explanation: Explanation | None

    @property
    def verification(self) -> Verification | None:
        """Proof of the decode; None without a build record."""
        return self.build.verification if self.build is not None else None

    @property
    def agreement(self) -> Agreement | None:
        """The quantized against the float model on held-out images; None if nothing was compared."""
        return self.build.agreement if self.build is not None else None


@dataclass(frozen=True, slots=True)
class Report:
    """The whole document.

    Attributes:
        models: one each, in the order in which they were given.
        created: of this report, UTC, ISO 8601.
        rkdeploy_version: that wrote it.
        document, schema_version: what this file is.
    """

    models: Annotated[tuple[ModelReport, ...], Meta(max_length=_MAX_MODELS)]
    created: Text
    rkdeploy_version: Text
    document: Literal["rkdeploy report"] = "rkdeploy report"
    schema_version: int = REPORT_VERSION

"""What a build did and proved, as plain data: `build.json` in a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan

from rkdeploy.compiled import CompiledModel
from rkdeploy.evaluate.figures import AccuracyReport
from rkdeploy.spec import Anchors, OutputRole

RECORD_VERSION = 1


@dataclass(frozen=True, slots=True)
class FieldError:
    """One decoded figure (`xy`, `scores`, `keypoint_xy`, ...) where it differs most, in proportion to what is allowed.

    Attributes:
        name: of the figure.
        unit: `px` of the network input, `score`, `rad`, or `value` for a bare number.
        max_error: the difference there.
        allowed: what was allowed there.
    """

    name: str
    unit: str
    max_error: float
    allowed: float

    @property
    def excess(self) -> float:
        """The difference over what is allowed; more than 1 is wrong.  NaN counts as infinite."""
        return self.max_error / self.allowed if not isnan(self.max_error) else inf


@dataclass(frozen=True, slots=True)
class Verification:
    """The contract's decode against the trained model's own, float32 on the host.

    Attributes:
        images: number of images.
        image_names: what they were.
        rows: decoded rows compared, over all images.
        fields: the largest difference of each figure.
        rewrite_error: largest difference between the graph as trained and as it is built, both decoded; None where
            nothing was rewritten.
        decode_proven: false where the graph has no decode and no checkpoint was given: then only its raw outputs were
            compared, before and after simplification, and `rows` is 0.
    """

    images: int
    image_names: tuple[str, ...]
    rows: int
    fields: tuple[FieldError, ...]
    rewrite_error: float | None = None
    decode_proven: bool = True


@dataclass(frozen=True, slots=True)
class OutputAgreement:
    """One head tensor, the built model in the simulator against float.

    Attributes:
        name, role: of the output.
        cosine: cosine similarity over all images, 1.0 when parallel.
        max_error: largest absolute difference, in the tensor's own unit (logits, or 0..1 after a sigmoid).
        saturated: share of the simulator's values at either end of the integer range; None for float outputs.
        reachable_score: largest score (0..1) that the tensor can represent; None for tensors without scores.
        float_peak, built_peak: largest objectness found, float and simulator; None for tensors without scores.
    """

    name: str
    role: OutputRole
    cosine: float
    max_error: float
    saturated: float | None
    reachable_score: float | None
    float_peak: float | None
    built_peak: float | None


@dataclass(frozen=True, slots=True)
class KeypointAgreement:
    """Keypoints of matched objects, those that float sees (visibility above 0.5).

    Attributes:
        points: how many.
        median_shift_px, p95_shift_px: how far the built model's lie from float's, pixels of the network input.
        similarity: object keypoint similarity (OKS) from which two poses count as alike.
        alike: share of matched objects that are.
    """

    points: int
    median_shift_px: float
    p95_shift_px: float
    similarity: float
    alike: float


@dataclass(frozen=True, slots=True)
class MapAgreement:
    """A class map of the built model against float's.

    Attributes:
        output: name of the output.
        same: share of source pixels of the same class.
        mean_iou: over the classes that float found; None where there is no pixel.
    """

    output: str
    same: float
    mean_iou: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """The built model in the simulator against float, on images that calibration never saw.

    A float detection is matched by a simulated one of its class with IoU of at least `iou` and a score that differs by
    less than `score_difference`; each is used once.

    Attributes:
        figures_from: the simulator and its version.
        images: number of images.
        source: where they come from.
        confidence: detections from this score upwards were compared.
        outputs: tensor by tensor.
        float_detections, built_detections: how many each found.
        matched: how many float detections were matched.
        iou, score_difference: the rule above.
        mean_iou: of the matched pairs, None when there is none.
        mean_score_difference: of the matched pairs, None when there is none.
        keypoints: of a pose model with matched objects, else None.
        mask_iou: mean IoU of the masks of matched objects, None where there are none.
        class_maps: one for each class map.
        same_first_class: share of images whose first class is the same; None unless a classifier.
    """

    figures_from: str
    images: int
    source: str
    confidence: float
    outputs: tuple[OutputAgreement, ...]
    float_detections: int
    built_detections: int
    matched: int
    iou: float
    score_difference: float
    mean_iou: float | None
    mean_score_difference: float | None
    keypoints: KeypointAgreement | None = None
    mask_iou: float | None = None
    class_maps: tuple[MapAgreement, ...] = ()
    same_first_class: float | None = None

    @property
    def share(self) -> float | None:
        """Matched float detections over all, None when float found nothing."""
        return self.matched / self.float_detections if self.float_detections else None

    @property
    def precision(self) -> float | None:
        """Matched detections over all that the built model found, None when it found nothing."""
        return self.matched / self.built_detections if self.built_detections else None


@dataclass(frozen=True, slots=True)
class CalibrationImageRecord:
    """One calibration image: path relative to its source, hash of the file."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """What quantization was calibrated on."""

    source: str
    seed: int
    images: tuple[CalibrationImageRecord, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToolkitRecord:
    """The vendor's toolkit and what it was told.

    Attributes:
        name, version: the package.
        target: SoC.
        dtype, algorithm, method: quantization; algorithm and method are None for a float build.
        optimization_level: the toolkit's own.
        disabled_rules: toolkit rules that were switched off because they fail on this graph.
        float16: tensors of a quantized model whose layers stayed float16.
    """

    name: str
    version: str
    target: str
    dtype: str
    algorithm: str | None
    method: str | None
    optimization_level: int
    disabled_rules: tuple[str, ...]
    float16: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeadNode:
    """A convolution at which the graph was cut: its name, stride and output channels."""

    node: str
    stride: int
    channels: int


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """What was built from.

    Attributes:
        file: name of the checkpoint or ONNX file.
        sha256: of that file.
        weights: name of the `.pt` given beside an ONNX file, else None.
        family, generation: of the model.
        anchors_from: `checkpoint` or `graph`; None for anchor-free families.
        anchors: in pixels, None for anchor-free families.
        coco_anchors: whether the anchors are those that the family was published with; None for anchor-free families.
        parameters: trained parameters, None for an ONNX file without its checkpoint.
    """

    file: str
    sha256: str
    weights: str | None
    family: str
    generation: str
    anchors_from: str | None
    anchors: Anchors | None
    coco_anchors: bool | None
    parameters: int | None


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """`build.json`: everything that a report needs to know of a build.

    Attributes:
        rkdeploy_version: of the kit that built.
        created: UTC, ISO 8601.
        source, head, verification, toolkit, calibration, agreement: see there; calibration is None for a float build,
            agreement is None where there was no image to compare on.
        host: Python and packages that took part, name to version.
        seconds: wall time a stage.
        warnings: everything that the user was warned of.
        schema_version: version of this schema.  Files from before it was written have version 1.
        compiled: layers and memory as the toolkit's compiler predicts them; None where its log did not say.
        accuracy: float and the built model in the simulator on labelled images; None where none were given.
        request: hash of everything that was asked for, see `rkdeploy.building.request`; None in older bundles.
    """

    rkdeploy_version: str
    created: str
    source: SourceRecord
    head: tuple[HeadNode, ...]
    verification: Verification
    toolkit: ToolkitRecord
    calibration: CalibrationRecord | None
    agreement: Agreement | None
    host: dict[str, str]
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    schema_version: int = RECORD_VERSION
    compiled: CompiledModel | None = None
    accuracy: AccuracyReport | None = None
    request: str | None = None

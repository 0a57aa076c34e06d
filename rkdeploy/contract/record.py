"""Record of a build and its proofs, as plain data: `build.json` in a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan
from typing import Literal

from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.agreement import Agreement, Measure, Proof
from rkdeploy.contract.bounds import Figure, Text, Whole
from rkdeploy.contract.compiled_model import CompiledModel
from rkdeploy.contract.spec import Anchors, FormName

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

    name: Text
    unit: Text
    max_error: Figure
    allowed: Figure

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
        rewrite_error: largest difference between what a rewritten layer puts out and what the trained one does, in
            that tensor's own unit and in proportion to what is allowed there; None where nothing was rewritten.  In a
            bundle without `rewrite_allowed`: the largest difference of any decoded figure, in px or score.
        rewrite_allowed: what was allowed there; None in older bundles and where nothing was rewritten.
        decode_proven: false where the graph has no decode and no checkpoint was given: then only its raw outputs were
            compared, before and after simplification, and its head's tensors, before and after cutting; `rows` is 0.
    """

    images: Whole
    image_names: tuple[Text, ...]
    rows: Whole
    fields: tuple[FieldError, ...]
    rewrite_error: Figure | None = None
    rewrite_allowed: Figure | None = None
    decode_proven: bool = True


@dataclass(frozen=True, slots=True)
class CalibrationImageRecord:
    """One calibration image: path relative to its source, hash of the file.

    Attributes:
        path: relative to the source.
        sha256: of the file.
    """

    path: Text
    sha256: Text


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """Calibration images.

    Attributes:
        source: the folder, list or data.yaml that the images were chosen from.
        seed: of the choice.
        images: those that were used.
        warnings: what was said about them.
    """

    source: Text
    seed: Whole
    images: tuple[CalibrationImageRecord, ...]
    warnings: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class ToolkitSettings:
    """Settings of the vendor's toolkit for one model.

    Attributes:
        target: chip, for example `rk3588`.
        dtype: `int8` or `fp16`, or one of the toolkit's own names (`w8a16`, `w16a16i_dfp`, `w4a16`), each for a few
            targets only.
        algorithm: search of the quantization ranges: `normal`, `mmse`, `kl_divergence`, or `sensitivity`, which is
            rkdeploy's; None for a float build.
        method: `channel` or `layer`: one weight scale per output channel or per layer; None for a float build.
        optimization_level: 0 to 3, the toolkit's own.
    """

    target: Text
    dtype: Text
    algorithm: Text | None = "normal"
    method: Text | None = "channel"
    optimization_level: Whole = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasCorrection:
    """Correction of the convolutions' biases by the means that rounding shifts, from an emulation of the integers.

    Errors are squared ones of the network's outputs against the float model's, in units of the float output's variance
    (of the squared step of its integers where that is more), mean over outputs and held-out calibration images.

    Attributes:
        accepted: True if the model has the corrected biases.
        layers: number of convolutions whose biases were corrected.
        images: calibration images from which they were computed.
        held_out: other calibration images, on which the errors were measured.
        error_before: with the trained biases; None if nothing was measured.
        error_after: with the corrected ones; None if nothing was measured.
        reason: why they were not accepted, by the errors or by the held-out images of the build; empty if they were.
    """

    accepted: bool
    layers: Whole = 0
    images: Whole = 0
    held_out: Whole = 0
    error_before: Figure | None = None
    error_after: Figure | None = None
    reason: Text = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolkitRecord(ToolkitSettings):
    """The vendor's toolkit and its settings.

    Attributes:
        name: of the package.
        version: of the package.
        disabled_rules: toolkit rules that were switched off because they fail on this graph.
        float16: tensors of a quantized model whose layers stayed float16.
        bias_correction: what the bias correction did; None if it was not asked for.
    """

    name: Text
    version: Text
    disabled_rules: tuple[Text, ...] = ()
    float16: tuple[Text, ...] = ()
    bias_correction: BiasCorrection | None = None


@dataclass(frozen=True, slots=True)
class HeadNode:
    """A convolution at which the graph was cut.

    Attributes:
        node: name of the convolution.
        stride: of its level, input pixels per cell.
        channels: of its output.
    """

    node: Text
    stride: Whole
    channels: Whole


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """Source of a build.

    Attributes:
        file: name of the checkpoint or ONNX file.
        sha256: of that file.
        weights: name of the `.pt` given with an ONNX file, else None.
        family, generation: of the model.
        anchors_from: `checkpoint`, `graph` or `command line`; None for anchor-free families.
        anchors: in pixels, None for anchor-free families.
        coco_anchors: whether the anchors are those that the family was published with; None for anchor-free families.
        parameters: trained parameters, None for an ONNX file without its checkpoint.
    """

    file: Text
    sha256: Text
    weights: Text | None
    family: Text
    generation: Text
    anchors_from: Text | None
    anchors: Anchors | None
    coco_anchors: bool | None
    parameters: Whole | None


@dataclass(frozen=True, slots=True)
class FormRecord:
    """Another program's form of the outputs.

    Attributes:
        name: of the form, see `ModelSpec.form`.
        program: that reads it.
        own: agreement of our own form of the same build with the float model, on the same images; None without images.
    """

    name: FormName
    program: Text
    own: Agreement | None = None


RemedyName = Literal["as_given", "biases", "ranges", "float16", "depthwise"]


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One of the quantizations that a build tried because the one before agreed too little with the float model.

    Attributes:
        remedy: `as_given` for the first, then corrected biases, ranges by sensitivity with corrected biases, the
            float16 layers that the toolkit proposes, and uneven depthwise convolutions in parts with those ranges.
        measure: the lowest figure of its agreement with the float model on the held-out images; None where nothing
            can be judged.
        refused: True if the build would have been refused with it.
        float16: tensors whose layers stay float16.
        mcycles: NPU cycles per frame that the toolkit's compiler predicts, in millions; None where its log did not say.
        seconds: wall time.
        kept: True for the one that the bundle has.
    """

    remedy: RemedyName
    measure: Measure | None
    refused: bool
    float16: Whole
    mcycles: Figure | None
    seconds: Figure
    kept: bool


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """`build.json`: everything that a report needs to know of a build.

    Attributes:
        rkdeploy_version: of the kit that built.
        created: UTC, ISO 8601.
        source, head, verification, toolkit, calibration, agreement: see their classes; calibration is None for a float
            build, agreement is None where there was no image to compare on.
        host: Python and packages that took part, name to version.
        seconds: wall time per stage, in seconds.
        warnings: everything that the user was warned of.
        schema_version: version of this schema.  Files from before it was written have version 1.
        compiled: layers and memory as the toolkit's compiler predicts them; None where its log did not say.
        accuracy: the float model and, in the simulator, the quantized model on labeled images; None where none were
            given.
        request: hash of everything that was asked for, see `rkdeploy.host.building.request`; None in older bundles.
        proof: what `agreement` proves; None in older bundles.
        form: of the outputs; None for our own.
        attempts: quantizations that were tried, in order; empty where the first one was good enough.
        document: kind of this file.
    """

    rkdeploy_version: Text
    created: Text
    source: SourceRecord
    head: tuple[HeadNode, ...]
    verification: Verification
    toolkit: ToolkitRecord
    calibration: CalibrationRecord | None
    agreement: Agreement | None
    host: dict[Text, Text]
    seconds: dict[Text, Figure]
    warnings: tuple[Text, ...]
    schema_version: int = RECORD_VERSION
    compiled: CompiledModel | None = None
    accuracy: AccuracyReport | None = None
    request: Text | None = None
    proof: Proof | None = None
    form: FormRecord | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    document: Literal["rkdeploy build"] = "rkdeploy build"

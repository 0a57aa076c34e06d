"""Options of a build."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from rkdeploy.contract.bundle import MAX_EXAMPLES
from rkdeploy.contract.chips import FLOAT16, INT8, canonical_dtype, canonical_target
from rkdeploy.contract.spec import FormName
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.agreement_gate import FLOOR
from rkdeploy.host.building.bundle_name import checked_name, default_name
from rkdeploy.host.building.gate_options import GateOptions
from rkdeploy.host.building.given_anchors import ANCHORS
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.quantization import QuantizationSettings
from rkdeploy.host.export.stem_form import StemForm
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.toolkit.files import FOUND_BY_SENSITIVITY
from rkdeploy.option import (
    ACCURACY,
    GENERAL,
    GRAPH,
    INPUT,
    OUTPUT,
    QUANTIZATION,
    SIZE,
    TOOLKIT_PYTHON,
    Argument,
    Option,
)

Calibration = Literal["given", "new"]

FLOAT_DTYPE = FLOAT16
MODEL: Final = Argument("MODEL", "A checkpoint (.pt, .pth, .weights), or ONNX made from one.")


@dataclass(frozen=True, slots=True)
class BuildOptions(QuantizationSettings):
    """One build; its quantization is in `QuantizationSettings`.

    Attributes:
        model: a `.pt`, `.pth` or `.onnx`.
        weights: the checkpoint of an ONNX file; its anchors and names have precedence.
        anchors: widths and heights in pixels for a file that has none, finest level first.
        cfg: the darknet cfg of a checkpoint that holds weights only (`.weights`, YOLOR's main branch).
        family: of a checkpoint that fits several; None takes the first that recognizes it.
        imgsz: (height, width) in pixels; None takes the training size.
        input: choices for the network's input and classes.
        target: SoC, see `rkdeploy.contract.chips`; stored as the toolkit's platform.
        dtype: `int8`, `fp16`, or another type that the chip has; stored with that name.
        calib: folder, list file or data.yaml; None looks for ./calib_data.
        calibration: for an ONNX file that is quantized already: its own quantization, or a new one.
        form: program whose form the outputs get.
        optimization_level: of the toolkit, 0 to 3.
        stem: form of the first layer.
        nms: head of a checkpoint with two (YOLOv10, YOLO26); None takes the one that its trainer takes.
        batch: frames per run of the network; only 1.
        min_agreement: share that every measure of agreement with the float model must reach, 0..1: see
            `rkdeploy.host.building.agreement_gate`.
        remedies: True to quantize again, in other ways, while the model clearly agrees too little with the float model:
            see `rkdeploy.host.building.remedies`.
        proof_images: number of held-out images for the proof.
        examples: number of them that the bundle keeps as small pictures.
        gate: limits of the loss on labeled images; None measures nothing.
        out: folder for bundles.
        toolkit_python: interpreter that has rknn-toolkit2; None is this one.
        name: of the bundle and the model in it; None takes `rkdeploy.host.building.bundle_name.default_name`.
        allow_unproven: True to accept a build without any image to compare on.
    """

    model: Annotated[Path, MODEL]
    weights: Annotated[
        Path | None,
        Option("--weights", "With an ONNX file: the .pt that it came from.", INPUT, often=True),
    ] = None
    anchors: Annotated[
        tuple[float, ...] | None,
        Option(
            "--anchors",
            "Anchors of an ONNX file that ends in raw anchor maps, instead of --weights, or of a Yolo-FastestV2. In "
            "pixels, finest level first; or a file with them, or the yaml of the training's model.",
            INPUT,
            form=ANCHORS,
        ),
    ] = None
    cfg: Annotated[
        Path | None,
        Option("--cfg", "Darknet cfg of a file of weights: a .weights, or a state dict.", INPUT),
    ] = None
    family: Annotated[
        str | None,
        Option(
            "--family",
            "Family of a checkpoint that fits several: yolor for a state dict with a plain darknet cfg that YOLOR's "
            "code trained.",
            INPUT,
            metavar="NAME",
            default="what the file shows",
        ),
    ] = None
    imgsz: Annotated[
        tuple[int, int] | None,
        Option(
            "--imgsz",
            "Network input, width x height; one number is a square.",
            INPUT,
            form=SIZE,
            default="the training size",
            often=True,
        ),
    ] = None
    input: InputChoice = field(default_factory=InputChoice)
    target: Annotated[
        str,
        Option(
            "--target",
            "SoC that the model is built for, such as rk3588, rk3576 or rk3568. An SoC with the same NPU "
            "is taken for it: rk3588s.",
            GENERAL,
            metavar="SOC",
            often=True,
        ),
    ] = "rk3588"
    dtype: Annotated[
        str,
        Option(
            "--dtype",
            "Data type: int8, fp16, or another one of the SoC.",
            QUANTIZATION,
            metavar="TYPE",
            often=True,
        ),
    ] = "int8"
    calib: Annotated[
        Path | None,
        Option(
            "--calib",
            "Calibration images: a folder, a list file or a data.yaml.",
            QUANTIZATION,
            default="./calib_data",
            often=True,
        ),
    ] = None
    calibration: Annotated[
        Calibration,
        Option(
            "--calibration",
            "Quantization of an ONNX file that is quantized already: given keeps its weights, scales and zero points, "
            "new quantizes it again on --calib.",
            QUANTIZATION,
        ),
    ] = "given"
    form: Annotated[
        FormName,
        Option(
            "--form",
            "Outputs as another program reads them: zoo (rknn_model_zoo's demos), frigate or ultralytics.",
            GRAPH,
            metavar="FORM",
            often=True,
        ),
    ] = "rkdeploy"
    optimization_level: Annotated[
        int, Option("--optimization-level", "Optimization level of the toolkit.", GRAPH, low=0, high=3)
    ] = 3
    stem: Annotated[
        StemForm,
        Option("--stem", "Form of a Focus or 6x6 first layer. All give the same values; stripes saves memory.", GRAPH),
    ] = "space_to_depth"
    nms: Annotated[
        bool | None,
        Option(
            "--nms",
            "Head of a YOLOv10 or YOLO26: the one that needs non-maximum suppression, or the one that does not.",
            GRAPH,
            off="--no-nms",
            default="the trainer's",
        ),
    ] = None
    batch: Annotated[
        int,
        Option(
            "--batch",
            "Frames per run of the network. Only 1: more bring nothing, see docs/build.md.",
            GRAPH,
            metavar="N",
        ),
    ] = 1
    min_agreement: Annotated[
        float,
        Option(
            "--min-agreement",
            "Lowest accepted agreement with the float model, 0 to 1. It is AP50 with the float model's "
            "detections as the truth; of classifiers the share with the same first class, of class maps the mean IoU, "
            "of depth 1 less AbsRel, of embeddings the share with the same nearest image. "
            "The upper end of its interval counts.",
            ACCURACY,
            often=True,
        ),
    ] = FLOOR
    remedies: Annotated[
        bool,
        Option(
            "--remedies",
            "Where INT8 clearly loses too much, quantize again: with corrected biases, then searched ranges and, if it "
            "still does, layers in float16. At most a few minutes.",
            QUANTIZATION,
            off="--no-remedies",
        ),
    ] = True
    proof_images: Annotated[
        int,
        Option(
            "--proof-count",
            "Number of held-out images on which the quantized model is compared with the float model.",
            ACCURACY,
        ),
    ] = 24
    allow_unproven: Annotated[
        bool,
        Option("--allow-unproven", "Accept a build without any image to compare the two models on.", ACCURACY),
    ] = False
    gate: GateOptions | None = None
    out: Annotated[Path, Option("--out", "Folder for bundles.", OUTPUT, metavar="FOLDER", often=True)] = Path("build")
    name: Annotated[
        str | None,
        Option(
            "--name",
            "Name of the bundle, before target and type.",
            OUTPUT,
            default="the model file's, or its training run's",
        ),
    ] = None
    examples: Annotated[
        int,
        Option(
            "--examples", "Number of compared images that the bundle keeps as small pictures for the report.", OUTPUT
        ),
    ] = 4
    toolkit_python: Annotated[Path | None, TOOLKIT_PYTHON] = None

    def __post_init__(self) -> None:
        """Convert target and type to their standard spelling, and check the numbers.

        Raises:
            RkdeployError: naming the option.
        """
        if self.name is not None:
            checked_name(self.name)
        object.__setattr__(
            self, "target", canonical_target(self.target)
        )  # the usual way to set a field of a frozen class
        object.__setattr__(self, "dtype", canonical_dtype(self.dtype, self.target))
        if self.form != "rkdeploy" and self.cut != CutOptions():
            raise RkdeployError(
                f"--form {self.form} says which channels share a tensor, and which sigmoids the NPU computes.",
                "Leave out --split and --sigmoid.",
            )
        if self.batch != 1:
            raise RkdeployError(
                f"--batch is {self.batch}, expected 1. rknn-toolkit2 2.5.0 compiles the same network with its "
                "rknn_batch_size, and counts as many NPU cycles per frame for an ONNX file with a batch.",
                "Build without it, and keep the cores busy by contexts: rkdeploy run --contexts 6.",
            )
        if not 0 <= self.min_agreement <= 1:
            raise RkdeployError(f"--min-agreement is {self.min_agreement}, expected a share from 0 to 1.")
        if self.proof_images < 1 or self.calib_count < 1:
            raise RkdeployError("--calib-count and --proof-count must be 1 or more.")
        if self.float16 and self.dtype == FLOAT_DTYPE:
            raise RkdeployError(
                f"--dtype {FLOAT_DTYPE} already has every layer in float16.", "Leave out the --float16 option."
            )
        if self.bias_correction and self.dtype != INT8:
            raise RkdeployError(
                f"--bias-correction corrects INT8 models, and --dtype is {self.dtype}.", "Leave out one of the two."
            )
        if self.algorithm == FOUND_BY_SENSITIVITY and self.dtype != INT8:
            raise RkdeployError(
                f"--algorithm {self.algorithm} searches ranges of INT8 models, and --dtype is {self.dtype}.",
                "Leave out one of the two.",
            )
        if not 0 <= self.examples <= MAX_EXAMPLES:
            raise RkdeployError(f"--examples is {self.examples}, expected 0 to {MAX_EXAMPLES}.")

    @property
    def folder(self) -> Path:
        """Folder of the bundle."""
        return self.out / f"{self.title}-{self.target}-{self.dtype}"

    @property
    def title(self) -> str:
        """Name of the bundle without target and type, and of the files in it."""
        form = "" if self.form == "rkdeploy" else f"-{self.form}"
        return self.name or f"{default_name(self.model)}{form}"

"""What a user may choose about a build."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rkdeploy.contract.chips import FLOAT16, canonical_dtype, canonical_target
from rkdeploy.errors import RkdeployError
from rkdeploy.evaluate.examples import MAX_EXAMPLES
from rkdeploy.host.building.accuracy_gate import GateOptions
from rkdeploy.host.building.agreement_gate import FLOOR
from rkdeploy.host.building.input_choice import InputChoice
from rkdeploy.host.building.naming import checked_name, default_name
from rkdeploy.host.export.emission import StemForm
from rkdeploy.host.graph.cut import CutOptions
from rkdeploy.host.toolkit.float16 import Float16Choice

FLOAT_DTYPE = FLOAT16


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """One build.

    Attributes:
        model: a `.pt`, `.pth` or `.onnx`.
        weights: the checkpoint of an ONNX file, whose anchors and names count.
        anchors: widths and heights in pixels for an ONNX file that has none, finest level first.
        cfg: the darknet cfg of a checkpoint that holds weights only (YOLOR's main branch).
        imgsz: (height, width) in pixels; None takes the training size.
        input: what the user says of the network's input and classes.
        target: SoC, see `rkdeploy.contract.chips`; kept as the toolkit's platform.
        dtype: `int8`, `fp16`, or another type that the chip has; kept by that name.
        calib: folder, list file or data.yaml; None looks for ./calib_data.
        calib_count: how many calibration images at most.
        seed: of the choice of images.
        algorithm, method: of the toolkit's quantization.
        float16: which layers of a quantized model stay in float16; None is `default_float16`.
        optimization_level: of the toolkit, 0 to 3.
        stem: how the first layer is written.
        nms: which head of a checkpoint with two (YOLOv10, YOLO26); None takes the one that its trainer takes.
        cut: where the graph is cut.
        min_agreement: share that every measure of agreement with float must reach, 0..1: see
            `rkdeploy.host.building.agreement_gate`.
        proof_images: how many held-out images it is proven on.
        examples: how many of them the bundle keeps, small, to be looked at.
        gate: what it must keep of float's accuracy on labeled images; None measures nothing.
        out: folder for bundles.
        toolkit_python: interpreter that has rknn-toolkit2; None is this one.
        name: of the bundle and the model in it; None takes `rkdeploy.host.building.naming.default_name`.
        allow_unproven: whether a build that nothing could be compared on is a success.
    """

    model: Path
    weights: Path | None = None
    anchors: tuple[float, ...] | None = None
    cfg: Path | None = None
    imgsz: tuple[int, int] | None = None
    input: InputChoice = field(default_factory=InputChoice)
    target: str = "rk3588"
    dtype: str = "int8"
    calib: Path | None = None
    calib_count: int = 20
    seed: int = 0
    algorithm: str = "normal"
    method: str = "channel"
    float16: Float16Choice | None = None
    optimization_level: int = 3
    stem: StemForm = "space_to_depth"
    nms: bool | None = None
    cut: CutOptions = field(default_factory=CutOptions)
    min_agreement: float = FLOOR
    proof_images: int = 24
    examples: int = 4
    gate: GateOptions | None = None
    out: Path = Path("build")
    toolkit_python: Path | None = None
    name: str | None = None
    allow_unproven: bool = False

    def __post_init__(self) -> None:
        """Bring target and type to their own spelling; refuse those that are unknown, and numbers that mean nothing.

        Raises:
            RkdeployError: naming the option.
        """
        if self.name is not None:
            checked_name(self.name)
        object.__setattr__(self, "target", canonical_target(self.target))  # the usual way out of a frozen class
        object.__setattr__(self, "dtype", canonical_dtype(self.dtype, self.target))
        if not 0 <= self.min_agreement <= 1:
            raise RkdeployError(f"--min-agreement is {self.min_agreement}, expected a share from 0 to 1.")
        if self.proof_images < 1 or self.calib_count < 1:
            raise RkdeployError("--calib-count and --proof-count must be 1 or more.")
        if self.float16 and self.dtype == FLOAT_DTYPE:
            raise RkdeployError(
                f"--dtype {FLOAT_DTYPE} has every layer in float16 already.", "Leave out the --float16 option."
            )
        if not 0 <= self.examples <= MAX_EXAMPLES:
            raise RkdeployError(f"--examples is {self.examples}, expected 0 to {MAX_EXAMPLES}.")

    @property
    def folder(self) -> Path:
        """Where the bundle goes."""
        return self.out / f"{self.title}-{self.target}-{self.dtype}"

    @property
    def title(self) -> str:
        """Name of the bundle without target and type, and of the files in it."""
        return self.name or default_name(self.model)

"""Values that the stages of a build hand on: the cut network, the images, the quantized model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from rkdeploy.contract.accuracy import AccuracyReport
    from rkdeploy.contract.agreement import Agreement
    from rkdeploy.contract.compiled_model import CompiledModel
    from rkdeploy.contract.record import AttemptRecord
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.datasets.truth import LabeledSet
    from rkdeploy.host.building.build_options import BuildOptions
    from rkdeploy.host.building.chosen_images import BuildImages
    from rkdeploy.host.graph.given_ranges import Grids
    from rkdeploy.host.toolkit.built_model import BuiltModel


@dataclass(frozen=True, slots=True)
class CutNetwork:
    """The network cut at its head.

    Attributes:
        whole: as it was cut.
        graph: as the NPU runs it, in floating point: with depthwise convolutions in parts, if that was asked for.
        file: the same as a file of the bundle.
        spec: contract of the model.
        given: scales and zero points that the file brings; None to calibrate all.
    """

    whole: onnx.ModelProto
    graph: onnx.ModelProto
    file: Path
    spec: ModelSpec
    given: Grids | None = None


@dataclass(frozen=True, slots=True)
class BuildData:
    """Images of a build and of its evaluation.

    Attributes:
        images: that it calibrates on and is proven on.
        labeled: the images of the accuracy gate, None without.
        request: hash of all that the user asked for.
    """

    images: BuildImages
    labeled: LabeledSet | None
    request: str


@dataclass(frozen=True, slots=True)
class BuiltNetwork:
    """The quantized model and its comparison with the float model.

    Attributes:
        options: that it was built with.
        part: that it was built from.
        model: the `.rknn` and what the toolkit says of it.
        spec: the contract with the quantization of its tensors.
        agreement: with the float model on the held-out images; None without images.
        compiled: the compiler's tables; None where its log does not have them.
        compile_problem: the reason for that; empty otherwise.
        accuracy: of both on labeled images; None without.
        attempts: quantizations that were tried; empty where the first one was good enough.
    """

    options: BuildOptions
    part: CutNetwork
    model: BuiltModel
    spec: ModelSpec
    agreement: Agreement | None
    compiled: CompiledModel | None
    compile_problem: str = ""
    accuracy: AccuracyReport | None = None
    attempts: tuple[AttemptRecord, ...] = ()

"""The answer of `rkdeploy inspect`: one document for each kind of file, and the same as rows for people."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from rkdeploy.contract.spec import Anchors, ModelSpec
from rkdeploy.errors import RkdeployError
from rkdeploy.host.families.model_info import ModelInfo, TrainingFacts
from rkdeploy.host.families.speed_advice import Advice

_MAX_NAMES = 12


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why `rkdeploy build` does not take a file.

    Attributes:
        message: what is wrong.
        hint: what to do; may be empty.
    """

    message: str
    hint: str

    @classmethod
    def of(cls, error: RkdeployError | None) -> Refusal | None:
        """The refusal with a build's error; None without one."""
        return None if error is None else cls(error.message, error.hint)


@dataclass(frozen=True, kw_only=True)
class Buildable:
    """Common part of the documents about a file that `rkdeploy build` may take.

    Attributes:
        file: name of the file.
        refused: why `rkdeploy build` does not take it; None if it does.
        needed: what `rkdeploy build` needs in addition to the file; empty if nothing.
        advice: advice on speed.
        schema_version: version of this schema.
    """

    file: str
    refused: Refusal | None = None
    needed: str = ""
    advice: tuple[Advice, ...] = ()
    schema_version: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class CheckpointInspection(Buildable, ModelInfo):
    """A checkpoint of a known family.

    Attributes:
        unsupported: what kind of model it is, if it is one that does not build; empty otherwise.
        document: tag of the document.
    """

    unsupported: str = ""
    document: Literal["rkdeploy inspect checkpoint"] = "rkdeploy inspect checkpoint"

    @classmethod
    def of(cls, info: ModelInfo, **more: Any) -> CheckpointInspection:
        """The inspection with a model's facts, and the fields of this class."""
        return cls(**{field.name: getattr(info, field.name) for field in fields(ModelInfo)}, **more)


@dataclass(frozen=True, kw_only=True)
class UnsupportedCheckpointInspection(Buildable):
    """A checkpoint of no known family, whose kind is recognized.

    Attributes:
        unsupported: what kind of model it is.
        parts: names of its largest parts.
        training: facts of its training run and its weights.
        document: tag of the document.
    """

    unsupported: str
    parts: tuple[str, ...]
    training: TrainingFacts
    document: Literal["rkdeploy inspect unsupported checkpoint"] = "rkdeploy inspect unsupported checkpoint"


@dataclass(frozen=True, slots=True)
class HeadTensorSource:
    """A tensor that the NPU's part of a graph would end in.

    Attributes:
        node: node that computes it.
        role: content of the tensor, as in the contract.
        stride: input pixels per cell.
        shape: (1, C, H, W).
    """

    node: str
    role: str
    stride: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """The network of an ONNX file, as a build reads it.

    Attributes:
        family: as the contract would name it.
        task: detection, segmentation, ...
        class_names: one per class.
        anchors: in pixels, None for models without.
        head: tensors that the NPU's part would end in.
        proves_decode: True if the graph has its decode, which proves the build.
        notes: what the user should know of how it was read.
    """

    family: str
    task: str
    class_names: tuple[str, ...]
    anchors: Anchors | None
    head: tuple[HeadTensorSource, ...]
    proves_decode: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class OnnxInspection(Buildable):
    """An ONNX file.

    Attributes:
        opset: of the file.
        producer: the program that wrote it.
        inputs: shapes by name; a free extent is None.
        outputs: shapes by name, like the inputs.
        model: what a build reads in it; None if it does not build.
        document: tag of the document.
    """

    opset: int
    producer: str
    inputs: dict[str, tuple[int | None, ...]]
    outputs: dict[str, tuple[int | None, ...]]
    model: OnnxModel | None = None
    document: Literal["rkdeploy inspect onnx"] = "rkdeploy inspect onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class RknnInspection:
    """A `.rknn` file.

    Attributes:
        file: name of the file.
        targets: chips that it was built for, as it names them.
        toolkit_version: version of rknn-toolkit2, as the file names it; None if it does not.
        file_version: version of the file format.
        contract: the short contract inside, as it was found; None if rkdeploy did not build the file.
        schema_version: version of this schema.
        document: tag of the document.
    """

    file: str
    targets: tuple[str, ...]
    toolkit_version: str | None
    file_version: int
    contract: dict[str, Any] | None = None
    schema_version: Literal[1] = 1
    document: Literal["rkdeploy inspect rknn"] = "rkdeploy inspect rknn"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInspection:
    """A bundle, every hash of which holds.

    Attributes:
        file: name of its folder.
        contract: the whole contract.
        schema_version: version of this schema.
        document: tag of the document.
    """

    file: str
    contract: ModelSpec
    schema_version: Literal[1] = 1
    document: Literal["rkdeploy inspect bundle"] = "rkdeploy inspect bundle"


InspectionDocument = (
    CheckpointInspection | UnsupportedCheckpointInspection | OnnxInspection | RknnInspection | BundleInspection
)
INSPECTIONS: tuple[type[InspectionDocument], ...] = (
    CheckpointInspection,
    UnsupportedCheckpointInspection,
    OnnxInspection,
    RknnInspection,
    BundleInspection,
)
"""All kinds, distinguished by their field `document`: `read_document` takes them."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Findings about a file.

    Attributes:
        rows: facts for people, name and value; an empty name continues the line before.
        document: the same for programs.
    """

    rows: tuple[tuple[str, str], ...]
    document: InspectionDocument

    @property
    def builds(self) -> bool | None:
        """True if `rkdeploy build` takes the file; None for one that is built already."""
        return self.refusal is None if isinstance(self.document, Buildable) else None

    @property
    def refusal(self) -> Refusal | None:
        """The reason why `rkdeploy build` does not take the file."""
        return self.document.refused if isinstance(self.document, Buildable) else None

    @property
    def needed(self) -> str:
        """Options that `rkdeploy build` needs in addition to the file."""
        return self.document.needed if isinstance(self.document, Buildable) else ""

    @property
    def advice(self) -> tuple[Advice, ...]:
        """Advice on speed."""
        return self.document.advice if isinstance(self.document, Buildable) else ()


def listed_names(names: tuple[str, ...]) -> str:
    """The number of classes and the first dozen of their names."""
    return f"{len(names)}: {', '.join(names[:_MAX_NAMES])}" + (", ..." if len(names) > _MAX_NAMES else "")

"""The network that a build starts from, from a checkpoint or a foreign ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, Task
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.graph.head import Head


@dataclass(frozen=True, slots=True)
class Network:
    """A network ready to be cut.

    Attributes:
        file: the user's file.
        sha256: of that file.
        weights: the `.pt` given with an ONNX file, else None.
        family: of the model, `onnx` for a foreign classifier.
        task: detection, segmentation, ...
        trained: the graph as it was trained, with its decode: the reference of the contract's verification.
        reference: the same with the first layer in the form that is built; `trained` itself if nothing is rewritten.
        simplified: the graph to cut, with static shapes.
        head: the head of `simplified`.
        reference_head: the head of `trained` and `reference`, which describes their outputs.
        input: the image input.
        anchors: pixels, finest level first; None for anchor-free families.
        anchors_from: `checkpoint`, `graph` or `command line`; None for anchor-free families.
        class_names: one per class.
        info: the checkpoint's facts, None for a lone ONNX file.
        notes: remarks for the user.
        prepares_pixels: the graph takes bytes, and so says the mean and deviation of its input.
        is_quantized: the file is quantized; `trained` and the others are its float form.
        given_grids: scale and zero point of activations that the file brings, by their tensors in `simplified`.
        foreign: the graph comes from an ONNX file, and runs in a process with limits until it is proven.
    """

    file: Path
    sha256: str
    weights: Path | None
    family: str
    task: Task
    trained: onnx.ModelProto
    reference: onnx.ModelProto
    simplified: onnx.ModelProto
    head: Head
    reference_head: Head
    input: InputSpec
    anchors: Anchors | None
    anchors_from: str | None
    class_names: tuple[str, ...]
    info: ModelInfo | None
    notes: tuple[str, ...]
    foreign: bool = False
    prepares_pixels: bool = False
    given_grids: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    is_quantized: bool = False

    @property
    def proves_decode(self) -> bool:
        """True if there is a trained decode, of the graph or of its checkpoint, to prove the contract with."""
        return self.reference_head.proves_decode

    @property
    def input_hw(self) -> tuple[int, int]:
        """Network input (height, width) in pixels."""
        return self.input.height, self.input.width

    def contract(self, outputs: tuple[HeadOutput, ...]) -> ModelSpec:
        """The contract of this network, cut so that it has the given outputs."""
        return ModelSpec(
            family=self.family,
            task=self.task,
            class_names=self.class_names,
            input=self.input,
            outputs=outputs,
            anchors=self.anchors,
            end_to_end=self.head.end_to_end,
            keypoints=self.head.keypoints,
            angle=self.head.angle,
            points=self.head.points,
            anchor_formula=self.head.anchor_formula,
            prior_formula=self.head.prior_formula,
            class_maps=self.head.class_maps,
            depth=self.head.depth,
            embedding=self.head.embedding,
            areas=self.head.areas,
            text=self.head.text,
        )


def describe_anchors(anchors: Anchors) -> str:
    """Anchors in the usual notation: w,h w,h w,h | ... in pixels."""
    return " | ".join(" ".join(f"{w:.6g},{h:.6g}" for w, h in level) for level in anchors.levels_px)

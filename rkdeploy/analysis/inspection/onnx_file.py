"""Facts of an ONNX file: inputs and outputs, head, and how far it proves itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import onnx

from rkdeploy.analysis.inspection.inspection import (
    HeadTensorSource,
    Inspection,
    OnnxInspection,
    OnnxModel,
    Refusal,
    listed_names,
)
from rkdeploy.errors import GraphError, RkdeployError
from rkdeploy.host.building.embedding_presets import VECTOR_KINDS, fitting_embeddings
from rkdeploy.host.building.input_choice import exported_map
from rkdeploy.host.building.map_presets import MAP_KINDS, fitting_maps
from rkdeploy.host.building.network import Network, describe_anchors
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.presets import fitting
from rkdeploy.host.building.text_presets import is_text, needed_of_text
from rkdeploy.host.graph.foreign import exported_size, load_onnx, opset
from rkdeploy.host.graph.foreign_process import run_foreign
from rkdeploy.host.graph.graph_facts import Shape, facts_of, listed
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head_kinds import MASK, PLANE, VECTOR
from rkdeploy.host.graph.pixel_scale import prepared_pixels
from rkdeploy.host.graph.text_probe import size_of_line

_OPEN_TASKS: Final = {
    PLANE: "depth, a mask or areas of text: --preset says it",
    MASK: "a mask or areas of text: --preset says it",
}
"""Words for maps that may mean several things, by the kind of the head."""
_FREE_SIZE = (640, 640)
"""Size at which a graph of free size is inspected: a multiple of every usual stride."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """Facts of a graph, as the process that reads it hands them over."""

    opset: int
    producer: str
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    says_size: bool


def inspect_onnx(path: Path) -> Inspection:
    """Open an ONNX file as a build would, and report the result.

    Raises:
        GraphError: when it is not an ONNX file, is damaged, or exceeds the limits.
    """
    seen = run_foreign(path, partial(_seen, path), _Seen)
    rows = [
        ("written by", seen.producer),
        ("inputs", listed(seen.inputs)),
        ("outputs", listed(seen.outputs)),
    ]
    document = OnnxInspection(
        file=path.name, opset=seen.opset, producer=seen.producer, inputs=seen.inputs, outputs=seen.outputs
    )
    free = _is_free(seen)
    try:
        network = open_network(path, imgsz=_FREE_SIZE if free else None)
    except RkdeployError as error:
        return Inspection(tuple(rows), replace(document, refused=Refusal.of(_at_size(error, free=free))))
    rows += _rows(network)
    return Inspection(tuple(rows), replace(document, model=_model(network), needed=_needed(network, free=free)))


def _needed(network: Network, *, free: bool) -> str:
    """The options that a build needs because the graph does not say it; empty if there are none."""
    needed = []
    if free:
        needed.append(f"a size, since the graph leaves it free: --imgsz {_FREE_SIZE[0]}, or the one of the training")
    if network.head.kind in VECTOR_KINDS:
        needed.append(_needed_by_vector(network))
    if is_text(network.head):
        return "; ".join((*needed, *needed_of_text(network)))
    presets = fitting(network.head) if network.head.kind else ()
    if presets:
        needed.append(f"what prepared its images: --preset {' or '.join(presets)}")
    kind = network.head.kind
    if kind in MAP_KINDS and exported_map(network) is None:
        needed.append(f"what its map means and how images are prepared: --preset {' or '.join(fitting_maps(kind))}")
    return "; ".join(filter(None, needed))


def _needed_by_vector(network: Network) -> str:
    """The options for a graph that gives a vector; empty where it says how its images are prepared."""
    presets = " or ".join(fitting_embeddings(*network.input_hw))
    if network.head.kind == VECTOR:
        return f"whether its numbers are an embedding (--preset {presets}) or scores of classes (--task classify)"
    prepares = network.prepares_pixels or prepared_pixels(GraphView(network.trained))
    return "" if prepares else f"what prepared its images: --preset {presets}"


def _model(network: Network) -> OnnxModel:
    return OnnxModel(
        family=network.family,
        task=network.task,
        class_names=network.class_names,
        anchors=network.anchors,
        head=tuple(HeadTensorSource(t.node, t.role, t.stride, tuple(t.shape)) for t in network.head.taps),
        proves_decode=network.proves_decode,
        notes=network.notes,
    )


def _seen(path: Path) -> _Seen:
    model = load_onnx(path)
    facts = facts_of(GraphView(model))
    image = next((shape for shape in facts.inputs.values() if len(shape) == 4), ())
    says_size = exported_size(model) is not None or (len(image) == 4 and size_of_line(model, image) is not None)
    return _Seen(opset(model), _producer(model), dict(facts.inputs), dict(facts.outputs), says_size)


def _is_free(seen: _Seen) -> bool:
    """True if height and width of the image are both free, and the file does not give the size of the export."""
    image = next((shape for shape in seen.inputs.values() if len(shape) == 4), ())
    return len(image) == 4 and image[2] is None and image[3] is None and not seen.says_size


def _at_size(error: RkdeployError, *, free: bool) -> RkdeployError:
    """The error of a build; of a graph of free size it says at what size it was looked at."""
    return GraphError(f"At {_FREE_SIZE[0]}x{_FREE_SIZE[1]}: {error.message}", error.hint) if free else error


def _producer(model: onnx.ModelProto) -> str:
    written = " ".join(part for part in (model.producer_name, model.producer_version) if part) or "not in the file"
    return f"{written[:80]}, opset {opset(model)}"


def _rows(network: Network) -> list[tuple[str, str]]:
    head = network.head
    strides = sorted({tap.stride for tap in head.taps if not tap.name})
    task = _OPEN_TASKS.get(head.kind, network.task) if exported_map(network) is None else network.task
    rows = [("task", task), ("classes", listed_names(network.class_names))]
    if strides:
        rows.append(("strides", " ".join(str(stride) for stride in strides)))
    if network.anchors is not None:
        rows.append(("anchors", f"{describe_anchors(network.anchors)} px"))
    if head.keypoints is not None:
        scored = "with" if head.keypoints.scored else "without"
        rows.append(("keypoints", f"{head.keypoints.count}, {scored} visibility"))
    if head.masks:
        rows.append(("masks", f"{head.masks} coefficients"))
    if head.end_to_end:
        rows.append(("heads", "each object once, no suppression"))
    rows.append(("cut at", ", ".join(f"{t.node} ({t.role}, {t.shape[1]} channels)" for t in head.taps)))
    rows.append(
        (
            "decode",
            "in the graph, and proves the build"
            if network.proves_decode
            else "not in the graph: unproven without --weights",
        )
    )
    rows += [("note", note) for note in network.notes]
    return rows

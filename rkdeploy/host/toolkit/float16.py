"""Layers of a quantized model that stay in float16: the user's names, and the tensors that they stand for.

Each change between int8 and float16 costs a conversion on the NPU, so neighboring layers are cheaper together than
apart; docs/quantization.md has gains and costs of some choices.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Final

from rkdeploy.contract.chips import has_float16
from rkdeploy.errors import RkdeployError, shown
from rkdeploy.option import QUANTIZATION, Form, Option

if TYPE_CHECKING:
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.host.graph.graph_view import GraphView
    from rkdeploy.host.toolkit.error_analysis import LayerError

HEAD: Final = "head"
GEOMETRY: Final = "geometry"
NONE: Final = "none"
_POINT_GEOMETRY: Final = frozenset({"dfl_boxes", "ltrb_boxes", "center_boxes", "query_boxes", "keypoint_xy", "angles"})
_FORM_NODE: Final = "form/"
"""Beginning of the names of nodes that a form of another program appends; they decode, and end no network."""
_ANCHOR_GEOMETRY: Final = frozenset({"anchor_boxes", "anchor_xy", "anchor_wh", "anchor_keypoint_xy"})
# The toolkit refuses a mix of float16 and integers there: "only support int8/int16".
_UNMIXED: Final = frozenset({"rk2118"})
_RANGE: Final = re.compile(r"(.*\.)?(\d{1,4})-(\d{1,4})")
_SUFFIX: Final = re.compile(r"(_output_\d+)?(_int8)?$")
_MOST_NAMED: Final = 8
_FIRST: Final = frozenset({"Conv", "Gemm", "MatMul", "ConvTranspose", "Gather", "GatherElements", "GatherND", "TopK"})
"""Operators that the layers `head` and `geometry` begin with; the indices of a selection have no type to choose."""
_LAYERS: Final = Form(
    lambda text: tuple(name for part in text.split(",") if (name := part.strip()) and name != NONE),
    lambda layers: ",".join(layers) or NONE,
    "NAME,...",
)
# They compute nothing: the loss in their row is a change of scale, which float16 would not undo.
_MOVERS: Final = frozenset(
    {"Input", "exDataConvert", "Concat", "Split", "Slice", "Resize", "Reshape", "Transpose", "MaxPool"}
)


@dataclass(frozen=True, slots=True)
class Float16Choice:
    """Choice of the layers that stay in float16; at most one of the three is given.

    Attributes:
        layers: see `tensors_of`.
        worst: number of layers with the largest standalone error in the toolkit's accuracy analysis, on calibration
            images.
        auto: the layers that the toolkit itself proposes.
    """

    layers: Annotated[
        tuple[str, ...],
        Option(
            "--float16-layers",
            "Layers that stay float16, with commas between: names or modules as rkdeploy explain prints "
            "them (head,model.17-23), geometry (boxes, keypoints and angles), or none.",
            QUANTIZATION,
            form=_LAYERS,
            default="geometry for anchor-free heads, else none",
        ),
    ] = ()
    worst: Annotated[
        int,
        Option(
            "--float16-worst", "Keep the N layers with the largest standalone error in float16.", QUANTIZATION, low=0
        ),
    ] = 0
    auto: Annotated[
        bool, Option("--float16-auto", "Keep the layers in float16 that the toolkit proposes.", QUANTIZATION)
    ] = False

    def __post_init__(self) -> None:
        """Check for contradictions.

        Raises:
            RkdeployError: naming the options.
        """
        if self.worst < 0:
            raise RkdeployError(f"--float16-worst is {self.worst}, expected 0 or more.")
        if bool(self.layers) + bool(self.worst) + self.auto > 1:
            raise RkdeployError("--float16-layers, --float16-worst and --float16-auto exclude each other; give one.")

    def __bool__(self) -> bool:
        return bool(self.layers or self.worst or self.auto)


def layer_name(name: str) -> str:
    """The user's name of the layer that computes a tensor: with dots, without the suffixes of exporters and the
    toolkit.
    """
    return _SUFFIX.sub("", name).strip("/").replace("/", ".")


def module_name(tensor: str) -> str:
    """The module that a tensor's layer belongs to, `model.6` of `model.6.cv1.conv`; else the layer itself."""
    parts = layer_name(tensor).split(".")
    return ".".join(parts[:2]) if len(parts) > 2 and parts[1].isdecimal() else layer_name(tensor)


def default_float16(spec: ModelSpec, target: str, dtype: str) -> Float16Choice:
    """Default of an int8 build: the geometry outputs of anchor-free heads stay float16.

    Box distances, keypoints and angles of an anchor-free head have tensors of their own, one small convolution each.
    In int8 they cost most of the accuracy that a build loses, in float16 almost nothing (docs/quantization.md).  An
    anchor head's boxes lie between 0 and 1 after their sigmoid and stay int8.
    """
    if dtype != "int8" or target in _UNMIXED or not has_float16(target):
        return Float16Choice()
    if spec.form == "zoo":  # its programs read integers, the pose demo its keypoints excepted
        return Float16Choice((GEOMETRY,)) if spec.keypoints is not None else Float16Choice()
    found = any(o.role in _POINT_GEOMETRY or (o.role == "joined" and o.level_strides) for o in spec.outputs)
    return Float16Choice((GEOMETRY,)) if found else Float16Choice()


def tensors_of(wanted: Sequence[str], graph: GraphView, spec: ModelSpec) -> tuple[str, ...]:
    """The tensors that layers compute, in the graph's order.

    Args:
        wanted: names of layers as printed by `rkdeploy explain`; or modules with all layers in them (`model.17`); or
            ranges of modules (`model.17-23`); or patterns with `*`; or `head`, the last convolution of each output and
            everything behind it; or `geometry`, the same for outputs that only hold boxes, keypoints or angles.
            `/model.17/cv1` of exported files is equal to `model.17.cv1`.
        graph: the cut graph.
        spec: contract of the model.

    Raises:
        RkdeployError: when a name matches no layer.
    """
    # All outputs of nodes have names of their own; the name of an input or a constant is not a layer's.
    computed = [name for name in graph.producers if name not in graph.indices]
    plain = {name: layer_name(name) for name in computed}
    words = {HEAD: _last_layers(graph, [o.name for o in spec.outputs]), GEOMETRY: _last_layers(graph, _geometry(spec))}
    chosen: set[str] = set()
    for name in wanted:
        found = words[name] if name in words else {c for c in computed if _means(layer_name(name), plain[c])}
        if not found:
            known = [word for word in words if words[word]]
            modules = list(dict.fromkeys(".".join(p.split(".")[:2]) for p in plain.values()))
            raise RkdeployError(
                f"--float16-layers: the network has no layer {shown(name)}.",
                f"It has {', '.join(known + modules[:_MOST_NAMED])}, ... {modules[-1]}; "
                "`rkdeploy explain --all` lists every layer.",
            )
        chosen |= found
    return tuple(name for name in computed if name in chosen)


def worst_layers(rows: Sequence[LayerError], count: int) -> tuple[str, ...]:
    """The tensors of the layers with the lowest cosine when quantized alone, the worst first."""
    layers = [row for row in rows if row.op not in _MOVERS]
    return tuple(row.name for row in sorted(layers, key=lambda row: row.single_cosine)[:count])


def _means(wanted: str, layer: str) -> bool:
    if "*" in wanted:
        return fnmatchcase(layer, wanted)
    found = _RANGE.fullmatch(wanted)
    if found is None:
        return layer == wanted or layer.startswith(f"{wanted}.")
    before, first, last = found[1] or "", int(found[2]), int(found[3])
    number = layer[len(before) :].split(".", maxsplit=1)[0]
    return layer.startswith(before) and number.isdecimal() and first <= int(number) <= last


def _geometry(spec: ModelSpec) -> list[str]:
    """Outputs that only hold boxes, keypoints or angles, and those of other forms that hold decoded ones."""
    roles = _POINT_GEOMETRY | _ANCHOR_GEOMETRY
    return [o.name for o in spec.outputs if o.role in roles or (o.role == "joined" and o.level_strides)]


def _last_layers(graph: GraphView, outputs: Sequence[str]) -> set[str]:
    """Tensors from the last convolution of each output on, or from where queries were selected."""
    walk = graph.back(outputs, through=lambda node: node.op_type not in _FIRST or node.name.startswith(_FORM_NODE))
    return {tensor for tensor, _ in walk}

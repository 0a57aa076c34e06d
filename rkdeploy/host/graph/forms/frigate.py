"""Outputs as Frigate's detector for Rockchip NPUs reads them.

Source: blakeblackshear/frigate 0.17, frigate/detectors/plugins/rknn.py and frigate/util/model.py: of model type `yolox`
three maps of box, objectness and classes; of `yolo-generic` either three maps of anchors, for YOLOv7's anchors and 80
classes only, or one tensor of decoded rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from rkdeploy.contract.formulas import PointFormula
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.forms.form_graph import FormGraph
from rkdeploy.host.graph.forms.head_levels import levels_of
from rkdeploy.host.graph.forms.joined_rows import decoded_rows, joined_rows
from rkdeploy.host.graph.forms.zoo import zoo_form

if TYPE_CHECKING:
    import onnx

    from rkdeploy.contract.spec import ModelSpec

ModelType = Literal["yolo-generic", "yolox"]
CLASSES: Final = 80
"""Number of classes that the reader of three maps of anchors has written into it."""
ANCHORS: Final = (
    ((12.0, 16.0), (19.0, 36.0), (40.0, 28.0)),
    ((36.0, 75.0), (76.0, 55.0), (72.0, 146.0)),
    ((142.0, 110.0), (192.0, 243.0), (459.0, 401.0)),
)
"""Anchors that it has written into it: those of YOLOv7."""
_POSSIBLE: Final = (
    "Frigate takes upright boxes: build a detection model of YOLOv5 to 11, YOLO26 or YOLOX, "
    "or leave out --form frigate."
)


def frigate_cut_options(spec: ModelSpec) -> CutOptions:
    """Form of the cut that Frigate's outputs are made from.

    Args:
        spec: contract of the network cut with the default options.
    """
    if spec.anchors is None or _has_known_anchors(spec):
        return CutOptions()
    return CutOptions("xy_wh_scores", "all")


def frigate_form(graph: onnx.ModelProto, spec: ModelSpec) -> tuple[onnx.ModelProto, ModelSpec]:
    """The cut graph with Frigate's outputs, and the contract that describes them.

    Args:
        graph: cut with `frigate_cut_options`.
        spec: contract of that graph.

    Raises:
        GraphError: for a model that Frigate cannot read.
    """
    if spec.task != "detect":
        raise GraphError(f"Frigate does not read a {spec.task} model.", _POSSIBLE)
    levels = levels_of(spec)
    if levels and ("anchor_map" in levels[0] or "objectness" in levels[0]):
        maps, found = zoo_form(graph, spec)
        return maps, replace(found, form="frigate")
    writer = FormGraph(graph)
    try:
        rows = decoded_rows(writer, spec, fractions=False)
    except GraphError as error:
        raise GraphError(error.message, _POSSIBLE) from error
    output = joined_rows(writer, rows, "rows", spec.outputs[0])
    return writer.finish([output]), replace(
        spec,
        outputs=(output,),
        anchors=None,
        points=PointFormula(unit="pixels"),
        end_to_end=False,
        form="frigate",
    )


def frigate_model_type(spec: ModelSpec) -> ModelType:
    """Frigate's `model_type` of a contract in its form."""
    roles = {part.role for output in spec.outputs for part in output.parts}
    return "yolox" if "objectness" in roles else "yolo-generic"


def _has_known_anchors(spec: ModelSpec) -> bool:
    """True if three maps of anchors can be read: Frigate has YOLOv7's anchors and COCO's number of classes only."""
    assert spec.anchors is not None
    return spec.anchors.levels_px == ANCHORS and len(spec.class_names) == CLASSES

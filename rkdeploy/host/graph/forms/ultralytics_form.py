"""Outputs as the ultralytics package reads them on a board: one tensor of decoded rows, and prototypes.

Source: ultralytics 8.4.190, nn/backends/rknn.py, `RKNNBackend.forward`: where a model's metadata says `quantize: 8`,
the coordinates are fractions of the input's sides, because one INT8 scale has to hold them and the scores; else pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from rkdeploy.contract.formulas import AngleFormula, PointFormula
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.forms.form_graph import FormGraph
from rkdeploy.host.graph.forms.head_levels import whole_outputs
from rkdeploy.host.graph.forms.joined_rows import decoded_rows, joined_rows

if TYPE_CHECKING:
    import onnx

    from rkdeploy.contract.spec import ModelSpec

_POSSIBLE: Final = (
    "Ultralytics reads detect, segment, pose and obb models: YOLOv8 to 26 and others with an anchor-free head, and the "
    "boxes of YOLOv5 and YOLOv7. Leave out --form ultralytics, and run the bundle with rkdeploy."
)
_TASKS: Final = ("detect", "segment", "pose", "obb")


def ultralytics_cut_options(spec: ModelSpec) -> CutOptions:
    """Form of the cut that Ultralytics' outputs are made from.

    Args:
        spec: contract of the network cut with the default options.
    """
    return CutOptions("xy_wh_scores", "all") if spec.anchors is not None else CutOptions()


def ultralytics_form(graph: onnx.ModelProto, spec: ModelSpec, *, fractions: bool) -> tuple[onnx.ModelProto, ModelSpec]:
    """The cut graph with Ultralytics' outputs, and the contract that describes them.

    Args:
        graph: cut with `ultralytics_cut_options`.
        spec: contract of that graph.
        fractions: whether coordinates are fractions of the input's sides, as its INT8 models have them.

    Raises:
        GraphError: for a model that Ultralytics cannot read.
    """
    if spec.task not in _TASKS or (spec.anchors is not None and spec.task != "detect"):
        raise GraphError(f"Ultralytics does not read this {spec.task} model of family {spec.family}.", _POSSIBLE)
    writer = FormGraph(graph)
    try:
        rows = decoded_rows(writer, spec, fractions=fractions)
    except GraphError as error:
        raise GraphError(error.message, _POSSIBLE) from error
    outputs = (joined_rows(writer, rows, "output0", spec.outputs[0]), *whole_outputs(spec))
    unit: Literal["fractions", "pixels"] = "fractions" if fractions else "pixels"
    return writer.finish(outputs), replace(
        spec,
        outputs=outputs,
        anchors=None,
        points=PointFormula(unit=unit),
        keypoints=replace(spec.keypoints, unit=unit) if spec.keypoints is not None else None,
        angle=AngleFormula(sigmoid=False, gain=1.0, offset=0.0) if spec.angle is not None else None,
        end_to_end=False,
        form="ultralytics",
    )

"""Networks with tensors in addition to their boxes: class maps and prototypes, from checkpoints and from ONNX files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import GraphError, RkdeployError, VerificationError
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input
from tests.host.building.test_network import CUTS, prove

DATA = Path(__file__).parents[2] / "data"
YOLOP, YOLOR = DATA / "yolop", DATA / "yolor"
DRIVING = YOLOP / "end_to_end.pth"
SEGMENT = DATA / "onnx" / "segment.onnx"
HW = {"end_to_end": (64, 96), "final_state": (64, 32), "uneven": (64, 64)}


def recorded(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path.with_suffix(".npz")) as file:
        return {key: file[key] for key in file.files}


def decoded(graph: onnx.ModelProto, spec: ModelSpec, image: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
    """The contract's rows, fields side by side, and the raw outputs, of a (1, 3, H, W) uint8 image."""
    tensors = Session(graph).run({spec.input.name: network_input(image.transpose(0, 2, 3, 1), spec)})
    dense = decoder_for(spec).decode_dense([HeadTensor(tensors[o.name]) for o in spec.outputs])
    return np.concatenate([field.values for field in dense], axis=1), tensors


def assert_is_upstream(network: Network, truth: dict[str, NDArray[Any]]) -> None:
    for options in CUTS:
        _, graph, spec = prove(network, options)
        rows, tensors = decoded(graph, spec, truth["input"])
        assert np.abs(rows - truth["pred"])[:, :4].max() < 1e-3
        assert np.abs(rows - truth["pred"])[:, 4:].max() < 1e-5
        for name, output in (("drivable_area", "drive_area_seg"), ("lane_line", "lane_line_seg")):
            assert np.abs(1 / (1 + np.exp(-tensors[name])) - truth[output]).max() < 1e-5
        assert [o.role for o in spec.outputs][-2:] == ["class_map", "class_map"]
        assert [o.stride for o in spec.outputs][-2:] == [1, 1]
        assert [m.class_names[0] for m in spec.class_maps] == ["background", "background"]


@pytest.mark.parametrize("case", HW)
def test_driving_checkpoint(case: str) -> None:
    """YOLOP's checkpoints are proven at every cut; the cut graph gives upstream's boxes and maps."""
    network = open_network(YOLOP / f"{case}.pth", imgsz=HW[case])
    assert (network.family, network.task) == ("yolop", "detect")
    assert_is_upstream(network, recorded(YOLOP / f"{case}.pth"))


@pytest.mark.parametrize("weights", [None, DRIVING])
def test_driving_onnx_of_upstream(weights: Path | None) -> None:
    """Upstream's own export builds alone and with its checkpoint, with the checkpoint's names for the maps."""
    network = open_network(YOLOP / "end_to_end.onnx", weights)
    assert network.family == "yolop"
    assert network.anchors is not None
    assert network.anchors.levels_px[0][0] == pytest.approx((3, 9), abs=1e-3)
    assert network.input.mean == pytest.approx((123.675, 116.28, 103.53))
    assert network.class_names == (("class_0",) if weights is None else ("vehicle",))
    assert any("ImageNet's mean and deviation" in note for note in network.notes) == (weights is None)
    assert_is_upstream(network, recorded(DRIVING))


def test_driving_onnx_by_strides() -> None:
    """One raw output per stride has no decode: the checkpoint gives it, and is needed."""
    path = YOLOP / "end_to_end_strides.onnx"
    with pytest.raises(GraphError, match=r"no decode, and therefore no anchors.*--weights"):
        open_network(path)
    network = open_network(path, DRIVING)
    assert network.anchors_from == "checkpoint"
    assert_is_upstream(network, recorded(DRIVING))


def test_weights_of_another_driving_model() -> None:
    """The checkpoint of an ONNX file must be its own: anchors, classes or values decide."""
    with pytest.raises(GraphError, match="different anchors"):
        open_network(YOLOP / "end_to_end.onnx", YOLOP / "final_state.pth")
    with pytest.raises(GraphError, match="anchors per level"):
        open_network(YOLOP / "end_to_end.onnx", YOLOP / "uneven.pth")
    network = open_network(YOLOP / "end_to_end_strides.onnx", YOLOP / "final_state.pth")
    with pytest.raises(VerificationError):
        prove(network, CUTS[0])
    with pytest.raises(GraphError, match="strides"):
        open_network(YOLOP / "end_to_end_strides.onnx", DATA / "yolov5" / "v7_autoanchor.pt")


def test_weights_without_maps(tmp_path: Path) -> None:
    """A graph of strides whose maps the checkpoint does not know is refused, naming both."""
    model = onnx.load(YOLOP / "end_to_end_strides.onnx")
    renamed(model, "drive_area_seg", "road")
    path = tmp_path / "renamed.onnx"
    onnx.save(model, path)
    with pytest.raises(
        GraphError, match=r"in addition to its head: road_map, lane_line; the checkpoint: drivable_area, lane"
    ):
        open_network(path, DRIVING)


def renamed(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            node.output[index] = new if name == old else name
    for output in model.graph.output:
        output.name = new if output.name == old else output.name


def test_maps_of_another_name(tmp_path: Path) -> None:
    """Unknown maps keep their own name, and the note says what is assumed of the input."""
    model = onnx.load(YOLOP / "end_to_end.onnx")
    renamed(model, "drive_area_seg", "road")
    path = tmp_path / "renamed.onnx"
    onnx.save(model, path)
    network = open_network(path)
    assert network.family == "yolov5"
    assert network.input.std == (255.0, 255.0, 255.0)
    assert network.notes[-1].startswith("The ONNX file does not say how its images are prepared; values from 0 to 1")
    _, _, spec = prove(network, CUTS[0])
    assert [(m.output, m.class_names) for m in spec.class_maps] == [
        ("road_map", ("background", "road")),
        ("lane_line", ("background", "lane line")),
    ]


@pytest.mark.parametrize("operator", ["Softmax", "Identity", None])
def test_maps_behind_other_activations(operator: str | None, tmp_path: Path) -> None:
    """A softmax over the planes is left out like a sigmoid; without either the map is taken as it is."""
    model = onnx.version_converter.convert_version(onnx.load(YOLOP / "end_to_end.onnx"), 13)
    node = next(n for n in model.graph.node if n.output[0] == "drive_area_seg")
    assert node.op_type == "Sigmoid"
    if operator is None:  # the output is the scores themselves
        source = node.input[0]
        model.graph.node.remove(node)
        for other in model.graph.node:
            for names in (other.input, other.output):
                for index, name in enumerate(names):
                    names[index] = "drive_area_seg" if name == source else name
    else:
        node.CopyFrom(helper.make_node(operator, list(node.input), list(node.output)))
        if operator == "Softmax":
            node.attribute.append(helper.make_attribute("axis", 1))
    path = tmp_path / "edited.onnx"
    onnx.save(model, path)
    network = open_network(path)
    kinds = {tensor.output: tensor.activation for tensor in network.head.tensors}
    assert kinds == {"drive_area_seg": "softmax" if operator == "Softmax" else "linear", "lane_line_seg": "sigmoid"}
    _, graph, spec = prove(network, CUTS[1])
    truth = recorded(DRIVING)
    _, tensors = decoded(graph, spec, truth["input"])
    assert np.abs(1 / (1 + np.exp(-tensors["drivable_area"])) - truth["drive_area_seg"]).max() < 1e-5


def test_softmax_of_old_opsets(tmp_path: Path) -> None:
    """Before opset 13 a softmax with axis 1 runs over all pixels as well; it stays in the graph, which is proven."""
    model = onnx.load(YOLOP / "end_to_end.onnx")
    node = next(n for n in model.graph.node if n.output[0] == "drive_area_seg")
    node.op_type = "Softmax"
    node.attribute.append(helper.make_attribute("axis", 1))
    path = tmp_path / "old.onnx"
    onnx.save(model, path)
    network = open_network(path)
    assert [tensor.activation for tensor in network.head.tensors] == ["linear", "sigmoid"]
    prove(network, CUTS[0])


@pytest.mark.parametrize("weights", [None, DATA / "yolov5" / "seg.pt"])
def test_masks_of_an_anchor_head(weights: Path | None) -> None:
    """YOLOv5-seg's export: coefficients behind the classes, separate prototypes; equal to upstream at every cut."""
    network = open_network(SEGMENT, weights)
    truth = recorded(DATA / "yolov5" / "seg.npz")
    assert (network.family, network.task, network.head.masks) == ("yolov5", "segment", 16)
    assert network.class_names == ("bolt", "nut", "washer")
    for options in CUTS:
        _, graph, spec = prove(network, options)
        rows, tensors = decoded(graph, spec, truth["input"])
        difference = np.abs(rows[truth["rows"]] - truth["pred"])
        assert difference[:, :4].max() < 1e-3
        assert difference[:, 4:8].max() < 1e-5
        assert difference[:, 8:].max() < 1e-4
        assert np.abs(tensors["prototypes"] - truth["proto"]).max() < 1e-4
        assert "anchor_coefficients" in {output.role for output in spec.outputs}


def test_prototypes_without_their_coefficients(tmp_path: Path) -> None:
    """Prototypes of another number than the rows can hold are not a head."""
    model = onnx.load(SEGMENT)
    model.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 32
    tile = helper.make_node("Concat", ["small", "small"], ["output1"], axis=1)
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            node.output[index] = "small" if name == "output1" else name
    model.graph.node.append(tile)
    path = tmp_path / "twice.onnx"
    onnx.save(model, path)
    with pytest.raises(GraphError, match="has no anchor head"):
        open_network(path)


def test_nothing_but_maps(tmp_path: Path) -> None:
    """A segmentation network without boxes is refused, listing what it has."""
    model = onnx.load(YOLOP / "end_to_end.onnx")
    model.graph.output.remove(next(o for o in model.graph.output if o.name == "det_out"))
    path = tmp_path / "maps.onnx"
    onnx.save(model, path)
    with pytest.raises(GraphError, match=r"whole-image maps \(drive_area_seg \(1, 2, 64, 96\), lane_line_seg"):
        open_network(path)


@pytest.mark.parametrize("case", sorted(p.stem for p in YOLOR.glob("*.pt")))
def test_yolor(case: str) -> None:
    """Both branches are proven at every cut, and the cut graph gives upstream's rows."""
    truth = recorded(YOLOR / f"{case}.pt")
    cfg = YOLOR / f"{case}.cfg"
    _, _, height, width = truth["input"].shape
    family = "yolor" if cfg.exists() else None  # a plain cfg is taken for ultralytics/yolov3's otherwise
    network = open_network(
        YOLOR / f"{case}.pt", imgsz=(height, width), cfg=cfg if cfg.exists() else None, family=family
    )
    assert any("--names" in note for note in network.notes) == cfg.exists()
    order = np.argsort(truth["strides"], kind="stable")
    assert network.anchors is not None
    assert np.abs(np.array(network.anchors.levels_px) - truth["anchors_px"][order]).max() < 1e-3
    for options in CUTS:
        _, graph, spec = prove(network, options)
        rows, _ = decoded(graph, spec, truth["input"])
        sizes = [3 * (height // s) * (width // s) for s in sorted(truth["strides"].astype(int))]
        pieces = np.split(rows, np.cumsum(sizes)[:-1])  # the contract's order: finest first
        rows = np.concatenate([pieces[list(order).index(level)] for level in range(len(order))])
        difference = np.abs(rows[truth["rows"]] - truth["pred"])
        assert difference[:, :4].max() < 1e-3
        assert difference[:, 4:].max() < 1e-5


def test_cfg_beside_other_files() -> None:
    """--cfg is refused where it says nothing."""
    cfg = YOLOR / "main_p6.cfg"
    with pytest.raises(RkdeployError, match="needs no darknet cfg"):
        open_network(SEGMENT, cfg=cfg)
    with pytest.raises(RkdeployError, match="needs no darknet cfg"):
        open_network(DRIVING, cfg=cfg)


def test_verification_sees_swapped_maps() -> None:
    """A contract whose two maps are exchanged does not pass."""
    network = open_network(DRIVING, imgsz=(64, 96))
    *boxes, road, lane = network.head.taps
    swapped = replace(network.head, taps=(*boxes, replace(road, tensor=lane.tensor), replace(lane, tensor=road.tensor)))
    with pytest.raises(VerificationError, match=r'"drivable_area" differs.*"lane_line" differs'):
        prove(replace(network, head=swapped), CUTS[0])

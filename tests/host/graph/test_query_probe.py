"""Heads of queries in foreign graphs: as their packages export them (tests/data/queries), and in other forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.presets import PresetName
from rkdeploy.host.building.supported_head import find_supported_head
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.families import rtdetr
from rkdeploy.host.graph.box_logits import with_bounded_boxes, with_kept_logits
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.head import read_rows
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify
from rkdeploy.host.graph.verify import verify

DATA = Path(__file__).parents[2] / "data"
CASES = sorted(path.stem for path in (DATA / "queries").glob("*.onnx"))


def opened(case: str, preset: PresetName | None = "rtdetr") -> Network:
    return with_choice(open_network(DATA / "queries" / f"{case}.onnx", imgsz=size_of(case)), InputChoice(preset=preset))


def size_of(case: str) -> tuple[int, int]:
    _, _, height, width = recorded(case)["input"].shape
    return height, width


def recorded(case: str) -> dict[str, NDArray[np.float32]]:
    with np.load(DATA / "queries" / f"{case}.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("case", CASES)
def test_found_and_proven(case: str) -> None:
    """Pixels within 1e-3 and scores within 1e-5 of the package; the cut graph is proven, without an inverse sigmoid."""
    expected = recorded(case)
    network = opened(case)
    head, (height, width) = network.head, network.input_hw
    assert (head.classes, head.end_to_end, network.input.fit, network.family) == (4, True, "stretch", "rtdetr")
    image = expected["input"]
    values = Session(network.reference).run({network.input.name: image.astype(np.float32) / 255})
    assert head.rows is not None
    found = {field.name: field.values for field in read_rows(head.rows, values)}
    boxes = np.concatenate([found["xy"], found["wh"]], axis=1)
    assert np.abs(boxes - expected["pred"][:, :4] * [width, height, width, height]).max() < 1e-3
    assert np.abs(found["scores"] - expected["pred"][:, 4:]).max() < 1e-5
    graph, outputs = cut(network.simplified, head, CutOptions())
    assert [(o.role, o.shape) for o in outputs] == [
        ("query_boxes", (1, 4, 1, 20)),
        ("query_scores", (1, 4, 1, 20)),
    ]
    assert "Log" not in {node.op_type for node in graph.graph.node}
    picture = np.ascontiguousarray(image.transpose(0, 2, 3, 1)).astype(np.uint8)
    proof = verify(network.reference, network.reference_head, graph, network.contract(outputs), [("noise", picture)])
    assert all(error.excess <= 1 for error in proof.fields)


def test_the_recorded_graphs_are_there() -> None:
    """Hugging Face's exports and the authors' own."""
    assert CASES == ["dfine", "hf_dfine", "hf_rfdetr", "hf_rtdetr", "rtdetrv2"]


def test_images_are_prepared_as_the_preset_says() -> None:
    """Without one the error names both; RF-DETR's has ImageNet's mean; one of other heads is refused."""
    assert opened("hf_rfdetr", "rfdetr").input.mean == (123.675, 116.28, 103.53)
    with pytest.raises(GraphError, match="does not say how its images are prepared") as error:
        opened("rtdetrv2", None)
    assert "--preset rtdetr" in (error.value.hint or "")
    assert "--preset rfdetr" in (error.value.hint or "")
    with pytest.raises(GraphError, match="--preset yolox is of yolox"):
        opened("rtdetrv2", "yolox")


def ultralytics_graph() -> onnx.ModelProto:
    """The `yolov8_blocks` record's graph, with one output (1, queries, 4 + nc) as Ultralytics exports it."""
    checkpoint = read_checkpoint(DATA / "rtdetr" / "yolov8_blocks.pt")
    return rtdetr.export(checkpoint, rtdetr.describe(checkpoint), 64, 96).model


def best_pairs(model: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """The same with the best pairs of query and class behind it, (1, count, 6): box, score, class."""
    graph = model.graph
    table = graph.output[0].name
    queries, columns = (d.dim_value for d in graph.output[0].type.tensor_type.shape.dim[1:])
    classes = columns - 4
    constants = {
        "sizes": [4, classes], "flat": [1, queries * classes], "k": [count], "classes": [classes], "one": [1, count, 1],
        "four": [1, count, 4],
    }  # fmt: skip
    graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), name) for name, v in constants.items())
    graph.node.extend([
        helper.make_node("Split", [table, "sizes"], ["boxes", "scores"], axis=2),
        helper.make_node("Reshape", ["scores", "flat"], ["all"]),
        helper.make_node("TopK", ["all", "k"], ["best", "places"], axis=1),
        helper.make_node("Div", ["places", "classes"], ["rows"]),
        helper.make_node("Mod", ["places", "classes"], ["ids"]),
        helper.make_node("Reshape", ["rows", "one"], ["row"]),
        helper.make_node("Expand", ["row", "four"], ["index"]),
        helper.make_node("GatherElements", ["boxes", "index"], ["taken"], axis=1),
        helper.make_node("Cast", ["ids"], ["id"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["best", "one"], ["score"]),
        helper.make_node("Reshape", ["id", "one"], ["class"]),
        helper.make_node("Concat", ["taken", "score", "class"], ["found"], axis=2),
    ])  # fmt: skip
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, count, 6]))
    return model


@pytest.mark.parametrize("best", [0, 30, 40])
def test_ultralytics_exports_need_no_preset(best: int) -> None:
    """All queries in one table, or the best pairs, perhaps as many as queries: the tensors before that are found."""
    model = ultralytics_graph()
    queries = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    model = best_pairs(model, best) if best else model
    headed, head = find_supported_head(simplify(model, {"images": (1, 3, 64, 96)}), None)
    assert (head.kind, head.classes, head.taps[0].shape) == ("rtdetr", 1, (1, 4, 1, queries))
    assert head.rows is not None
    assert not head.rows.output.startswith("taken")
    assert {tap.tensor for tap in head.taps} <= {name for node in headed.graph.node for name in node.output}


def small(
    nodes: list[onnx.NodeProto], constants: dict[str, float | list[list[float]]], shape: list[int]
) -> onnx.ModelProto:
    """A graph from `x` to `y`."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=9)


def inverse_sigmoid(eps: float) -> onnx.ModelProto:
    """log(max(b, eps) / max(1 - b, eps)) with b = sigmoid(x)."""
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["b"]),
        helper.make_node("Clip", ["b", "zero", "one"], ["c"]),
        helper.make_node("Clip", ["c", "eps"], ["p"]),
        helper.make_node("Sub", ["one", "c"], ["d"]),
        helper.make_node("Clip", ["d", "eps"], ["q"]),
        helper.make_node("Div", ["p", "q"], ["r"]),
        helper.make_node("Log", ["r"], ["y"]),
    ]
    return small(nodes, {"zero": 0.0, "one": 1.0, "eps": eps}, [1, 5])


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_an_inverse_sigmoid_becomes_its_bounded_logit(eps: float) -> None:
    """The values stay, up to what 1 - b loses in float32; the bounds are those of the formula."""
    model = inverse_sigmoid(eps)
    changed = with_kept_logits(model)
    assert [node.op_type for node in changed.graph.node if "y" in node.output] == ["Clip"]
    x = np.array([[-30.0, -4.0, 0.5, 6.0, 30.0]], np.float32)
    before, after = (Session(each).run({"x": x})["y"] for each in (model, changed))
    np.testing.assert_allclose(after, before, atol=0.02)
    np.testing.assert_allclose(after[0, [0, 4]], [np.log(eps), -np.log(eps)], rtol=1e-4)


def test_other_logarithms_stay() -> None:
    """The logarithm of something else, or of a scaled fraction, is not an inverse sigmoid."""
    plain = small([helper.make_node("Sigmoid", ["x"], ["b"]), helper.make_node("Log", ["b"], ["y"])], {}, [1, 5])
    assert with_kept_logits(plain) is plain
    scaled = inverse_sigmoid(1e-5)
    scaled.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array(1.5, np.float32), "one"))
    assert with_kept_logits(scaled) is scaled


def test_infinite_boxes_become_finite_where_sigmoids_follow() -> None:
    """An infinite logit becomes 20, whose sigmoid is 1 in float32; a constant that is multiplied stays."""
    nodes = [helper.make_node("Add", ["x", "boxes"], ["s"]), helper.make_node("Sigmoid", ["s"], ["y"])]
    model = small(nodes, {"boxes": [[0.5, np.inf, -1.0, 3.4e38]]}, [1, 4])
    changed = with_bounded_boxes(model)
    assert numpy_helper.to_array(changed.graph.initializer[0]).tolist() == [[0.5, 20.0, -1.0, 20.0]]
    x = np.array([[0.1, 2.0, 0.3, -2.0]], np.float32)
    np.testing.assert_allclose(Session(changed).run({"x": x})["y"], Session(model).run({"x": x})["y"], atol=1e-7)
    multiplied = small(
        [helper.make_node("Mul", ["x", "boxes"], ["y"])],
        {"boxes": [[0.5, np.inf, -1.0, 1.0]]},
        [1, 4],
    )
    assert with_bounded_boxes(multiplied) is multiplied

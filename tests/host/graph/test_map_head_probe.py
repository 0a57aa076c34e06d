"""Graphs whose outputs are maps: where they are cut, and how they are read."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from rkdeploy.host.building.onnx_graph import open_graph
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.map_head_probe import find_map_head

DATA = Path(__file__).parents[2] / "data" / "maps"
CASES = {
    # kind, shape of the scores, whether corners lie on corners
    "tail_none": ("planes", (1, 5, 8, 12), False),
    "tail_resize": ("planes", (1, 5, 8, 12), False),
    "tail_corners": ("planes", (1, 5, 8, 12), True),
    "tail_argmax": ("planes", (1, 5, 8, 12), False),
    "tail_argmax_int32": ("planes", (1, 5, 8, 12), False),
    "tail_corners_softmax": ("planes", (1, 5, 8, 12), True),
    "tail_softmax_resize": ("planes", (1, 5, 8, 12), False),
    "tail_nearest": ("planes", (1, 5, 64, 96), False),
    "tail_nhwc": ("planes", (1, 5, 8, 12), False),
    "tail_nhwc_image": ("planes", (1, 5, 8, 12), False),
    "tail_two": ("planes", (1, 2, 8, 12), False),
    "tail_513": ("planes", (1, 21, 65, 65), True),
    "tail_sigmoid": ("mask", (1, 1, 8, 12), False),
    "tail_above": ("mask", (1, 1, 8, 12), False),
    "tail_value": ("plane", (1, 1, 8, 12), True),
    "torchvision_lraspp": ("planes", (1, 5, 16, 24), False),
    "torchvision_fcn_aux": ("planes", (1, 5, 4, 6), False),
    "segformer": ("planes", (1, 5, 16, 24), False),
    "depth_anything": ("plane", (1, 1, 56, 84), False),
}


def test_every_file_is_named() -> None:
    """Each recorded graph is one of the cases."""
    assert {path.stem for path in DATA.glob("*.onnx")} == CASES.keys()


@pytest.mark.parametrize("case", CASES)
def test_cut(case: str) -> None:
    """Before what the board does: enlarging, softmax, choice of the highest, order of the axes."""
    opened = open_graph(DATA / f"{case}.onnx", None, None, 0)
    (tap,) = opened.head.taps
    maps, depth = opened.head.class_maps, opened.head.depth
    corners = maps[0].corners if maps else depth is not None and depth.corners
    assert (opened.head.kind, tap.shape, corners) == CASES[case]
    assert tap.tensor in {info.name for info in opened.reference.graph.output}
    assert opened.hw == {"tail_513": (513, 513), "depth_anything": (56, 84)}.get(case, (64, 96))


def test_the_scores_and_not_their_softmax_are_enlarged_where_the_graph_does() -> None:
    """Interpolated probabilities are others than probabilities of interpolated scores: the cut follows the graph."""
    for case, operator in (("tail_softmax_resize", "Softmax"), ("tail_corners_softmax", "Conv")):
        opened = open_graph(DATA / f"{case}.onnx", None, None, 0)
        node = GraphView(opened.simplified).producer(opened.head.taps[0].tensor)
        assert node is not None
        assert node.op_type == operator


def graph_of(*shapes: tuple[int, ...], image: tuple[int, ...] = (1, 3, 64, 64)) -> GraphView:
    """One convolution, and reshaped outputs of these shapes."""
    constants, nodes, outputs = [], [], []
    for number, shape in enumerate(shapes):
        value = onnx.helper.make_tensor(f"v{number}", onnx.TensorProto.FLOAT, [1], [0.0])
        size = onnx.helper.make_tensor(f"s{number}", onnx.TensorProto.INT64, [len(shape)], shape)
        constants += [value, size]
        nodes.append(onnx.helper.make_node("Expand", [f"v{number}", f"s{number}"], [f"out{number}"]))
        outputs.append(onnx.helper.make_tensor_value_info(f"out{number}", onnx.TensorProto.FLOAT, shape))
    inputs = [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, image)]
    graph = onnx.helper.make_graph(nodes, "maps", inputs, outputs, constants)
    return GraphView(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)]))


@pytest.mark.parametrize(
    "shapes",
    [
        ((1, 5, 4, 4),),  # a sixteenth of the image
        ((1, 5, 64, 16),),  # other proportions
        ((1, 84, 8400),),
        ((1, 5, 64, 64), (1, 84, 100)),
        ((1, 5, 64, 64), (1, 6, 64, 64)),
        ((1, 2, 64, 64), (1, 2, 64, 64)),  # two results, as of TwinLiteNet
        ((1, 1000),),
        ((1, 300, 64, 64),),
    ],
)
def test_other_graphs_are_not_taken(shapes: tuple[tuple[int, ...], ...]) -> None:
    """Coarse maps, rows, several results, more classes than a map of bytes has."""
    assert find_map_head(graph_of(*shapes)) is None


def test_auxiliary_outputs_are_left_out() -> None:
    """Of equal maps of more than two classes the first is the result."""
    found = find_map_head(graph_of((1, 5, 64, 64), (1, 5, 8, 8)))
    assert found is not None
    assert found[1].taps[0].tensor == "out0"

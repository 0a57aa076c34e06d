"""The build's proof: a contract that reads the network wrongly cannot pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rkdeploy.contract.record import Verification
from rkdeploy.contract.spec import Anchors, ModelSpec
from rkdeploy.errors import RkdeployError, VerificationError
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.families.anchor_defaults import PUBLISHED
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.verify import _PROBES, TOLERANCES, _moved, verify

CHECKPOINT = Path(__file__).parents[2] / "data" / "yolov5" / "v7_n.pt"
HW = (64, 96)  # not square: a swap of height and width would show
OPTIONS = CutOptions("boxes_scores", "scores")


@pytest.fixture(scope="module")
def network() -> Network:
    return open_network(CHECKPOINT, imgsz=HW)


@pytest.fixture(scope="module")
def cut_graph(network: Network) -> onnx.ModelProto:
    return cut(network.simplified, network.head, OPTIONS)[0]


@pytest.fixture
def spec(network: Network) -> ModelSpec:
    return network.contract(cut(network.simplified, network.head, OPTIONS)[1])


def noise(hw: tuple[int, int] = HW) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    yield "noise", np.random.default_rng(0).integers(0, 256, (1, *hw, 3), np.uint8)


def check(network: Network, graph: onnx.ModelProto, spec: ModelSpec, head: Head | None = None) -> Verification:
    return verify(network.reference, head or network.reference_head, graph, spec, noise(network.input_hw))


def test_the_right_contract_passes(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """The derived contract agrees within the stated tolerances on every row."""
    result = check(network, cut_graph, spec)
    assert result.rows == 3 * (8 * 12 + 4 * 6 + 2 * 3)
    worst = {error.name: error.max_error for error in result.fields}
    assert worst.keys() == {"xy", "wh", "objectness", "scores"}
    assert max(worst["xy"], worst["wh"]) <= 1e-3
    assert max(worst["objectness"], worst["scores"]) <= 1e-4


@pytest.mark.parametrize("hw", [(96, 64), (32, 128), (160, 96)])
@pytest.mark.parametrize("options", [CutOptions("none", "none"), CutOptions("xy_wh_scores", "boxes")])
def test_sizes_that_are_not_square(hw: tuple[int, int], options: CutOptions) -> None:
    """The proof holds at tall and wide sizes, cut in any way."""
    tall = open_network(CHECKPOINT, imgsz=hw)
    graph, outputs = cut(tall.simplified, tall.head, options)
    assert check(tall, graph, tall.contract(outputs)).rows == 3 * hw[0] * hw[1] * 21 // 1024


def test_default_anchors_of_coco(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """COCO's anchors in place of the trained ones fail, and the message speaks of box sizes and anchors."""
    with pytest.raises(VerificationError, match=r"box sizes differ by .* px \(anchors or distances\)") as caught:
        check(network, cut_graph, replace(spec, anchors=Anchors(PUBLISHED["yolov5"][0].levels_px)))
    assert "box centers" not in str(caught.value)
    assert "scores differ" not in str(caught.value)


def test_one_anchor_off_by_a_hundredth(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """A single anchor that is 0.01 px too wide is found."""
    assert spec.anchors is not None
    (first, *others), *levels = spec.anchors.levels_px
    wrong = Anchors((((first[0] + 0.01, first[1]), *others), *levels))
    with pytest.raises(VerificationError, match=r"box sizes .*\(anchors or distances\)"):
        check(network, cut_graph, replace(spec, anchors=wrong))


@pytest.mark.parametrize("change", ["levels", "anchors", "wh"])
def test_anchors_in_another_order(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec, change: str) -> None:
    """Anchors with levels swapped, swapped within their level, or as height and width, fail."""
    assert spec.anchors is not None
    levels = spec.anchors.levels_px
    wrong = {
        "levels": levels[::-1],
        "anchors": tuple(level[::-1] for level in levels),
        "wh": tuple(tuple((h, w) for w, h in level) for level in levels),
    }[change]
    with pytest.raises(VerificationError, match=r"box sizes .*\(anchors or distances\)"):
        check(network, cut_graph, replace(spec, anchors=Anchors(wrong)))


@pytest.mark.parametrize("role", ["anchor_boxes", "anchor_scores"])
def test_wrong_activation(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec, role: str) -> None:
    """A tensor taken for logits after its sigmoid, or for probabilities before it, fails."""
    outputs = tuple(
        replace(o, activation="linear" if o.activation == "sigmoid" else "sigmoid") if o.role == role else o
        for o in spec.outputs
    )
    expected = "box centers" if role == "anchor_boxes" else r"scores differ by .* \(activation or order\)"
    with pytest.raises(VerificationError, match=expected):
        check(network, cut_graph, replace(spec, outputs=outputs))


def test_rows_of_the_reference_in_another_order(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """Levels listed in another order than the reference has them fail."""
    rows = network.reference_head.rows
    assert rows is not None
    reversed_levels = replace(network.reference_head, rows=replace(rows, level_order=(2, 1, 0)))
    with pytest.raises(VerificationError, match=r"box centers .*\(strides or order\)"):
        check(network, cut_graph, spec, reversed_levels)


def test_swapped_strides(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """Strides swapped between levels do not fit the shapes, and are refused as that."""
    swapped = {8: 32, 16: 16, 32: 8}
    outputs = tuple(replace(o, stride=swapped[o.stride]) for o in spec.outputs)
    with pytest.raises(RkdeployError, match="stride"):
        check(network, cut_graph, replace(spec, outputs=outputs))


def test_boxes_of_two_levels_swapped(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """A tensor of one level named as another's is refused."""
    first, second = (o for o in spec.outputs if o.role == "anchor_boxes" and o.level < 2)
    names = {first.name: second.name, second.name: first.name}
    outputs = tuple(replace(o, name=names.get(o.name, o.name)) for o in spec.outputs)
    with pytest.raises(RkdeployError, match="shape"):
        check(network, cut_graph, replace(spec, outputs=outputs))


def rounded_more(graph: onnx.ModelProto, offset: float) -> onnx.ModelProto:
    """The same network with `offset` added to the first sum and taken away behind it: float32 loses digits."""
    coarse = onnx.ModelProto()
    coarse.CopyFrom(graph)
    nodes = coarse.graph.node
    at = next(i for i, n in enumerate(nodes) if n.op_type == "Conv" and len(n.input) == 3)
    bias = next(c for c in coarse.graph.initializer if c.name == nodes[at].input[2])
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(offset), bias.name))
    coarse.graph.initializer.append(numpy_helper.from_array(np.array(offset, np.float32), "offset"))
    (name,) = nodes[at].output
    nodes[at].output[0] = "added"
    nodes.insert(at + 1, helper.make_node("Sub", ["added", "offset"], [name]))
    return coarse


def test_a_network_that_rounds_much(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """Differences of rounding pass however large the network makes them, and a fault of 1 % is still found."""
    coarse = rounded_more(cut_graph, 2.0**13)
    error = next(e for e in check(network, coarse, spec).fields if e.name == "wh")
    assert TOLERANCES["px"] < error.max_error < error.allowed < 0.2
    assert spec.anchors is not None
    *levels, ((w, h), *others) = spec.anchors.levels_px
    wrong = Anchors((*levels, ((1.01 * w, h), *others)))
    with pytest.raises(VerificationError, match="box sizes differ"):
        check(network, coarse, replace(spec, anchors=wrong))


def test_two_bins_that_share_a_side_always_move_it() -> None:
    """The noise of a distribution with two even bins is that of their difference: no draw of signs may hide it.

    ONNX files of other exporters were refused for such rows.
    """
    raw, size, rng = np.zeros((1, 2, 100, 100), np.float32), np.ones((1, 2, 1, 1)), np.random.default_rng(0)
    moves = [_moved(raw, size, rng)[0] for _ in range(_PROBES)]
    seen = np.sqrt(np.mean([(one - other).astype(np.float64) ** 2 for one, other in moves], axis=0))
    assert seen.min() > 0.2
    assert abs(np.sqrt(np.mean(seen**2)) - np.sqrt(2)) < 0.02


def test_noise_never_allows_what_a_fault_does(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """A network that rounds its boxes by pixels is refused: nothing could be proven of it."""
    with pytest.raises(VerificationError, match="box sizes differ"):
        check(network, rounded_more(cut_graph, 2.0**22), spec)


@pytest.mark.parametrize(("side", "value"), [("full", np.nan), ("cut", np.inf)])
def test_no_number(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec, side: str, value: float) -> None:
    """NaN and infinity fail on either side, also where both sides have them."""
    graphs = {"full": network.reference, "cut": cut_graph}
    damaged = onnx.ModelProto()
    damaged.CopyFrom(graphs[side])
    bias = next(c for c in damaged.graph.initializer if c.name.endswith(".bias"))
    bias.CopyFrom(numpy_helper.from_array(np.full(bias.dims, value, np.float32), bias.name))
    graphs[side] = damaged
    with pytest.raises(VerificationError, match=f"The {side} graph gives NaN or infinity"):
        verify(graphs["full"], network.reference_head, graphs["cut"], spec, noise())


def test_no_images(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec) -> None:
    """A proof on nothing is none."""
    with pytest.raises(VerificationError, match="no image"):
        verify(network.reference, network.reference_head, cut_graph, spec, [])

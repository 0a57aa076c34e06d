"""ONNX files as real exporters write them (tests/data/onnx): opened, cut, proven, equal to upstream's output."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from rkdeploy.contract.record import Verification
from rkdeploy.contract.spec import Anchors, ModelSpec
from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import GraphError, RkdeployError, VerificationError
from rkdeploy.host.building.agreed_anchors import finest_first
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.families import yolov5
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import verify

DATA = Path(__file__).parents[2] / "data"
ONNX = DATA / "onnx"
CUTS = (CutOptions("none", "none"), CutOptions("boxes_scores", "all"), CutOptions("xy_wh_scores", "scores"))

RAW = {  # no decode in the graph: the checkpoint is needed
    "v3_raw": "v3_csp_leaky",
    "v3_1_raw_hardswish": "v3_1_csp_hardswish",
    "v4_raw": "v4_s",
    "v5_dynamic_raw": "v5_autoanchor",
    "v6_train": "v6_1_small",
    "fork_2021": "fork_2021",
    "fork_sigmoid": "v7_autoanchor",
}
DECODED = {
    "v5_grid": "v5_autoanchor",
    "v5_dynamic_grid": "v5_p6",
    "v6": "v6_n6",
    "v6_2_dynamic": "v6_2_last",
    "v7_opset11": "v7_autoanchor",
    "v7_opset17_simplify": "v7_autoanchor",
    "v7_half": "v7_autoanchor",
    "v7_dynamo": "v7_autoanchor",
    "v7_external": "two_anchors",
    "yolov3_tiny": "yolov3_tiny",
}
FORMS = {**RAW, **DECODED}
DYNAMIC = {"v5_dynamic_raw": (64, 96), "v5_dynamic_grid": (64, 128), "v6_2_dynamic": (64, 96)}


def checkpoint(name: str) -> Path:
    own = ONNX / f"{name}.pt"
    return own if own.exists() else DATA / "yolov5" / f"{name}.pt"


def recorded(name: str) -> dict[str, NDArray[Any]]:
    with np.load(checkpoint(name).with_suffix(".npz")) as file:
        return {key: file[key] for key in ("input", "pred", "rows", "anchors_px")}


def prove(network: Network, options: CutOptions) -> tuple[Verification, onnx.ModelProto, ModelSpec]:
    """A build up to its proof, on noise."""
    graph, outputs = cut(network.simplified, network.head, options)
    spec = network.contract(outputs)
    rng = np.random.default_rng(3)
    noise = [(f"noise {i}", rng.integers(0, 256, (1, *network.input_hw, 3), np.uint8)) for i in range(2)]
    result = verify(network.reference, network.reference_head, graph, spec, noise)
    return result, graph, spec


def decode(graph: onnx.ModelProto, spec: ModelSpec, pixels: NDArray[Any]) -> NDArray[Any]:
    tensors = Session(graph).run({spec.input.name: pixels.astype(np.float32) / 255})
    dense = AnchorDecoder(spec).decode_dense([HeadTensor(tensors[o.name]) for o in spec.outputs])
    return np.concatenate([field.values for field in dense], axis=1)


def anchors_of(network: Network) -> NDArray[Any]:
    assert network.anchors is not None
    return np.array(network.anchors.levels_px)


def edited(case: str, tmp_path: Path) -> tuple[onnx.ModelProto, Path]:
    return onnx.load(ONNX / f"{case}.onnx"), tmp_path / f"{case}.onnx"


def test_every_committed_form_is_tested() -> None:
    """Each file of tests/data/onnx is built or refused below, or has a test of its own in tests/host/graph."""
    assert {p.stem for p in ONNX.glob("*.onnx")} == {*FORMS, "classifier", "segment", "pytorch_yolov4"}


@pytest.mark.parametrize("case", FORMS)
def test_form_builds_and_equals_upstream(case: str) -> None:
    """With --weights every form is proven at every cut and decodes to what upstream's own code computed."""
    network = open_network(ONNX / f"{case}.onnx", checkpoint(FORMS[case]), DYNAMIC.get(case))
    upstream = recorded(FORMS[case])
    assert network.anchors_from == "checkpoint"
    assert network.class_names == ("bolt", "nut", "washer")
    assert np.abs(anchors_of(network) - upstream["anchors_px"]).max() < 1e-3
    assert next(o.version for o in network.simplified.opset_import if o.domain == "") in range(12, 20)
    half = case == "v7_half"  # its weights are rounded, upstream's output is not
    for options in CUTS:
        result, graph, spec = prove(network, options)
        assert result.rows > 0
        difference = np.abs(decode(graph, spec, upstream["input"])[upstream["rows"]] - upstream["pred"])
        assert difference[:, :4].max() < (0.1 if half else 1e-3)
        assert difference[:, 4:].max() < (1e-3 if half else 1e-5)


@pytest.mark.parametrize("case", DECODED)
def test_anchors_and_head_come_from_the_graph_alone(case: str) -> None:
    """Without --weights a graph with a decode gives its trained anchors and is proven by its own decode."""
    network = open_network(ONNX / f"{case}.onnx", imgsz=DYNAMIC.get(case))
    assert network.anchors_from == "graph"
    assert np.abs(anchors_of(network) - recorded(DECODED[case])["anchors_px"]).max() < 1e-3
    if case in {"v5_grid", "v5_dynamic_grid", "v6"}:  # before v6.2 no names were written
        assert network.class_names == ("class_0", "class_1", "class_2")
        assert "no class names" in network.notes[0]
    else:
        assert network.class_names == ("bolt", "nut", "washer")
    prove(network, CUTS[1])


@pytest.mark.parametrize("case", RAW)
def test_raw_outputs_need_the_checkpoint(case: str) -> None:
    """A graph without a decode is refused without --weights, with a hint."""
    with pytest.raises(GraphError, match=r"no decode, and therefore no anchors.*--weights best\.pt"):
        open_network(ONNX / f"{case}.onnx", imgsz=DYNAMIC.get(case))


def test_fork_checkpoint_builds_by_itself() -> None:
    """The fork's Focus, a convolution of stride 2, is exported as what it is."""
    network = open_network(checkpoint("fork_2021"), imgsz=(64, 96))
    upstream = recorded("fork_2021")
    got = Session(network.reference).run({"images": upstream["input"].astype(np.float32) / 255})["output0"][0]
    assert np.abs(got[upstream["rows"]] - upstream["pred"]).max() < 1e-3


@pytest.mark.parametrize("hw", [(96, 64), (128, 160)])
def test_dynamic_axes_take_imgsz(hw: tuple[int, int]) -> None:
    """A dynamic graph is fixed at --imgsz and proven at that size."""
    network = open_network(ONNX / "v6_2_dynamic.onnx", imgsz=hw)
    assert network.input_hw == hw
    assert network.head.taps[0].shape[2:] == (hw[0] // 8, hw[1] // 8)
    prove(network, CUTS[0])


def test_dynamic_axes_take_the_size_of_the_export(tmp_path: Path) -> None:
    """Without --imgsz and --weights the size in the metadata fixes a dynamic graph; nonsense there does not."""
    file = DATA / "ultralytics" / "onnx" / "v8_dynamic.onnx"
    model, path = onnx.load(file), tmp_path / "best.onnx"
    size = next(entry for entry in model.metadata_props if entry.key == "imgsz")
    for written, hw in (("[64, 96]", (64, 96)), ("[128,64]", (128, 64))):
        size.value = written
        onnx.save(model, path)
        network = open_network(path)
        assert network.input_hw == hw
        assert any("the size of the export" in note for note in network.notes)
    assert open_network(path, imgsz=(64, 64)).input_hw == (64, 64)
    for nonsense in ("[0, 64]", "[99999, 64]", "64", "[64, 64, 64]"):
        size.value = nonsense
        onnx.save(model, path)
        with pytest.raises(GraphError, match="is free"):
            open_network(path)


def test_dynamic_axes_take_the_training_size() -> None:
    """Without --imgsz the checkpoint's training size fixes a dynamic graph, and a note says so."""
    network = open_network(ONNX / "v6_2_dynamic.onnx", checkpoint("v6_2_last"))
    assert network.input_hw == (640, 640)
    assert "training size 640x640" in network.notes[0]


@pytest.mark.parametrize(
    ("case", "weights", "imgsz", "message"),
    [
        ("v7_opset11", None, (96, 96), r"fixed at 96x64 .*expected 96x96 from --imgsz"),
        ("v6_2_dynamic", None, None, r"is free \(\?x\?, width x height\).*--imgsz WIDTHxHEIGHT"),
        ("v6_2_dynamic", None, (70, 100), r"no uniform stride at 70x100"),
        ("v6_2_dynamic", "v6_2_last", (70, 100), r"100x70 .* not a multiple of the largest stride, 16"),
        ("v5_dynamic_grid", None, (128, 128), r"cannot run on their 16x16, 8x8, 4x4, 2x2 cells.*--imgsz of the export"),
    ],
)
def test_sizes_that_do_not_fit(case: str, weights: str | None, imgsz: tuple[int, int] | None, message: str) -> None:
    """A size that the graph cannot have is one message with expected and got."""
    with pytest.raises(RkdeployError) as caught:
        open_network(ONNX / f"{case}.onnx", checkpoint(weights) if weights else None, imgsz)
    assert_matches(caught.value, message)


def test_half_open_axes_must_agree_with_imgsz(tmp_path: Path) -> None:
    """If only one axis is free, --imgsz must match the fixed one."""
    model, path = edited("v6_2_dynamic", tmp_path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64
    onnx.save(model, path)
    assert open_network(path, imgsz=(64, 128)).input_hw == (64, 128)
    with pytest.raises(GraphError, match="free wide and 64 high, expected 128x96"):
        open_network(path, imgsz=(96, 128))


@pytest.mark.parametrize(
    ("case", "weights", "message"),
    [
        (
            "v7_opset17_simplify",
            "v6_1_small",
            r"different anchors \(px\)\.\s+checkpoint: [\d., |]+\s+graph:      [\d.]+,",
        ),
        ("v7_opset17_simplify", "v7_n", r"strides \(8, 16\), expected \(8, 16, 32\) from the checkpoint"),
        ("v7_opset17_simplify", "two_anchors", r"3 anchors per level, expected 2 from the checkpoint"),
        ("v7_opset17_simplify", "one_class", r"predicts 3 classes, but the checkpoint has 1 class names"),
        ("v4_raw", "one_class", r"predicts 3 classes, but the checkpoint has 1 class names"),
        ("fork_2021", "eighty_classes", r"\[24, 24\] channels, expected multiples of 85: 5 \+ 80 classes"),
        ("fork_sigmoid", "one_class", r"4 anchors per level, expected 3 from the checkpoint"),
    ],
)
def test_checkpoint_of_another_model(case: str, weights: str, message: str) -> None:
    """A checkpoint that the graph was not exported from is refused, showing both."""
    with pytest.raises(GraphError) as caught:
        open_network(ONNX / f"{case}.onnx", checkpoint(weights))
    assert_matches(caught.value, message)


def test_raw_outputs_with_other_weights_fail_the_proof() -> None:
    """A raw graph and a checkpoint of the same layout but other weights cannot pass `verify`."""
    network = open_network(ONNX / "v4_raw.onnx", checkpoint("v5_autoanchor"))
    with pytest.raises(VerificationError, match="scores differ"):
        prove(network, CUTS[0])


def test_damaged_graph(tmp_path: Path) -> None:
    """A convolution over integers, which passes onnx's checker and crashes its shape inference, is refused."""
    model, path = edited("v5_grid", tmp_path)
    scatter = next(n for n in model.graph.node if n.op_type == "ScatterND")
    scatter.op_type = "Conv"
    onnx.save(model, path)
    with pytest.raises(GraphError, match="onnxruntime cannot open the graph"):
        open_network(path)


def test_names_of_another_model(tmp_path: Path) -> None:
    """Names in the metadata must be as many as the head predicts; a checkpoint's names replace them."""
    model, path = edited("v7_opset17_simplify", tmp_path)
    next(p for p in model.metadata_props if p.key == "names").value = "{0: 'a', 1: 'b'}"
    onnx.save(model, path)
    with pytest.raises(GraphError, match="predicts 3 classes, but the metadata has 2 class names"):
        open_network(path)
    network = open_network(path, checkpoint("v7_autoanchor"))
    assert network.class_names == ("bolt", "nut", "washer")
    assert 'names its classes ("a", "b"); the checkpoint' in network.notes[0]


def test_broken_names_give_way_to_the_checkpoint(tmp_path: Path) -> None:
    """Unreadable names are an error for a lone ONNX file and ignored if there is a checkpoint."""
    model, path = edited("v7_opset17_simplify", tmp_path)
    next(p for p in model.metadata_props if p.key == "names").value = "{0: 'a', 1:"
    onnx.save(model, path)
    with pytest.raises(GraphError, match='metadata entry "names" is'):
        open_network(path)
    assert open_network(path, checkpoint("v7_autoanchor")).notes == ()


def test_batch_of_several(tmp_path: Path) -> None:
    """A graph with a fixed batch is refused with its size; a free batch becomes one (v6_2_dynamic)."""
    model, path = edited("v7_opset17_simplify", tmp_path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, path)
    with pytest.raises(GraphError, match="batch of 4, expected 1"):
        open_network(path)


def test_levels_in_reverse_order(tmp_path: Path) -> None:
    """A graph that lists its coarsest level first is read right: anchors stay with their strides."""
    model, path = edited("v7_opset17_simplify", tmp_path)
    last = next(n for n in model.graph.node if n.output[0] == "output0")
    assert last.op_type == "Concat"
    inputs = list(reversed(last.input))
    del last.input[:]
    last.input.extend(inputs)
    onnx.save(model, path)
    network = open_network(path, checkpoint("v7_autoanchor"))
    assert network.reference_head.rows is not None
    assert network.reference_head.rows.level_order == (1, 0)
    assert np.abs(anchors_of(network) - recorded("v7_autoanchor")["anchors_px"]).max() < 1e-3
    prove(network, CUTS[0])


def test_checkpoint_levels_in_reverse_order() -> None:
    """Anchors of a head whose inputs come coarsest first are put in the contract's order, finest first."""
    info = yolov5.describe(read_checkpoint(checkpoint("v7_n")))
    assert info.anchors is not None
    reverse = replace(info, strides=info.strides[::-1], anchors=Anchors(info.anchors.levels_px[::-1]))
    assert finest_first(reverse) == finest_first(info) == info.anchors


@pytest.mark.parametrize("version", [20, 21])
def test_newer_opsets_are_converted(version: int, tmp_path: Path) -> None:
    """Opsets 20 and 21 are brought down to 19, also where the graph has shape arithmetic (dynamic axes)."""
    model, path = edited("v6_2_dynamic", tmp_path)
    onnx.save(onnx.version_converter.convert_version(model, version), path)
    network = open_network(path, imgsz=(64, 96))
    assert network.simplified.opset_import[0].version == 19
    assert network.reference.opset_import[0].version == version  # so that the proof covers the conversion
    prove(network, CUTS[0])


def test_half_inside_float_outside(tmp_path: Path) -> None:
    """float16 between casts, as mixed-precision converters leave it, gives the same as a float16 file."""
    model, path = edited("v7_half", tmp_path)
    graph = model.graph
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == "images":
                node.input[index] = "images16"
        for index, name in enumerate(node.output):
            if name == "output0":
                node.output[index] = "output16"
    graph.node.insert(0, helper.make_node("Cast", ["images"], ["images16"], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["output16"], ["output0"], to=TensorProto.FLOAT))
    for info in (*graph.input, *graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, path)
    pixels = recorded("v7_autoanchor")["input"]
    decoded = []
    for file in (path, ONNX / "v7_half.onnx"):
        _, cut_graph, spec = prove(open_network(file), CUTS[1])
        assert all(c.data_type != TensorProto.FLOAT16 for c in cut_graph.graph.initializer)
        decoded.append(decode(cut_graph, spec, pixels))
    assert np.abs(decoded[0] - decoded[1]).max() < 1e-4


def test_suffixes_and_roles(tmp_path: Path) -> None:
    """Other suffixes, and --weights with a checkpoint, are refused with a hint."""
    with pytest.raises(RkdeployError, match=r'suffix "\.engine", expected \.pt, \.pth, \.weights or \.onnx'):
        open_network(tmp_path / "best.engine")
    with pytest.raises(RkdeployError, match="is a checkpoint itself"):
        open_network(checkpoint("v7_n"), weights=checkpoint("v7_n"))


def assert_matches(error: RkdeployError, pattern: str) -> None:
    assert re.search(pattern, str(error), re.DOTALL), str(error)

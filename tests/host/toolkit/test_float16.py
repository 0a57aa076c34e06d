"""Layers in float16: names mean the layers a user expects, and a mixed model is what the toolkit makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rkdeploy.contract.roles import OutputRole
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.errors import RkdeployError, ToolkitError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.toolkit.error_analysis import LayerError
from rkdeploy.host.toolkit.files import RefusedError, float16_tensors, write_float16
from rkdeploy.host.toolkit.float16 import (
    GEOMETRY,
    Float16Choice,
    default_float16,
    layer_name,
    tensors_of,
    worst_layers,
)  # fmt: skip
from rkdeploy.host.toolkit.toolkit import Toolkit
from tests.host.toolkit.test_toolkit import INT8, images, onnx_outputs, tiny_onnx


def graph_of(*nodes: tuple[str, str, str], outputs: tuple[str, ...]) -> onnx.ModelProto:
    """A graph of (operator, input, output)."""
    graph = helper.make_graph(
        [helper.make_node(op, [source], [name]) for op, source, name in nodes],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    return helper.make_model(graph)


def spec_of(model: onnx.ModelProto, role: OutputRole = "anchor_map") -> ModelSpec:
    """A contract whose outputs all have one role."""
    outputs = tuple(HeadOutput(o.name, role, 0, 8, (1, 4, 4, 4)) for o in model.graph.output)
    return ModelSpec("yolo", "detect", ("a",), InputSpec("images", 32, 32), outputs)


OURS = graph_of(
    ("Conv", "images", "model.1.conv/Conv_output_0"),
    ("Relu", "model.1.conv/Conv_output_0", "model.1.act/Relu_output_0"),
    ("Conv", "model.1.act/Relu_output_0", "model.11.conv/Conv_output_0"),
    ("Conv", "model.11.conv/Conv_output_0", "model.12.conv/Conv_output_0"),
    ("Conv", "model.12.conv/Conv_output_0", "map.logits"),
    ("Sigmoid", "map.logits", "map"),
    outputs=("map",),
)
UPSTREAM = graph_of(
    ("Conv", "images", "/model.1/conv/Conv_output_0"),
    ("Conv", "/model.1/conv/Conv_output_0", "/model.2/conv/Conv_output_0"),
    ("Conv", "/model.2/conv/Conv_output_0", "map"),
    outputs=("map",),
)


def test_geometry_of_queries_ends_where_they_were_selected() -> None:
    """Boxes and what refines them, back to the selection; its indices have no type to choose."""
    model = graph_of(
        ("MatMul", "images", "scores"),
        ("TopK", "scores", "best"),
        ("Reshape", "best", "chosen"),
        ("Gather", "chosen", "taken"),
        ("Add", "taken", "moved"),
        ("Sigmoid", "moved", "query_boxes"),
        outputs=("query_boxes",),
    )
    model.graph.value_info.append(helper.make_tensor_value_info("chosen", TensorProto.INT64, None))
    graph, spec = GraphView(model), spec_of(model, "query_boxes")
    assert default_float16(spec, "rk3588", "int8").layers == (GEOMETRY,)
    assert list(tensors_of((GEOMETRY,), graph, spec)) == ["taken", "moved", "query_boxes"]
    assert "chosen" not in tensors_of(("*",), graph, spec)


@pytest.mark.parametrize(
    ("wanted", "model", "found"),
    [
        (("model.1",), OURS, ["model.1.conv/Conv_output_0", "model.1.act/Relu_output_0"]),  # not model.11
        (("model.11-12",), OURS, ["model.11.conv/Conv_output_0", "model.12.conv/Conv_output_0"]),
        (("head",), OURS, ["map.logits", "map"]),
        (("head", "model.1.act.Relu"), OURS, ["model.1.act/Relu_output_0", "map.logits", "map"]),
        (("model.1.act/Relu_output_0",), OURS, ["model.1.act/Relu_output_0"]),
        (("map.logits_int8",), OURS, ["map.logits"]),
        (("model.1*.conv.*",), OURS, [f"model.{n}.conv/Conv_output_0" for n in (1, 11, 12)]),
        (("model.1", "model.1"), UPSTREAM, ["/model.1/conv/Conv_output_0"]),
        (("/model.2/conv",), UPSTREAM, ["/model.2/conv/Conv_output_0"]),
        (("head",), UPSTREAM, ["map"]),
        ((), OURS, []),
    ],
)
def test_a_name_means_the_layers_of_that_module(
    wanted: tuple[str, ...], model: onnx.ModelProto, found: list[str]
) -> None:
    """Modules, ranges, patterns, single layers and the head, in our spelling or the exporter's."""
    assert list(tensors_of(wanted, GraphView(model), spec_of(model))) == found


@pytest.mark.parametrize(
    ("role", "chosen"),
    [
        *((role, True) for role in ("dfl_boxes", "ltrb_boxes", "keypoint_xy", "angles", "anchor_boxes")),
        *((role, False) for role in ("scores", "anchor_map", "class_map")),
    ],
)
def test_geometry_is_what_says_where_things_are(role: OutputRole, chosen: bool) -> None:
    """Boxes, keypoints and angles in tensors of their own; elsewhere the word means nothing."""
    spec = spec_of(UPSTREAM, role)
    if chosen:
        assert tensors_of((GEOMETRY,), GraphView(UPSTREAM), spec) == ("map",)
    else:
        with pytest.raises(RkdeployError, match='no layer "geometry"') as caught:
            tensors_of((GEOMETRY,), GraphView(UPSTREAM), spec)
        assert "geometry" not in caught.value.hint


@pytest.mark.parametrize(
    ("role", "target", "dtype", "chosen"),
    [
        ("dfl_boxes", "rk3588", "int8", True),
        ("angles", "rk3566", "int8", True),
        ("anchor_map", "rk3588", "int8", False),
        ("anchor_boxes", "rk3588", "int8", False),
        ("dfl_boxes", "rk3588", "fp16", False),
        ("dfl_boxes", "rv1103b", "int8", False),
        ("dfl_boxes", "rv1106", "int8", False),
    ],
)
def test_anchor_free_geometry_is_float16_by_default(role: OutputRole, target: str, dtype: str, chosen: bool) -> None:
    """On every chip that supports float16 next to integers."""
    choice = default_float16(spec_of(UPSTREAM, role), target, dtype)
    assert choice == Float16Choice((GEOMETRY,) if chosen else ())


@pytest.mark.parametrize("name", ["model.3", "model", "images", "model.2-1", "", "model.1-", "*x"])
def test_an_unknown_name_is_refused_with_those_that_there_are(name: str) -> None:
    """One message with the name, and what the network has."""
    model = UPSTREAM if name != "model" else graph_of(("Conv", "images", "map"), outputs=("map",))
    with pytest.raises(RkdeployError, match="has no layer") as caught:
        tensors_of((name,), GraphView(model), spec_of(model))
    assert "head" in caught.value.hint


def test_worst_are_layers_that_compute() -> None:
    """Lowest cosine first; moving data is not a layer to keep in float16."""
    rows = [
        LayerError(op, name, 0.9, 1.0, single, 1.0)
        for op, name, single in (("Conv", "a", 0.99), ("Concat", "b", 0.1), ("exSwish", "c", 0.95), ("Conv", "d", 1.0))
    ]
    assert worst_layers(rows, 2) == ("c", "a")


@pytest.mark.parametrize(
    "choice",
    [lambda: Float16Choice(("head",), 1), lambda: Float16Choice(worst=1, auto=True), lambda: Float16Choice(worst=-1)],
)
def test_contradictions_are_refused(choice: object) -> None:
    """One of the three, and no negative number."""
    with pytest.raises(RkdeployError, match="--float16-worst"):
        choice()  # type: ignore[operator]  # a parameter


def test_float16_layers_of_a_float16_model_are_refused() -> None:
    """`--dtype fp16 --float16-worst 2` is a mistake."""
    with pytest.raises(RkdeployError, match="already has every layer in float16"):
        BuildOptions(Path("best.pt"), dtype="fp16", float16=Float16Choice(worst=2))


def test_a_convolution_and_its_activation_stay_together() -> None:
    """Either half of a layer brings the other, unless someone else reads between them."""
    step1 = graph_of(
        ("exDataConvert", "images", "images_int8"),
        ("Conv", "images_int8", "a"),
        ("exSwish", "a", "a_act"),
        ("Conv", "a_act", "b"),
        ("exSwish", "b", "b_act"),
        ("Concat", "b", "b_too"),
        ("Conv", "b_act", "map_int8"),
        ("exDataConvert", "map_int8", "map"),
        outputs=("map",),
    )
    assert float16_tensors({"a"}, step1) == ["a", "a_act"]
    assert float16_tensors({"a_act"}, step1) == ["a", "a_act"]
    assert float16_tensors({"b_act"}, step1) == ["b_act"]
    assert float16_tensors({"map", "images"}, step1) == ["map_int8"]


def test_a_table_that_is_not_step_1s_is_not_written_into(tmp_path: Path) -> None:
    """Names are quoted; another file is refused."""
    table = tmp_path / "t.cfg"
    table.write_text("custom_quantize_layers: {}\nquantize_parameters:\n    a: 1\n")
    write_float16(table, ['a: "b"', "c"])
    assert table.read_text() == (
        'custom_quantize_layers:\n    "a: \\"b\\"": float16\n    "c": float16\nquantize_parameters:\n    a: 1\n'
    )
    write_float16(table, [])
    assert table.read_text() == "custom_quantize_layers: {}\nquantize_parameters:\n    a: 1\n"
    table.write_text("a: 1\n")
    with pytest.raises(RefusedError, match="expected custom_quantize_layers"):
        write_float16(table, ["c"])


def test_names_are_spelled_one_way() -> None:
    """Suffixes that exporters and the toolkit add to a name are not part of it."""
    assert layer_name("/model.2/cv1/Split_output_1") == layer_name("model.2.cv1.Split") == "model.2.cv1.Split"
    assert layer_name("stride8_map_int8") == "stride8_map"


@pytest.mark.slow
def test_the_toolkit_keeps_the_layers_in_float16(tmp_path: Path) -> None:
    """Both ways to a mixed model give the same one, nearer to float than int8, which its kept files open again."""
    onnx_file = tiny_onnx(tmp_path / "tiny.onnx")
    probe = images(1, seed=9)[0][None]
    expected = onnx_outputs(onnx_file, probe, INT8)
    with Toolkit(log=tmp_path / "log") as toolkit:
        with pytest.raises(ToolkitError, match="No quantized model is open"):
            toolkit.change_float16(["aa"], tmp_path / "none.rknn")
        int8 = toolkit.build(onnx_file, INT8, images(8), tmp_path / "int8.rknn", tmp_path / "int8")
        before = toolkit.simulate(probe)
        changed = toolkit.change_float16(["aa", "zz"], tmp_path / "changed.rknn", tmp_path / "changed")
        mixed = toolkit.simulate(probe)
        built = toolkit.build(
            onnx_file, INT8, images(8), tmp_path / "built.rknn", tmp_path / "built", float16=("aa_linear", "zz")
        )
        again = toolkit.simulate(probe)
        assert built.kept is not None
        opened = toolkit.open_kept(built.kept, INT8)
        from_files = toolkit.simulate(probe)
    assert int8.float16 == ()
    assert changed.float16 == built.float16 == opened.float16 == ("zz_int8", "aa_linear", "aa_int8")
    assert [o.quantization is None for o in built.outputs] == [True, True, False]
    for name, values in mixed.items():
        assert np.array_equal(values, again[name])
        assert np.array_equal(values, from_files[name])
    for name in ("aa", "zz"):
        assert np.abs(mixed[name] - expected[name]).mean() < 0.8 * np.abs(before[name] - expected[name]).mean()
    assert np.array_equal(mixed["coarse"], before["coarse"])

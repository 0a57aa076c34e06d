"""Reading other people's ONNX files: what is refused, and that conversions keep every value."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.foreign import (
    class_names,
    image_input,
    load_onnx,
    opset,
    to_float32,
    to_supported_opset,
)
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify
from tests.host.graph.small_graphs import model_of

ONNX = Path(__file__).parents[2] / "data" / "onnx"


NEWEST = onnx.defs.onnx_opset_version()
RELU = helper.make_node("Relu", ["images"], ["y"])


def test_unreadable_files(tmp_path: Path) -> None:
    """A missing, empty, foreign, truncated or invalid file is one message that names it."""
    with pytest.raises(GraphError, match=r'Cannot read ".*missing\.onnx": No such file'):
        load_onnx(tmp_path / "missing.onnx")
    path = tmp_path / "best.onnx"
    whole = (ONNX / "v4_raw.onnx").read_bytes()
    for content in (b"", b"PK\x03\x04 a zip", whole[:-100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(GraphError, match=r"best\.onnx.* is not (an|valid) ONNX"):
            load_onnx(path)
    onnx.save(model_of([helper.make_node("EfficientNMS_TRT", ["images"], ["y"])]), path)
    with pytest.raises(GraphError, match=r"is not valid ONNX: .*EfficientNMS_TRT.*nms=False"):
        load_onnx(path)


def test_external_data_missing(tmp_path: Path) -> None:
    """A file whose weights lie in another file is refused without it, naming the missing one, and read with it."""
    path = tmp_path / "v7_external.onnx"
    shutil.copyfile(ONNX / path.name, path)
    with pytest.raises(GraphError, match=r"keeps its weights in another file.*v7_external\.onnx\.data"):
        load_onnx(path)
    shutil.copyfile(ONNX / f"{path.name}.data", tmp_path / f"{path.name}.data")
    assert load_onnx(path).graph.node


def test_external_data_elsewhere(tmp_path: Path) -> None:
    """External data may not lie outside the folder of the model."""
    model = onnx.load(ONNX / "v7_external.onnx", load_external_data=False)
    for constant in model.graph.initializer:
        for entry in constant.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    (tmp_path / "secret").write_bytes(bytes(100_000))
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "best.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match="keeps its weights in another file"):
        load_onnx(path)


def test_too_new(tmp_path: Path) -> None:
    """An opset that onnxruntime cannot run, and so nothing can verify, is refused with the option that fixes it."""
    path = tmp_path / "best.onnx"
    onnx.save(model_of([RELU], version=NEWEST + 1), path)
    with pytest.raises(
        GraphError, match=rf'"best\.onnx" has opset {NEWEST + 1}, expected at most {NEWEST}\. .*--opset 17'
    ):
        load_onnx(path)


@pytest.mark.skipif(NEWEST < 23, reason="this onnx knows no opset 23")
def test_too_new_to_convert(tmp_path: Path) -> None:
    """An operator that came after what onnxruntime runs has no older form, and is refused with the same option."""
    path = tmp_path / "best.onnx"
    scale = numpy_helper.from_array(np.ones(6, np.float32), "scale")
    node = helper.make_node("RMSNormalization", ["images", "scale"], ["y"])  # new in opset 23
    onnx.save(model_of([node], constants=[scale], version=23), path)
    with pytest.raises(GraphError, match=r"opset 23, expected at most 21, and onnx cannot convert it: .*--opset 17"):
        load_onnx(path)


@pytest.mark.parametrize("version", range(22, max(NEWEST, 22) + 1))
def test_opsets_of_tomorrow(version: int, tmp_path: Path) -> None:
    """Opsets from 22 to the newest of onnx come down to what onnxruntime runs, and their operators do the same."""
    if version > NEWEST:
        pytest.skip(f"this onnx knows opsets up to {NEWEST}")
    path = tmp_path / "best.onnx"
    nodes = [
        helper.make_node("MaxPool", ["images"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Softmax", ["pooled"], ["y"], axis=1),
    ]
    onnx.save(model_of(nodes, version=version), path)
    model = load_onnx(path)
    assert opset(model) == 21
    x = np.random.default_rng(0).random((1, 3, 4, 6), np.float32)
    pooled = x.reshape(1, 3, 2, 2, 3, 2).max(axis=(3, 5))
    expected = np.exp(pooled) / np.exp(pooled).sum(axis=1, keepdims=True)
    assert np.abs(Session(model).run({"images": x})["y"] - expected).max() < 1e-6


def test_newer_ir_version(tmp_path: Path) -> None:
    """A container newer than the installed onnx knows is read where its operators are known."""
    path = tmp_path / "best.onnx"
    model = model_of([RELU])
    model.ir_version = onnx.IR_VERSION + 2
    onnx.save(model, path)
    assert [n.op_type for n in load_onnx(path).graph.node] == ["Relu"]


def test_weights_listed_as_inputs(tmp_path: Path) -> None:
    """Before IR version 4 weights were inputs too; the image is still the one input."""
    weight = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w")
    model = model_of(
        [helper.make_node("Conv", ["images", "w"], ["y"])],
        [
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3, 1, 1]),
            helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 6]),
        ],
        [weight],
    )
    model.ir_version = 3
    path = tmp_path / "best.onnx"
    onnx.save(model, path)
    assert image_input(load_onnx(path)) == ("images", (1, 3, 4, 6))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([("images", TensorProto.FLOAT, [1, 3, 4, 6]), ("iou", TensorProto.FLOAT, [1])], r"2 inputs \(images, iou\)"),
        ([("images", TensorProto.FLOAT, [1, 4, 6, 3])], r"shape \(1, 4, 6, 3\), expected \(N, 3, H, W\)"),
        ([("images", TensorProto.FLOAT, ["n", 1, 4, 6])], r"shape \(\?, 1, 4, 6\), expected \(N, 3, H, W\)"),
        ([("images", TensorProto.FLOAT, [1, 72])], r"shape \(1, 72\)"),
        ([("images", TensorProto.UINT8, [1, 3, 4, 6])], r'"images" is of type UINT8, expected FLOAT or FLOAT16'),
    ],
)
def test_inputs_that_are_no_image(inputs: list[tuple[str, int, list[int | str]]], message: str) -> None:
    """Several inputs, NHWC, grayscale, flat and integer inputs are refused by name."""
    model = model_of([RELU], [helper.make_tensor_value_info(*i) for i in inputs])
    with pytest.raises(GraphError, match=message):
        image_input(model)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("{0: 'bolt', 1: \"the nut's\"}", ("bolt", "the nut's")),
        ("{1: 'nut', 0: 'bolt'}", ("bolt", "nut")),
        ("['bolt', 'nut']", ("bolt", "nut")),
        ('{"0": "bolt", "1": 7}', ("bolt", "7")),
    ],
)
def test_names_as_exporters_write_them(written: str, names: tuple[str, ...]) -> None:
    """A dict counts by its keys, whatever their order; a list by position."""
    model = model_of([RELU])
    assert class_names(model) is None
    helper.set_model_props(model, {"names": written})
    assert class_names(model) == names


@pytest.mark.parametrize(
    "written",
    [
        "{0: 'bolt', 1:",
        "__import__('os')",
        "bolt, nut",
        "{}",
        "{1: 'bolt', 2: 'nut'}",
        "{0: 'bolt', 1: None}",
        "(" * 5000,
    ],
)
def test_broken_names(written: str) -> None:
    """Names that are not names of the classes 0, 1, 2, ... are refused, and nothing in them is executed."""
    model = model_of([RELU])
    helper.set_model_props(model, {"names": written})
    with pytest.raises(GraphError, match=r'The metadata entry "names" is .*--weights'):
        class_names(model)


def test_float16_everywhere_becomes_float32() -> None:
    """Weights, constants, casts, inputs, outputs and shape notes: no float16 is left, also inside an If."""
    half = numpy_helper.from_array(np.array([0.5], np.float16), "half")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array([2], np.float16)))],
        "branch",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT16, [1])],
    )
    model = model_of(
        [
            helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT16),
            helper.make_node("Mul", ["x", "half"], ["scaled"]),
            helper.make_node("If", ["yes"], ["two"], then_branch=branch, else_branch=branch),
            helper.make_node("Mul", ["scaled", "two"], ["product"]),
            helper.make_node("Cast", ["product"], ["y"], to=TensorProto.FLOAT),
        ],
        constants=[half, numpy_helper.from_array(np.array(True), "yes")],
    )
    model.graph.value_info.append(helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 3, 4, 6]))
    converted = to_float32(model)
    assert "data_type: 10" not in str(converted)
    assert "elem_type: 10" not in str(converted)
    x = np.random.default_rng(0).random((1, 3, 4, 6), np.float32)
    assert np.array_equal(Session(converted).run({"images": x})["y"], x)  # 0.5 * 2
    assert to_float32(converted) is converted
    assert model.graph.initializer[0].data_type == TensorProto.FLOAT16  # the input is left as it was


@pytest.mark.parametrize("case", ["v7_opset11", "fork_2021"])
def test_older_opsets_keep_their_values(case: str) -> None:
    """Opsets 10 and 11 come up to 13 with bit-equal outputs within 1e-5; opset 12 is left alone."""
    model = simplify(load_onnx(ONNX / f"{case}.onnx"))
    converted = to_supported_opset(model)
    assert (opset(model), opset(converted)) in {(10, 13), (11, 13)}
    x = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    before, after = Session(model).run({"images": x}), Session(converted).run({"images": x})
    for name, values in before.items():
        assert np.abs(after[name] - values).max() < 1e-5
    assert to_supported_opset(converted) is converted


def test_attributes_that_a_function_takes_from_its_call(tmp_path: Path) -> None:
    """They have no value within the function; the call's value is checked once the function is written out."""
    inner = helper.make_node("Conv", ["a", "w"], ["c"], name="n0")
    reference = onnx.AttributeProto(name="group", ref_attr_name="groups", type=onnx.AttributeProto.INT)
    inner.attribute.append(reference)
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "conv", ["a", "w"], ["c"], [inner], opsets, ["groups"])
    weights = [numpy_helper.from_array(np.ones((3, 1, 1, 1), np.float32), "w")]
    for groups in (3, 0):
        call = helper.make_node("conv", ["images", "w"], ["y"], domain="own", groups=groups)
        model = model_of([call], constants=weights, version=17)
        model.opset_import.append(helper.make_opsetid("own", 1))
        model.functions.append(function)
        onnx.save(model, tmp_path / f"{groups}.onnx")
    (node,) = load_onnx(tmp_path / "3.onnx").graph.node
    assert (node.op_type, [a.i for a in node.attribute]) == ("Conv", [3])
    with pytest.raises(GraphError, match=r"has group \[0\], expected numbers from 1"):
        load_onnx(tmp_path / "0.onnx")


def test_unconvertible_opset() -> None:
    """If onnx cannot convert an opset, the message names it, the toolkit's range and the export option."""
    constants = [numpy_helper.from_array(np.ones(3, np.float32), name) for name in ("scale", "bias")]
    nodes = [helper.make_node("GroupNormalization", ["images", "scale", "bias"], ["y"], num_groups=3)]
    with pytest.raises(GraphError, match=r"opset 21, the toolkit takes 12 to 19, .* Export it again with opset 19"):
        to_supported_opset(model_of(nodes, constants=constants, version=21))


def test_no_constant_stays_a_node() -> None:
    """A node without inputs that onnxsim leaves, for example one of no values, becomes an initializer too."""
    model = simplify(to_supported_opset(onnx.load(ONNX / "v7_opset11.onnx")))
    assert not [node.name for node in model.graph.node if not node.input]
    assert any(0 in tensor.dims for tensor in model.graph.initializer)

"""Reading other people's ONNX files: what is refused, and that conversions keep every value."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.foreign import (
    class_names,
    image_input,
    load_onnx,
    opset,
    to_float32,
    to_supported_opset,
    without_padded_pooling,
)
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify

ONNX = Path(__file__).parents[2] / "data" / "onnx"


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto] | None = None,
    constants: list[TensorProto] | None = None,
    version: int = 13,
) -> onnx.ModelProto:
    inputs = inputs or [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 6])]
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n", "c", "h", "w"])
    graph = helper.make_graph(nodes, "test", inputs, [output], constants or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)


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
    """An opset that onnxruntime cannot run, and so nothing can verify, is refused with the option that cures it."""
    path = tmp_path / "best.onnx"
    onnx.save(model_of([RELU], version=24), path)
    with pytest.raises(GraphError, match=r'"best\.onnx" has opset 24, expected at most 23\. .*--opset 17'):
        load_onnx(path)
    scale = numpy_helper.from_array(np.ones(6, np.float32), "scale")
    node = helper.make_node("RMSNormalization", ["images", "scale"], ["y"])  # new in opset 23
    onnx.save(model_of([node], constants=[scale], version=23), path)
    with pytest.raises(GraphError, match=r"opset 23, expected at most 21, and onnx cannot convert it: .*--opset 17"):
        load_onnx(path)


@pytest.mark.parametrize("version", [22, 23])
def test_opsets_of_tomorrow(version: int, tmp_path: Path) -> None:
    """Opsets 22 and 23 come down to what onnxruntime runs, and their operators do the same."""
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
    """Several inputs, NHWC, greyscale, flat and integer inputs are refused with what they are."""
    model = model_of([RELU], [helper.make_tensor_value_info(*i) for i in inputs])
    with pytest.raises(GraphError, match=message):
        image_input(model)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("{0: 'bolt', 1: \"the nut's\"}", ("bolt", "the nut's")),
        ("{1: 'nut', 0: 'bolt'}", ("bolt", "nut")),
        ("['bolt', 'nut']", ("bolt", "nut")),
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
    ["{0: 'bolt', 1:", "__import__('os')", "bolt, nut", "{}", "{1: 'bolt', 2: 'nut'}", "{0: 'bolt', 1: 7}", "(" * 5000],
)
def test_broken_names(written: str) -> None:
    """Names that are no names of the classes 0, 1, 2, ... are refused, and nothing in them is run."""
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


def test_unconvertible_opset() -> None:
    """Where onnx knows no way down, the message says which opset, what the toolkit takes and what to export."""
    shape = numpy_helper.from_array(np.array([1], np.int64), "shape")
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["c"]), helper.make_node("Add", ["images", "c"], ["y"])]
    with pytest.raises(GraphError, match=r"opset 21, the toolkit takes 12 to 19, .* Export it again with opset 19"):
        to_supported_opset(model_of(nodes, constants=[shape], version=21))


def _pool(values: NDArray[np.float32], pads: list[int]) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(
        model_of(
            [
                helper.make_node("Pad", ["images", "pads", *(["value"] if values.size else [])], ["padded"]),
                helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[2, 2], strides=[1, 1]),
            ],
            constants=[
                numpy_helper.from_array(np.array(pads, np.int64), "pads"),
                *([numpy_helper.from_array(values, "value")] if values.size else []),
            ],
        )
    )


@pytest.mark.parametrize(
    "pads", [[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 1, 2, 0, 0, 0, 1], [0, 0, 0, 3, 0, 0, 0, 0], [0] * 8]
)
def test_padded_pooling_by_hand(pads: list[int]) -> None:
    """Pad of zeros before MaxPool becomes Concat; with negative inputs the maxima at the border are those zeros."""
    model = without_padded_pooling(_pool(np.zeros((), np.float32), pads))
    onnx.checker.check_model(model)
    assert all(n.op_type != "Pad" for n in model.graph.node)
    x = -1 - np.random.default_rng(0).random((1, 3, 4, 6), np.float32)
    padded = np.pad(x, list(zip(pads[:4], pads[4:], strict=True)))
    across = np.maximum(padded[..., :-1], padded[..., 1:])
    expected = np.maximum(across[:, :, :-1], across[:, :, 1:])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, {"images": x})[0], expected)  # with every optimizer on


def test_other_pads_stay() -> None:
    """A Pad with another value is left as it is, and `Session` computes it right."""
    model = without_padded_pooling(_pool(np.array(-2, np.float32), [0, 0, 0, 0, 0, 0, 1, 1]))
    assert [n.op_type for n in model.graph.node] == ["Pad", "MaxPool"]


def test_pad_is_not_fused_into_pool() -> None:
    """Neither onnxruntime nor onnxsim moves zeros into a MaxPool: the maximum of -1 and a padded zero is zero."""
    x = np.full((1, 3, 4, 6), -1, np.float32)
    model = _pool(np.zeros((), np.float32), [0, 0, 0, 0, 0, 0, 1, 1])
    for graph in (model, simplify(model)):
        y = Session(graph).run({"images": x})["y"]
        assert (y[:, :, -1] == 0).all()
        assert (y[:, :, :-1, :-1] == -1).all()

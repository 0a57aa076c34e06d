"""Contents of an ONNX file that are accepted before any runtime sees it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.foreign_checks import MAX_NODES, require_sane
from rkdeploy.host.graph.foreign_process import Runs, limits_for, run_foreign
from rkdeploy.host.graph.foreign_sizes import require_fixed_work, require_small_constants
from rkdeploy.host.graph.suppression import PLUGINS
from rkdeploy.system.limited_process import Limits

DATA = Path(__file__).parents[2] / "data"


def info(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def model_of(*nodes: onnx.NodeProto, constants: list[TensorProto] | None = None) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "g", [info("x", 1, 3, 8, 8)], [info("y", 1, 3, 8, 8)], constants or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def one(op: str, **attributes: Any) -> onnx.ModelProto:
    return model_of(helper.make_node(op, ["x"], ["y"], name="n", **attributes))


WINDOW = [
    (op, {name: value})
    for op in ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")
    for name, value in (
        ("strides", [0, 0]), ("strides", [1, -1]), ("dilations", [0, 1]), ("kernel_shape", [0, 3]),
        ("kernel_shape", [1 << 40, 3]), ("pads", [-1, 0, 0, 0]), ("pads", [0, 0, 0, 1 << 62]),
    )
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        *WINDOW,
        ("Conv", {"group": 0}),
        ("Conv", {"group": -4}),
        ("DepthToSpace", {"blocksize": 0}),
        ("SpaceToDepth", {"blocksize": -2}),
        ("Split", {"num_outputs": 0}),
    ],
)
def test_numbers_that_a_runtime_divides_by(op: str, attributes: dict[str, Any]) -> None:
    """Strides, kernels, groups and blocks below one, and numbers beyond any image, name node and attribute."""
    with pytest.raises(GraphError, match=rf'Node "n" \({op}\) has {next(iter(attributes))} .*, expected numbers from'):
        require_sane(one(op, **attributes), "best.onnx")


@pytest.mark.parametrize("op", ["Conv", "MaxPool"])
def test_numbers_as_exporters_write_them(op: str) -> None:
    """Ordinary windows pass, and numbers of other operators are their own business."""
    require_sane(one(op, strides=[2, 2], dilations=[1, 1], kernel_shape=[3, 3], pads=[0, 1, 1, 0]), "best.onnx")
    require_sane(one("Pad", pads=[0, 0, 0, 0, 0, 0, -1, -1]), "best.onnx")


@pytest.mark.parametrize("path", sorted(DATA.glob("**/*.onnx")), ids=lambda p: p.stem)
def test_real_exports_pass(path: Path) -> None:
    """No file that an exporter wrote is refused."""
    require_sane(onnx.load(path, load_external_data=False), path.name, plugins=PLUGINS)


def branches(depth: int) -> onnx.NodeProto:
    inner = branches(depth - 1) if depth else helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([inner], "g", [], [info("y")])
    return helper.make_node("If", ["x"], ["y"], then_branch=graph, else_branch=graph)


def declared(shape: list[int], values: bytes) -> TensorProto:
    return TensorProto(name="c", data_type=TensorProto.FLOAT, dims=shape, raw_data=values)


RELU = helper.make_node("Relu", ["x"], ["y"])
BROKEN: dict[str, tuple[onnx.ModelProto, str]] = {
    "branches in branches": (model_of(branches(10)), "graphs within graphs"),
    "too few values": (model_of(RELU, constants=[declared([3], bytes(8))]), '"c" holds 2 values, expected 3'),
    "too many values": (model_of(RELU, constants=[declared([1], bytes(9))]), '"c" holds 2.25 values, expected 1'),
    "negative size": (model_of(RELU, constants=[declared([-1, -1], bytes(4))]), r'"c" has shape \[-1, -1\]'),
    "terabytes": (model_of(RELU, constants=[declared([1 << 40], b"")]), '"c" has shape .* expected at most'),
    "values of an attribute": (
        model_of(helper.make_node("Constant", [], ["y"], name="n", value=declared([4], b"1234"))),
        '"value" of node "n" holds 1 values',
    ),
    "plugin": (
        model_of(helper.make_node("EfficientNMS_TRT", ["x"], ["y"], domain="TRT", name="n")),
        'Node "n" is the operator "EfficientNMS_TRT" of "TRT"',
    ),
    "deformable convolution": (
        model_of(helper.make_node("DeformConv", ["x", "w", "o"], ["y"], name="n")),
        r'Node "n" is a deformable convolution \(DeformConv\), which rknn-toolkit2 cannot build',
    ),
    "deformable convolution of mmdeploy": (
        model_of(helper.make_node("MMCVModulatedDeformConv2d", ["x"], ["y"], domain="mmdeploy", name="n")),
        "is a deformable convolution",
    ),
    "name that commands": (model_of(helper.make_node("Relu", ["x"], ["\x1b[2J"])), r'name of a tensor is ".*x1b\[2J"'),
    "output that is the input": (
        onnx.ModelProto(graph=onnx.GraphProto(node=[RELU], input=[info("x", 1)], output=[info("x", 1)])),
        '2 inputs or outputs of the name "x"',
    ),
    "long name": (model_of(helper.make_node("Relu", ["x"], ["y" * 1001])), "name of a tensor is .* at most 1000"),
    "long metadata": (
        onnx.ModelProto(graph=model_of(RELU).graph, metadata_props=[{"key": "names", "value": "x" * (1 << 21)}]),
        'entry "names" has 2097152 characters',
    ),
}


@pytest.mark.parametrize(("model", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_what_no_exporter_writes(model: onnx.ModelProto, message: str) -> None:
    """Each is refused by name."""
    with pytest.raises(GraphError, match=message):
        require_sane(model, "best.onnx")


def test_name_that_is_not_text() -> None:
    """Bytes that are not UTF-8 in the place of a name."""
    content = model_of(helper.make_node("Relu", ["x"], ["tensor_y"])).SerializeToString()
    with pytest.raises(GraphError, match=r"name of a tensor is b'\\xff\\xfensor_y', expected text"):
        require_sane(onnx.load_from_string(content.replace(b"tensor_y", b"\xff\xfensor_y")), "best.onnx")


def calling(depth: int, last: str) -> onnx.ModelProto:
    """Functions that each call the next one twice."""
    model = model_of(helper.make_node("f0", ["x"], ["y"], domain="own"))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for number in range(depth):
        called, domain = (f"f{number + 1}", "own") if number + 1 < depth else (last, "own" if last != "Relu" else "")
        nodes = [helper.make_node(called, [a], [b], domain=domain) for a, b in (("a", "b"), ("b", "c"))]
        model.functions.append(helper.make_function("own", f"f{number}", ["a"], ["c"], nodes, opsets))
    return model


def test_functions_are_counted_before_they_are_written_out() -> None:
    """Sixty functions can stand for 2^60 nodes; ten stand for 1,024."""
    require_sane(calling(10, "Relu"), "best.onnx")
    assert MAX_NODES < 1 << 17
    with pytest.raises(GraphError, match=r"stand for 1\.15e\+18 nodes"):
        require_sane(calling(60, "Relu"), "best.onnx")
    with pytest.raises(GraphError, match="call themselves"):
        require_sane(calling(3, "f0"), "best.onnx")


# ------------------------------------------------------------------------------------------ sizes of a simplified graph


def inferred(*nodes: onnx.NodeProto, constants: list[TensorProto] | None = None) -> onnx.ModelProto:
    """The model with the shapes that follow from it, of its output too."""
    model = model_of(*nodes, constants=constants)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def test_fixed_work_passes_and_only_what_is_before_the_tensors_counts() -> None:
    """A decode behind the head may do as it likes."""
    chosen = helper.make_node("NonZero", ["t"], ["y"])
    model = inferred(helper.make_node("Relu", ["x"], ["t"]), chosen)
    require_fixed_work(model, model, ["t"])
    with pytest.raises(GraphError, match=r'\(NonZero\) gives "y" without a fixed shape'):
        require_fixed_work(model, model, ["y"])


LARGE = numpy_helper.from_array(np.array([1, 3 << 20, 8, 8 << 10], np.int64), "shape")
WORK: dict[str, tuple[list[onnx.NodeProto], list[TensorProto], str]] = {
    "large": ([helper.make_node("Expand", ["x", "shape"], ["y"])], [LARGE], "Expand"),
    "branch": (
        [helper.make_node("If", ["yes"], ["y"], then_branch=b, else_branch=b)
         for b in [helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "b", [], [info("r", 1, 3, 8, 8)])]],
        [numpy_helper.from_array(np.array(True), "yes")], "makes the computation depend on values",
    ),
    "division of integers": (
        [helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64), helper.make_node("Div", ["i", "i"], ["d"]),
         helper.make_node("Cast", ["d"], ["y"], to=TensorProto.FLOAT)], [], "divides integers",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "constants", "message"), WORK.values(), ids=WORK.keys())
def test_work_that_an_image_decides(nodes: list[onnx.NodeProto], constants: list[TensorProto], message: str) -> None:
    """Control flow, integer division and tensors beyond 2 GB are refused before the head."""
    model = inferred(*nodes, constants=constants)
    with pytest.raises(GraphError, match=message):
        require_fixed_work(model, model, ["y"])


@pytest.mark.parametrize(("count", "refused"), [(1 << 25, False), ((1 << 25) + 1, True)])
def test_constants_that_are_still_to_be_computed(count: int, refused: bool) -> None:
    """128 MiB of them pass; what depends on the image is not one of them."""
    model = inferred(
        helper.make_node("Expand", ["one", "many"], ["all"], name="bomb"),
        helper.make_node("ReduceMean", ["all"], ["mean"]),
        helper.make_node("Mul", ["x", "mean"], ["y"]),
        constants=[
            numpy_helper.from_array(np.ones(1, np.float32), "one"),
            numpy_helper.from_array(np.array([count], np.int64), "many"),
        ],
    )
    if refused:
        with pytest.raises(GraphError, match=r'"bomb" \(Expand\) makes a constant of 0\.134 GB'):
            require_small_constants(model)
    else:
        require_small_constants(model)


# ------------------------------------------------------------------------------------------------------------- the door


def _crash() -> onnx.ModelProto:
    raise ZeroDivisionError("integer division")


@pytest.mark.parametrize(
    ("work", "message"),
    [(_crash, '"v6.onnx" cannot be used: ZeroDivisionError'), (lambda: 7, "gave a broken answer")],
)
def test_one_message_from_the_door(work: Callable[[], onnx.ModelProto], message: str) -> None:
    """Errors in the child name the file; an answer of another type is not believed."""
    with pytest.raises(GraphError, match=message):
        run_foreign(DATA / "onnx" / "v6.onnx", work, onnx.ModelProto)


def test_models_come_through_the_door() -> None:
    """A model arrives equal."""
    model = model_of(RELU)
    assert run_foreign(DATA / "onnx" / "v6.onnx", lambda: model, onnx.ModelProto) == model


def test_limits_by_size(tmp_path: Path) -> None:
    """A file of 1 MiB with external weights of 3 MiB, run twice on 2 megapixels with tensors of 1 GiB."""
    file = tmp_path / "best.onnx"
    file.write_bytes(bytes(1 << 20))
    (tmp_path / "best.onnx.data").write_bytes(bytes(3 << 20))
    (tmp_path / "other.onnx").write_bytes(bytes(1 << 20))
    most = int(0.75 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    assert limits_for(file) == Limits(min((4 << 30) + (64 << 20), most), 124.0)
    running = limits_for(file, Runs(2, 2_000_000, 1 << 30))
    assert running.seconds == 124 + 10 * 4 * 4
    assert running.memory_bytes == min((8 << 30) + (64 << 20), most)
    assert limits_for(file, Runs(1, 1, 1 << 50)).memory_bytes == most


def test_a_negative_size_counts_nothing() -> None:
    """A shape with a negative size, as a damaged file says it, takes nothing off the memory of others."""
    model = inferred(helper.make_node("Relu", ["x"], ["t"]), helper.make_node("Relu", ["t"], ["y"]))
    model.graph.value_info.append(info("damaged", -(1 << 62), 3))
    assert Runs.of(model, 1).tensor_bytes == 3 * 8 * 8 * 4


def test_runs_of_a_graph() -> None:
    """One tensor of (1, 3, 8, 8) between two nodes, on an image of 8 x 8."""
    model = inferred(helper.make_node("Relu", ["x"], ["t"]), helper.make_node("Relu", ["t"], ["y"]))
    assert Runs.of(model, 4) == Runs(4, 64, 3 * 8 * 8 * 4)

"""The backends that run the cut graph in floating point: onnxruntime and opencv_dnn."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.runtime.onnxruntime import OnnxRuntime
from rkdeploy.device.runtime.opencv_dnn import OpencvDnn
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path

    from rkdeploy.device.runtime.protocol import Runtime

onnx = pytest.importorskip("onnx")

H, W = 8, 12
MEAN, STD = (1.0, 2.0, 3.0), (255.0, 128.0, 64.0)
# The contract's order is not the graph's, and "boxes" is used inside the graph too.
OUTPUTS = (
    HeadOutput("scores", "anchor_scores", 0, 1, (1, 2, H, W), "sigmoid"),
    HeadOutput("boxes", "anchor_boxes", 0, 1, (1, 4, H, W)),
)
SPEC = ModelSpec("yolov5", "detect", ("a",), InputSpec("images", H, W, mean=MEAN, std=STD), OUTPUTS)
BOTH = pytest.mark.parametrize("backend", [OnnxRuntime, OpencvDnn])
Backend = type[OnnxRuntime] | type[OpencvDnn]

RNG = np.random.default_rng(0)
W_BOXES = RNG.normal(size=(4, 3, 1, 1)).astype(np.float32)
W_SCORES = RNG.normal(size=(2, 4, 1, 1)).astype(np.float32)


def write_graph(path: Path, op: str = "Sigmoid", boxes_shape: tuple[int, ...] = (1, 4, H, W)) -> Path:
    h = onnx.helper
    nodes = [
        h.make_node("Conv", ["images", "w1"], ["boxes"], kernel_shape=[1, 1]),
        h.make_node("Conv", ["boxes", "w2"], ["logits"], kernel_shape=[1, 1]),
        h.make_node(op, ["logits"], ["scores"], name="last"),
    ]
    float32 = onnx.TensorProto.FLOAT
    graph = h.make_graph(
        nodes,
        "cut",
        [h.make_tensor_value_info("images", float32, (1, 3, *boxes_shape[2:]))],
        [
            h.make_tensor_value_info("boxes", float32, boxes_shape),
            h.make_tensor_value_info("scores", float32, (1, 2, *boxes_shape[2:])),
        ],
        [onnx.numpy_helper.from_array(W_BOXES, "w1"), onnx.numpy_helper.from_array(W_SCORES, "w2")],
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 12)], ir_version=8), str(path))
    return path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "模型 cut.onnx")


def image() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return RNG.integers(0, 256, (1, H, W, 3), dtype=np.uint8)


@BOTH
def test_outputs_equal_a_hand_computation(backend: Backend, graph: Path) -> None:
    """Normalization, layout and output order agree with numpy to 1e-5, for a non-square input, call after call."""
    with backend(graph, SPEC) as runtime:
        for _ in range(2):
            pixels = image()
            scores, boxes = runtime.infer(pixels)
            x = ((pixels[0] - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
            expected = np.einsum("oc,chw->ohw", W_BOXES[:, :, 0, 0], x)
            logits = np.einsum("oc,chw->ohw", W_SCORES[:, :, 0, 0], expected)
            np.testing.assert_allclose(boxes.values[0], expected, atol=1e-5)
            np.testing.assert_allclose(scores.values[0], 1 / (1 + np.exp(-logits)), atol=1e-5)
            for tensor in (scores, boxes):
                assert tensor.values.dtype == np.float32
                assert tensor.values.flags.c_contiguous
                assert (tensor.scale, tensor.zero_point) == (1.0, 0)


@BOTH
def test_it_is_a_runtime_that_says_where_its_figures_come_from(backend: Backend, graph: Path) -> None:
    """Both are Runtimes with a name, and say which version on which machine gave their figures."""
    runtime: Runtime = backend(graph, SPEC)
    with runtime:
        assert runtime.figures_from.endswith("on this PC")
        assert any(digit in runtime.figures_from for digit in "0123456789")
    with pytest.raises(BackendError, match="is not open"):
        runtime.infer(image())


@BOTH
@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((H, W, 3), np.uint8),
        np.zeros((1, W, H, 3), np.uint8),
        np.zeros((1, 3, H, W), np.uint8),
        np.zeros((1, H, W, 3), np.float32),
        np.zeros((1, H, W, 6), np.uint8)[..., ::2],
    ],
    ids=["three axes", "turned", "NCHW", "float", "not contiguous"],
)
def test_wrong_images_are_refused(backend: Backend, graph: Path, bad: Any) -> None:
    """An image that is not what the contract says is refused with both shapes."""
    with (
        backend(graph, SPEC) as runtime,
        pytest.raises(BackendError, match=r"expected contiguous \(1, 8, 12, 3\) uint8"),
    ):
        runtime.infer(bad)


@BOTH
def test_files_that_are_no_graph(backend: Backend, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A missing, an empty and a damaged file are refused in one line, with nothing on stderr."""
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "junk.onnx").write_bytes(b"no protobuf" * 50)
    for name in ("none.onnx", "empty.onnx", "junk.onnx"):
        with pytest.raises(BackendError, match=name) as caught, backend(tmp_path / name, SPEC):
            pass
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@BOTH
def test_an_unknown_layer_is_named(backend: Backend, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A layer that the library cannot run is named in one line."""
    path = write_graph(tmp_path / "odd.onnx", op="Frobnicate")
    with pytest.raises(BackendError, match="Frobnicate") as caught, backend(path, SPEC):
        pass
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@BOTH
def test_a_graph_of_another_contract_is_refused(backend: Backend, graph: Path) -> None:
    """Other output names, another output shape or another input name are noticed before results are used."""
    renamed = dataclasses.replace(OUTPUTS[0], name="nope")
    with (
        pytest.raises(BackendError, match='no output "nope"; it has'),
        backend(graph, dataclasses.replace(SPEC, outputs=(renamed,))),
    ):
        pass
    wrong = dataclasses.replace(OUTPUTS[1], shape=(1, 5, H, W))
    with (
        backend(graph, dataclasses.replace(SPEC, outputs=(wrong,))) as runtime,
        pytest.raises(BackendError, match=r'"boxes" has shape \(1, 4, 8, 12\) .* expected \(1, 5, 8, 12\)'),
    ):
        runtime.infer(image())
    other_input = dataclasses.replace(SPEC, input=dataclasses.replace(SPEC.input, name="data"))
    with pytest.raises(BackendError), backend(graph, other_input) as runtime:
        runtime.infer(image())


def test_onnxruntime_refuses_another_input_size(tmp_path: Path) -> None:
    """A graph that was fixed at another input size is refused on opening (OpenCV fits such a graph to its input)."""
    bigger = write_graph(tmp_path / "bigger.onnx", boxes_shape=(1, 4, 16, 16))
    with (
        pytest.raises(BackendError, match=r"\[1, 3, 16, 16\], expected one: .* \[1, 3, 8, 12\]"),
        OnnxRuntime(bigger, SPEC),
    ):
        pass


def test_a_missing_package_is_named_with_its_extra(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime the error says what to install."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match="needs the package") as caught, OnnxRuntime(graph, SPEC):
        pass
    assert "rkdeploy[graph]" in caught.value.hint

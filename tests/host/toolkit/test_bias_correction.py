"""Bias correction: the emulation gives the simulator's integers, and corrected biases give back the means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.contract.record import BiasCorrection
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.toolkit import files
from rkdeploy.host.toolkit.bias_correction import correct_biases, mean_shift
from rkdeploy.host.toolkit.built_model import KeptFiles
from rkdeploy.host.toolkit.emulated_operators import operators
from rkdeploy.host.toolkit.emulation import EmulatedNetwork, EmulatedRun
from rkdeploy.host.toolkit.toolkit import Toolkit
from tests.host.toolkit.test_toolkit import INT8, images, tiny_onnx


@pytest.fixture(scope="module")
def torch() -> Any:
    """PyTorch, imported by the first test: at the top every worker would spend a second and 200 MB on it."""
    return pytest.importorskip("torch")


def one_convolution(operator: str = "Relu", bias: float = 0.0) -> onnx.ModelProto:
    """A 1x1 convolution of one channel with the weight 0.6, and an activation."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "weight", "bias"], ["linear"], kernel_shape=[1, 1]),
            helper.make_node(operator, ["linear"], ["out"]),
        ],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, 2, 2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, 2, 2])],
        [
            numpy_helper.from_array(np.full((1, 1, 1, 1), 0.6, np.float32), "weight"),
            numpy_helper.from_array(np.array([bias], np.float32), "bias"),
        ],
    )
    return helper.make_model(graph)


def entry(scale: float, zero_point: int) -> dict[str, Any]:
    """One tensor of the quantization table."""
    return {"dtype": "int8", "scale": [scale], "zero_point": [zero_point]}


COARSE = {"weight": entry(0.25, 0), "linear": entry(7.0, 0) | {"qmode_dtype": "float32"}, "out": entry(0.5, -128)}
"""The weight 0.6 becomes 0.5; the result before the activation is marked as never stored."""


def test_values_by_hand(torch: Any) -> None:
    """0.5 times 1, 2, 3 and -1, cut at 0, in steps of 0.5; ties go to the even step."""
    network = EmulatedNetwork(one_convolution(), COARSE, (), operators())
    values = torch.tensor([1.0, 2.0, 2.5, -1.0]).view(1, 1, 2, 2)
    (got,) = EmulatedRun(network, values, quantized=True).outputs()
    assert got.flatten().tolist() == [0.5, 1.0, 1.0, 0.0]
    (exact,) = EmulatedRun(network, values, quantized=False).outputs()
    assert exact.flatten().tolist() == pytest.approx([0.6, 1.2, 1.5, 0.0])


def test_layers_in_float16_are_not_rounded(torch: Any) -> None:
    """A tensor named as float16 keeps its float values, and the layer its float weights."""
    network = EmulatedNetwork(one_convolution(), COARSE, ("linear", "out"), operators())
    (got,) = EmulatedRun(network, torch.ones(1, 1, 2, 2), quantized=True).outputs()
    assert got.flatten().tolist() == pytest.approx([0.6] * 4)


def test_operators_that_are_not_emulated_are_named() -> None:
    """A graph with one is refused as a whole."""
    with pytest.raises(match="Softplus is not emulated"):
        EmulatedNetwork(one_convolution("Softplus"), COARSE, (), operators())


def test_the_mean_behind_the_activation_is_restored(torch: Any) -> None:
    """The mean of the shifted values equals the aim behind SiLU; a channel that is flat there stays as it is."""
    random = torch.Generator().manual_seed(1)
    wanted = torch.randn((2, 2, 20, 20), generator=random)
    wanted[:, 1] -= 40
    got = wanted * 0.9 - 0.2
    shift = mean_shift(wanted, got, torch.nn.functional.silu)
    moved = torch.nn.functional.silu(got + shift.view(1, -1, 1, 1)).mean((0, 2, 3))
    assert moved[0].item() == pytest.approx(torch.nn.functional.silu(wanted).mean((0, 2, 3))[0].item(), abs=1e-4)
    assert shift[0].item() > 0.1
    assert shift[1].item() == 0


def test_corrected_biases_are_judged_on_held_out_images(torch: Any) -> None:
    """A bias by which every fourth image gains is accepted; where only that image loses, the trained one stays."""
    network = EmulatedNetwork(one_convolution(bias=1.0), COARSE | {"out": entry(0.01, -128)}, (), operators())
    bright = torch.tensor([1.0, 1.1, 1.2, 1.3]).view(1, 1, 2, 2)
    biases, record = correct_biases(network, EmulatedRun, [bright] * 4)
    assert biases["bias"].item() == pytest.approx(1 + 0.1 * bright.mean().item(), abs=1e-4)
    assert BiasCorrection(**record).accepted
    assert record["error_after"] < record["error_before"]
    assert (record["images"], record["held_out"], record["layers"]) == (3, 1, 1)
    biases, record = correct_biases(network, EmulatedRun, [bright, bright, bright, -bright])
    assert not biases
    assert not BiasCorrection(**record).accepted
    assert "did not come nearer" in record["reason"]


def test_too_few_images_correct_nothing(torch: Any) -> None:
    """Three images leave none to hold out, and the record says so."""
    network = EmulatedNetwork(one_convolution(), COARSE, (), operators())
    biases, record = correct_biases(network, EmulatedRun, [torch.ones(1, 1, 2, 2)] * 3)
    assert not biases
    assert not record["accepted"]
    assert "3 calibration images" in record["reason"]


def test_only_int8_has_biases_to_correct() -> None:
    """The option with a float build is refused by name."""
    with pytest.raises(RkdeployError, match="--bias-correction corrects INT8 models"):
        BuildOptions(model=Path("best.pt"), dtype="fp16", bias_correction=True)


def with_an_idle_channel(path: Path) -> Path:
    """The small network with one channel of ten times the others' range, which is hardly read."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name.startswith("body"):
            values[0] = 10 * np.abs(values[0])
        elif values.ndim == 4:
            values[:, 0] *= 1e-3
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    return path


@pytest.mark.slow
def test_the_simulator_gives_what_the_emulation_predicts(tmp_path: Path, torch: Any) -> None:
    """Searched ranges and corrected biases: the same integers from the simulator, its kept files, and emulated."""
    int8 = replace(INT8, algorithm="sensitivity")
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        tiny = with_an_idle_channel(tiny_onnx(tmp_path / "tiny.onnx"))
        built = toolkit.build(tiny, int8, images(8), tmp_path / "tiny.rknn", tmp_path / "kept", bias_correction=True)
        image = images(1, seed=3)[0][None]
        simulated = toolkit.simulate(image)
        assert built.kept is not None
        assert toolkit.open_kept(built.kept, int8).outputs == built.outputs
        again = toolkit.simulate(image)
    record = built.bias_correction
    assert record is not None
    assert record.accepted
    assert record.layers == 4
    network = emulated(built.kept)
    assert built.kept.data is not None
    calibrated = files.read_step1_data(str(built.kept.data))["quant_tab"]["features"]
    assert calibrated["max"][0] < 0.8 * calibrated["ori_max"][0]
    trained = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(tiny).graph.initializer}
    assert not np.array_equal(network.constants["body.bias"].numpy(), trained["body.bias"])
    values = (image.astype(np.float32) - np.array(INT8.mean, np.float32)) / np.array(INT8.std, np.float32)
    outputs = EmulatedRun(network, torch.from_numpy(values.transpose(0, 3, 1, 2).copy()), quantized=True).outputs()
    for output, tensor in zip(built.outputs, outputs, strict=True):
        assert output.quantization is not None
        steps = np.abs(simulated[output.name] - tensor.numpy()) / output.quantization.scale
        assert np.array_equal(simulated[output.name], again[output.name])
        assert steps.max() < 1.01  # a tie may fall to either side
        assert (steps > 0.01).mean() < 0.01


def emulated(kept: KeptFiles) -> EmulatedNetwork:
    """The network of a build's kept files."""
    assert kept.data is not None
    assert kept.config is not None
    _, float16 = files.read_quantization_table(str(kept.config))
    table = files.read_step1_data(str(kept.data))["quant_tab"]
    return EmulatedNetwork(onnx.load(kept.model), table, float16, operators())

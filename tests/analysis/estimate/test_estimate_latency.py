"""The latency model on compiled models."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from rkdeploy.analysis.estimate.latency import (
    Coefficients,
    latency_model,
    layer_time_ms,
    predict,
    require_predictable,
    targets,
)
from rkdeploy.analysis.estimate.layer_work import works_of
from rkdeploy.contract.compiled_model import CompiledLayer, CompiledModel
from rkdeploy.contract.documents import read_document
from rkdeploy.errors import RkdeployError
from rkdeploy.host.toolkit.compile_log import parse_compile_log

LOGS = Path(__file__).parents[2] / "data/compile_log"


@dataclass(frozen=True)
class Plan(CompiledModel):
    """A compiled model as a document of its own."""

    document: Literal["plan"] = "plan"
    schema_version: int = 1


CONV = CompiledLayer(1, "ConvExSwish", "a", "INT8", "NPU", (), (1, 48, 10, 20), 0, 5000, 5000, 100.0)
END = CompiledLayer(2, "OutputOperator", "", "INT8", "CPU", (), (), 0, 0, 0, 9.0)


def model(*layers: CompiledLayer) -> CompiledModel:
    return CompiledModel(layers, (), (), 1.0, 2.0)


def from_log(name: str) -> CompiledModel:
    return parse_compile_log(gzip.decompress((LOGS / name).read_bytes()).decode())


def test_work_by_hand() -> None:
    """48 channels are 64 values wide on 32 lanes, 48 on 16; stored are 48; the model's ends do no work."""
    (wide,) = works_of(model(CONV, END), 32)
    assert wide.activation_melements == pytest.approx(64 * 200 / 1e6)
    assert wide.traffic_mb == pytest.approx((100 * 1024 + 48 * 200) / 1e6)
    assert (wide.compute_mcycles, wide.softmax_melements, wide.kind) == (0.005, 0.0, "ConvExSwish NPU")
    (narrow,) = works_of(model(CONV), 16)
    assert narrow.activation_melements == pytest.approx(48 * 200 / 1e6)


def test_work_of_other_layers() -> None:
    """ReLU takes no table; half precision stores 8 channels in 16 bytes; a Split writes all that it reads."""
    relu, half, split = works_of(
        model(
            replace(CONV, op="ConvRelu"),
            replace(CONV, op="Add", dtype="FLOAT16", output_shape=(1, 3, 10, 20)),
            replace(CONV, op="Split", output_shape=(1, 24, 10, 20)),
        ),
        32,
    )
    assert relu.activation_melements == 0
    assert half.traffic_mb == pytest.approx((100 * 1024 + 8 * 200 * 2) / 1e6)
    assert split.traffic_mb == pytest.approx(2 * 100 * 1024 / 1e6)


@pytest.mark.parametrize(
    ("op", "shape", "values"),
    [
        ("exSDPAttention", (2, 64, 1, 400), 2 * 400 * 400),
        ("exSoftmax13", (2, 400, 1, 400), 2 * 400 * 400),
        ("exSoftmax13", (1, 6625, 1, 40), 6625 * 40),
        ("exMatMul", (2, 400, 1, 400), 0),
        ("Conv", (1, 64, 20, 20), 0),
    ],
)
def test_what_goes_through_a_softmax(op: str, shape: tuple[int, ...], values: int) -> None:
    """A fused attention of two heads and 400 tokens has the scores that the same in single layers prints."""
    (work,) = works_of(model(replace(CONV, op=op, output_shape=shape)), 32)
    assert work.softmax_melements == pytest.approx(values / 1e6)
    c = Coefficients(0.0, 0.0, 0.0, 10.0, 0.0)
    assert layer_time_ms(work, c)[0] == pytest.approx(10 * values / 1e6)


def test_attention_across_two_sequences() -> None:
    """Seven tokens that look at 784: the keys' number is the second input's."""
    q, k = (8, 16, 1, 7), (8, 16, 1, 784)
    (work,) = works_of(model(replace(CONV, op="exSDPAttention", input_shapes=(q, k, k), output_shape=q)), 32)
    assert work.softmax_melements == pytest.approx(8 * 7 * 784 / 1e6)


def test_a_gather_reads_what_it_takes() -> None:
    """Of a table of 49408 words, 20 are read."""
    gather = replace(CONV, op="Gather", dtype="FLOAT16", output_shape=(1, 20, 512), read_kib=49408.0)
    (work,) = works_of(model(gather), 32)
    assert work.traffic_mb == pytest.approx(2 * 20 * 512 * 2 / 1e6)


@pytest.mark.parametrize(
    ("coefficients", "expected"),
    [
        (Coefficients(1000.0, 0.0, 0.0, 0.0, 0.0), (5.0, "compute")),
        (Coefficients(1.0, 100.0, 0.0, 0.0, 0.0), (11.2, "memory")),
        (Coefficients(1.0, 1.0, 1000.0, 0.0, 0.0), (12.8, "activation")),
    ],
)
def test_the_slowest_side_decides(coefficients: Coefficients, expected: tuple[float, str]) -> None:
    """Of 0.005 Mcycles, 0.112 MB and 0.0128 million values, the one that takes longest is the time."""
    (work,) = works_of(model(CONV), 32)
    time_ms, limit = layer_time_ms(work, coefficients)
    assert time_ms == pytest.approx(expected[0])
    assert limit == expected[1]


def test_a_prediction_adds_up() -> None:
    """Layers and limits add up to the time, the interval is around it, and memory is the compiler's."""
    found = predict(from_log("2.5.0_yolo11n_rk3588_int8.txt.gz"), "rk3588", "int8")
    parts = (found.compute_ms, found.memory_ms, found.activation_ms, found.attention_ms, found.overhead_ms)
    assert sum(parts) == pytest.approx(found.time_ms)
    assert min(parts) > 0
    assert sum(layer.time_ms for layer in found.layers) == pytest.approx(found.time_ms)
    half = latency_model().chips["rk3588"].half_width
    assert (found.low_ms, found.high_ms) == pytest.approx((found.time_ms * exp(-half), found.time_ms * exp(half)))
    assert found.frames_per_second * found.time_ms == pytest.approx(1000)
    assert (found.weight_kib, found.internal_kib, found.notes) == (2623.19, 4400.0, ())


@pytest.mark.parametrize(
    ("log", "published_ms"),
    [
        ("2.5.0_yolov5n_rk3588_int8.txt.gz", 1000 / 82.5),
        ("2.5.0_yolov8n_rk3588_int8.txt.gz", 1000 / 73.5),
        ("2.5.0_yolov5s_relu_rk3588_int8.txt.gz", 1000 / 66.1),
        ("2.3.2_yolo11n_rk3566_int8.txt.gz", 1000 / 20.6),
        ("2.3.2_yolov5n_rk3576_int8.txt.gz", 1000 / 112.7),
    ],
)
def test_published_rates_lie_in_their_interval(log: str, published_ms: float) -> None:
    """From the raw log to the prediction: Rockchip's published time is within the interval."""
    found = predict(from_log(log), log.split("_")[-2], "int8")
    assert found.low_ms <= published_ms <= found.high_ms


def test_rk3568_is_rk3566() -> None:
    """Rockchip publishes one rate for both, and the prediction says so."""
    compiled = from_log("2.3.2_yolo11n_rk3566_int8.txt.gz")
    one, other = (predict(compiled, target, "int8") for target in ("rk3566", "rk3568"))
    assert one.time_ms == other.time_ms
    assert "rk3566 (published for rk3568 too)" in one.fitted_on
    assert one.fitted_on == other.fitted_on
    assert "rk3568" in targets()


@pytest.mark.parametrize(
    ("target", "dtype", "said"),
    [
        ("rv1126b", "int8", "rv1126b"),
        ("rk3576", "w8a16", "w8a16"),
        ("", "int8", "expected one of rk3588"),
        ("a\x1b", "int8", r'"a\x1b"'),
    ],
)
def test_what_was_not_fitted_is_refused(target: str, dtype: str, said: str) -> None:
    """Another chip or type has no prediction, and the message says what has."""
    with pytest.raises(RkdeployError, match="There is no latency model") as caught:
        require_predictable(target, dtype)
    assert said in caught.value.message


def test_unseen_layers_are_said() -> None:
    """A layer that no model of the fit has is named, with its share of the time."""
    layers = from_log("2.5.0_yolov5n_rk3588_int8.txt.gz").layers
    strange = replace(layers[1], op="ScatterND", target="CPU")
    (note,) = predict(model(*layers[:1], strange, *layers[2:]), "rk3588", "int8").notes
    assert "ScatterND CPU" in note
    assert "%" in note


def test_outside_of_the_fits_range_is_said() -> None:
    """A model that is much faster than any of the fit has a note; one without layers is an error."""
    (note,) = predict(model(replace(CONV, op="Conv")), "rk3588", "int8").notes
    assert "2.2 to 87.7 ms" in note
    with pytest.raises(RkdeployError, match="no layers"):
        predict(model(END), "rk3588", "int8")


@pytest.mark.parametrize(
    "changed",
    [
        {"npu_cycles": -1},
        {"npu_cycles": 10**400},
        {"read_kib": 1e300},
        {"output_shape": (1, -5, 10, 20)},
        {"input_shapes": ((1, 3, 10, 20), (1, 3, 10, -1))},
        {"output_shape": (10**9,) * 50},
    ],
)
def test_impossible_layers_are_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    """Numbers out of a forged build.json end in one message, not in infinite times or a traceback."""
    plain = msgspec.to_builtins(model(CONV))
    plain["layers"][0].update(changed)
    (tmp_path / "plan.json").write_text(json.dumps({"document": "plan", **plain}))
    with pytest.raises(RkdeployError, match=r"layers\[0\]"):
        read_document(tmp_path / "plan.json", (Plan,), "Build it again.")

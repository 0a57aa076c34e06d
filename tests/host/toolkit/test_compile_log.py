"""The toolkit's build log as data."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from rkdeploy.contract.compiled_model import CompiledLayer, CompiledModel, PlacedTensor
from rkdeploy.errors import ToolkitError
from rkdeploy.host.toolkit.compile_log import parse_compile_log, read_compile_log

LOGS = Path(__file__).parents[2] / "data/compile_log"
NAMES = sorted(path.name for path in LOGS.glob("*.gz"))
SIX = {"yolov5n", "yolov5s_relu", "yolov6n", "yolov8n", "yolo11n", "mobilenetv2-12"}
ROW = re.compile(r"^D RKNN: \[[\d:.]+\] (\d+)\s+\S", re.MULTILINE)
EMPTY = " 0x00000000"  # a constant without values takes no room
UNLISTED_KIB = {"rk3566": (0, 0), "rk3588": (2, 2), "rk3576": (100, 300)}


def log(name: str) -> str:
    return gzip.decompress((LOGS / name).read_bytes()).decode()


def model(name: str) -> CompiledModel:
    return parse_compile_log(log(name))


def test_six_models_of_both_versions_are_there() -> None:
    """The logs below are those of six models, each built by 2.3.2 and by 2.5.0."""
    for version in ("2.3.2", "2.5.0"):
        assert {name.split("_rk")[0].split("_", 1)[1] for name in NAMES if name.startswith(version)} == SIX


@pytest.mark.parametrize("name", NAMES)
def test_no_row_is_lost(name: str) -> None:
    """There are as many entries as the text has rows, and each layer's printed inputs are among its tensors."""
    text, found = log(name), model(name)
    assert len(found.layers) + len(found.features) + len(found.constants) == len(ROW.findall(text))
    tensors = Counter((t.layer, t.shape) for t in (*found.features, *found.constants))
    for layer in found.layers[1:]:
        assert not Counter((layer.number, shape) for shape in layer.input_shapes) - tensors, layer


@pytest.mark.parametrize("name", NAMES)
def test_totals_equal_the_logs_own(name: str) -> None:
    """The parsed tensors end where the log's own totals say; rk3588 adds 2 KiB to the weights, rk3576 tables."""
    text, found = log(name), model(name)
    stated = {kind: float(kib) for kind, kib in re.findall(r"Total (\w+) Memory Size: ([\d.]+)KB", text)}
    internal = max(tensor.end for tensor in found.features)
    assert float(f"{internal / 1024:.6g}") == stated["Internal"] == found.internal_kib
    weights = -(-max(tensor.end for tensor in found.constants) // 64) * 64
    assert found.weight_kib == stated["Weight"]
    least, most = UNLISTED_KIB[name.split("_")[-2]]
    assert least <= float(f"{stated['Weight'] - weights / 1024:.2f}") + 0.05
    assert stated["Weight"] - weights / 1024 <= most + 0.05


@pytest.mark.parametrize("name", NAMES)
def test_cycles_and_traffic_are_all_there(name: str) -> None:
    """The sums of cycles and traffic equal those of the raw text's cells."""
    text, found = log(name), model(name)
    cells = re.findall(r" (\d+)/(\d+)/(\d+) +(?:\d+% +)?(\d+) ", text)
    sums = [sum(int(cell[i]) for cell in cells) for i in range(4)]
    assert sums == [
        sum(layer.ddr_cycles for layer in found.layers),
        sum(layer.npu_cycles for layer in found.layers),
        sum(layer.total_cycles for layer in found.layers),
        sum(layer.read_kib for layer in found.layers),
    ]


def test_rows_by_hand() -> None:
    """A convolution, an end, a feature tensor and a constant, compared with the log read by eye."""
    found = model("2.5.0_yolov5n_rk3588_int8.txt.gz")
    assert found.layers[0].is_end
    assert found.layers[0].input_shapes == ()
    assert found.layers[3] == CompiledLayer(
        3, "ConvExSwish", "/model.1/conv/Conv", "INT8", "NPU", ((1, 16, 320, 320), (32, 16, 3, 3), (32,)),
        (1, 32, 160, 160), 104104, 230400, 230400, 1604.0,
    )  # fmt: skip
    assert not found.layers[3].is_end
    assert found.constants[2] == PlacedTensor(2, "model.0.b.weight", "INT8", (16, 12, 3, 3), 0x300, 0xC00)
    assert {layer.target for layer in found.layers} == {"CPU", "NPU"}


def test_layers_on_the_cpu() -> None:
    """On rk3566 the attention of YOLO11 runs in part on the CPU, which the layers say."""
    cpu = [layer for layer in model("2.3.2_yolo11n_rk3566_int8.txt.gz").layers if layer.target == "CPU"]
    assert [layer.op for layer in cpu if not layer.is_end] == ["Transpose", "Transpose", "Reshape", "exSoftmax13"]


def test_the_last_model_of_a_log_counts() -> None:
    """A log in which the toolkit built twice is read as the second build, whatever else was printed."""
    first, second = log("2.3.2_yolov8n_rk3588_int8.txt.gz"), log("2.3.2_yolov5n_rk3588_int8.txt.gz")
    text = f"I Loading :   0%|\rI Loading : 100%|#\n{first}W something\n{second}I rknn building done.\n"
    assert parse_compile_log(text) == parse_compile_log(second)


def test_a_lost_row_is_an_error() -> None:
    """Whichever layer or constant is missing from the text, it is refused, not read as a smaller model."""
    lines = log("2.3.2_yolov5n_rk3588_int8.txt.gz").splitlines()
    features = next(i for i, line in enumerate(lines) if "Feature Tensor" in line)
    constants = next(i for i, line in enumerate(lines) if "Const Tensor" in line)
    tried = 0
    for i, line in enumerate(lines):
        if ROW.match(line) and not features < i < constants and not line.endswith(EMPTY):
            with pytest.raises(ToolkitError):
                parse_compile_log("\n".join(lines[:i] + lines[i + 1 :]))
            tried += 1
    assert tried == 93 + 124


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((r"Network Layer Information", "Something Else"), "Network Layer Information Table"),
        ((r"Const Tensor Information", "Something Else"), "Const Tensor Information Table"),
        ((r"Total Weight.*", ""), "both memory totals"),
        ((r"Internal Memory Size: [\d.]+", "Internal Memory Size: 7601"), "7600 KiB, its total is 7601"),
        ((r"Weight Memory Size: [\d.]+", "Weight Memory Size: 1867"), "its total is 1867"),
        ((r" \d+/\d+/\d+ ", " 1/x/1 "), "no cycles or no traffic"),
        ((r"\| 0x00000000", "| 0x0000000g"), "without a place in memory"),
        ((r" 5   ConvExSwish ", " 5   ConvRelu    "), "disagree on layer 5"),
        ((r"(?s)(Const Tensor Inf.*?ID  User.*?\n.*?\n).*?(?=\n[^\n]*-----)", r"\1"), "has no rows"),
    ],
)
def test_damaged_logs(change: tuple[str, str], said: str) -> None:
    """A log that lacks a table, a total or a cell, or contradicts itself, is refused with its reason."""
    text = re.sub(change[0], change[1], log("2.3.2_yolov5n_rk3588_int8.txt.gz"), count=1)
    with pytest.raises(ToolkitError, match=re.escape(said)):
        parse_compile_log(text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file is a known error; one that is not text is a log without tables."""
    with pytest.raises(ToolkitError, match="cannot be read"):
        read_compile_log(tmp_path / "none.log")
    (tmp_path / "bytes.log").write_bytes(bytes(range(256)) * 100)
    with pytest.raises(ToolkitError, match="has no"):
        read_compile_log(tmp_path / "bytes.log")


def test_it_survives_json() -> None:
    """The kept part of a log is read back from build.json unchanged."""
    found = model("2.5.0_yolo11n_rk3588_int8.txt.gz")
    assert msgspec.json.decode(msgspec.json.encode(found), type=CompiledModel) == found

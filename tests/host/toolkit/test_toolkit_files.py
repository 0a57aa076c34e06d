"""Checks of the toolkit's own files before the toolkit loads them, and the values read from them."""

from __future__ import annotations

import argparse
import contextlib
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import onnx
import pytest

from rkdeploy.host.toolkit import files as toolkit_files
from rkdeploy.host.toolkit.files import RefusedError, add_quantization, quantization_in_rknn, rewrite_step1_data

EXPECTED = {"target_platform": "rk3588", "mean_values": [[0, 0, 0]]}
NAMESPACE = b"cargparse\nNamespace\n"


def test_plain_data_comes_through_whole(tmp_path: Path) -> None:
    """The toolkit loads what was there: real namespaces, inside one another and empty, and parts that are shared."""
    shared, file = [1.5, -2, None], tmp_path / "model.data"
    nested = argparse.Namespace(empty=argparse.Namespace(), parts=(shared, {"b"}, b"raw"))
    data = {"args": argparse.Namespace(**EXPECTED, nested=nested), "tensors": {"conv1": shared}}
    file.write_bytes(pickle.dumps(data, 4))
    rewrite_step1_data(str(file), EXPECTED)
    loaded = pickle.loads(file.read_bytes())
    assert loaded == data
    assert type(loaded["args"].nested.empty) is argparse.Namespace
    assert loaded["args"].nested.parts[0] is loaded["tensors"]["conv1"]
    with pytest.raises(RefusedError, match="made with target_platform 'rk3588', expected 'rk3566'"):
        rewrite_step1_data(str(file), {"target_platform": "rk3566"})


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (b"\x80\x04" + NAMESPACE + b"N}X\x03\0\0\0badK\x01s\x86b.", "sets the attributes of a type"),
        (b"\x80\x04}X\x03\0\0\0badK\x01sb.", "is damaged: IndexError"),
        (b"\x80\x04" + NAMESPACE + b")\x81]b.", "a state that is not a dict of names"),
        (b"\x80\x04" + NAMESPACE + b")\x81}K\x01K\x02sb.", "a state that is not a dict of names"),
        (b"\x80\x04" + NAMESPACE + b".", "holds the class Namespace itself"),
        (b"\x80\x04cos\nsystem\n.", "it names the global os.system"),
        (b"\x80\x05\x96\0\0\0\0\x10\0\0\0.", "step 1 does not write"),
        (b"\x80\x04\x82\x01.", "step 1 does not write"),
        (b"Pid\n.", "step 1 does not write"),
    ],
    ids=["class", "short", "list", "no names", "itself", "global", "buffer", "extension", "persistent"],
)
def test_nothing_else_gets_through(attack: bytes, said: str, tmp_path: Path) -> None:
    """Whatever is not plain data is refused with its reason; the file stays, and the real Namespace is untouched."""
    before = dict(vars(argparse.Namespace))
    (tmp_path / "model.data").write_bytes(attack)
    with pytest.raises(RefusedError) as caught:
        rewrite_step1_data(str(tmp_path / "model.data"), EXPECTED)
    assert said in str(caught.value)
    assert dict(vars(argparse.Namespace)) == before
    assert (tmp_path / "model.data").read_bytes() == attack


def test_a_few_bytes_take_no_memory(tmp_path: Path) -> None:
    """A place in the memo far out is one entry, not as many as the number says (in C it would be 32 GB)."""
    attack = b"\x80\x04]r\xff\xff\xff\xfe."
    assert [opcode.name for opcode, _, _ in pickletools.genops(attack)][2] == "LONG_BINPUT"
    (tmp_path / "model.data").write_bytes(attack)
    with pytest.raises(RefusedError, match="made with target_platform None"):
        rewrite_step1_data(str(tmp_path / "model.data"), EXPECTED)


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit the size alone is the reason."""
    monkeypatch.setattr(toolkit_files, "MOST_DATA_BYTES", 10)
    (tmp_path / "model.data").write_bytes(pickle.dumps({"args": None}))
    with pytest.raises(RefusedError, match=r"has \d+ bytes, expected at most 10\."):
        rewrite_step1_data(str(tmp_path / "model.data"), EXPECTED)


def record(name: bytes, *, zero_point: int, scale: float, dtype: bytes = b"int8\0\0\0\0") -> bytes:
    """A tensor's part of a `.rknn`, laid out as the toolkit's 2.5.0 writes it."""
    numbers = struct.pack("<IiIfIfIf", 1, zero_point, 1, scale, 1, 1.0, 1, 0.0)
    text = struct.pack("<I", len(dtype.rstrip(b"\0"))) + dtype + b"\5\0\0\0layer\0\0\0"
    return numbers + text + struct.pack("<I", len(name)) + name + b"\0"


def test_a_tensors_quantization_is_found_by_its_whole_name() -> None:
    """Neither a longer name, nor another dtype, nor a name that stands elsewhere, passes for it."""
    blob = b"scores\0".join(
        [
            b"RKNN",
            record(b"stride8_scores", zero_point=-128, scale=0.5),
            record(b"scores", zero_point=-7, scale=0.25),
            record(b"scores", zero_point=3, scale=0.125, dtype=b"int16\0\0\0"),
            b"\6\0\0\0",
        ]
    )
    assert quantization_in_rknn(blob, "scores", "int8") == {(0.25, -7)}
    assert quantization_in_rknn(blob, "scores", "int16") == {(0.125, 3)}
    assert quantization_in_rknn(blob, "stride8_scores", "int8") == {(0.5, -128)}
    assert quantization_in_rknn(blob, "8_scores", "int8") == set()
    again = record(b"scores", zero_point=-7, scale=0.25), record(b"scores", zero_point=0, scale=1.0)
    assert quantization_in_rknn(blob + again[0], "scores", "int8") == {(0.25, -7)}
    assert quantization_in_rknn(blob + again[1], "scores", "int8") == {(0.25, -7), (1.0, 0)}


@pytest.mark.parametrize(
    ("in_rknn", "refused"),
    [
        ([(0.25, -7)], ""),
        ([(0.25, -7), (0.25, -7)], ""),
        ([], "no such record"),
        ([(0.5, -7)], r"the .rknn has \(0.5, -7\)"),
        ([(0.25, -7), (0.5, 0)], r"the .rknn has \(0.25, -7\), \(0.5, 0\)"),
    ],
)
def test_an_outputs_scale_is_the_models_own(in_rknn: list[tuple[float, int]], refused: str, tmp_path: Path) -> None:
    """The table's values for an output must be those of the `.rknn`, and nothing else."""
    records = [record(b"scores", scale=scale, zero_point=zero_point) for scale, zero_point in in_rknn]
    (tmp_path / "best.rknn").write_bytes(b"RKNN".join([*records, record(b"other", scale=0.25, zero_point=1)]))
    graph = onnx.helper.make_graph([], "g", [], [])
    outputs = [{"name": "scores", "dtype": "int8"}, {"name": "boxes", "dtype": "float16"}]
    table = {"scores": {"dtype": "int8", "scale": [0.25], "zero_point": [-7]}}
    with pytest.raises(RefusedError, match=refused) if refused else contextlib.nullcontext():
        add_quantization(outputs, onnx.helper.make_model(graph), table, tmp_path / "best.rknn")
        assert outputs[0] == {"name": "scores", "dtype": "int8", "scale": 0.25, "zero_point": -7}
        assert outputs[1] == {"name": "boxes", "dtype": "float16"}


@pytest.mark.parametrize(
    ("scale", "zero_point", "refused"),
    [(1 / 32767, 0, False), (1 / 16383, 0, False), (1 / 8191, 0, False), (1.5 / 32767, 0, True), (1 / 16383, 1, True)],
)
def test_an_int16_output_may_be_shifted_by_whole_bits(
    scale: float, zero_point: int, refused: bool, tmp_path: Path
) -> None:
    """The `.rknn` has the scale that counts; another ratio, or a zero point, is a contradiction."""
    kind = b"int16\0\0\0"
    (tmp_path / "best.rknn").write_bytes(b"RKNN" + record(b"map", scale=scale, zero_point=zero_point, dtype=kind))
    outputs: list[dict[str, Any]] = [{"name": "map", "dtype": "int16"}]
    table = {"map": {"dtype": "int16", "scale": [1 / 32767], "zero_point": [0]}}
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    with pytest.raises(RefusedError, match=r"the .rknn has") if refused else contextlib.nullcontext():
        add_quantization(outputs, model, table, tmp_path / "best.rknn")
        assert outputs[0]["scale"] == pytest.approx(scale, rel=1e-6)
        assert outputs[0]["zero_point"] == 0

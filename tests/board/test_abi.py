"""The C structures as ctypes sees them, against the compiler's own list."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from rkdeploy.device.runtime.librknnrt import abi

STRUCTURES = {
    "rknn_input_output_num": abi.InputOutputNum,
    "rknn_tensor_attr": abi.TensorAttr,
    "rknn_input": abi.Input,
    "rknn_output": abi.Output,
    "rknn_mem_size": abi.MemSize,
    "rknn_perf_detail": abi.PerfDetail,
    "rknn_perf_run": abi.PerfRun,
    "rknn_sdk_version": abi.SdkVersion,
    "rknn_tensor_mem": abi.TensorMem,
    "rknn_run_extend": abi.RunExtend,
    "rknn_custom_string": abi.CustomString,
}


def compiled() -> dict[str, tuple[int, list[tuple[str, int, int]]]]:
    """Structure -> its size and its fields with offset and size, from abi_lp64.txt."""
    found: dict[str, tuple[int, list[tuple[str, int, int]]]] = {}
    fields: list[tuple[str, int, int]] = []
    for line in (Path(__file__).with_name("abi_lp64.txt")).read_text().splitlines():
        if structure := re.match(r"(\w+) size=(\d+)", line):
            fields = []
            found[structure[1]] = (int(structure[2]), fields)
        elif field := re.match(r"\s+(\w+)\s+off=(\d+)\s+size=(\d+)", line):
            fields.append((field[1], int(field[2]), int(field[3])))
    return found


@pytest.mark.parametrize("name", STRUCTURES)
def test_layout_is_the_compilers(name: str) -> None:
    """Size, and name, offset and size of every field, are those that gcc gives rknn_api.h 2.3.2."""
    size, fields = compiled()[name]
    structure = STRUCTURES[name]
    assert ctypes.sizeof(structure) == size
    if fields:
        ours = [(field[0], getattr(structure, field[0])) for field in structure._fields_]
        assert [(field, place.offset, place.size) for field, place in ours] == fields


def test_the_context_is_64_bits() -> None:
    """A context is 8 bytes, as on every 64-bit Linux."""
    assert ctypes.sizeof(abi.rknn_context) == compiled()["rknn_context"][0]

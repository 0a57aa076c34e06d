"""Files that are not what their name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkdeploy.errors import RkdeployError
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.graph.foreign import load_onnx
from rkdeploy.system.misnamed_file import misnamed

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 132\n"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (POINTER, "pointer of Git LFS"),
        (b"\n <!DOCTYPE html><title>404</title>", "a web page"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"RKNN\0\0\0\0", "a compiled model"),
        (b"7767517\n2 2\nInput images 0 1 images", "an ncnn network"),
        (b'<?xml version="1.0"?><net name="best">', "OpenVINO"),
        (b"ftrt\0\0\0\0", "an engine of TensorRT"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x20\0\0\0TFL3\0\0", "TensorFlow Lite"),
        (b'\x40\0\0\0\0\0\0\0{"model.0.conv.weight":', "safetensors"),
        (b'\x90\x02\0\0{"description": "Ultralytics', "an engine of TensorRT"),
    ],
)
def test_told_by_the_first_bytes(data: bytes, what: str, tmp_path: Path) -> None:
    """Each is named, whatever the file is called."""
    file = tmp_path / "best.onnx"
    file.write_bytes(data)
    told = misnamed(file)
    assert told is not None
    assert what in told[0]


def test_nothing_is_said_of_others(tmp_path: Path) -> None:
    """Bytes that tell nothing, and a file that is not there."""
    file = tmp_path / "best.onnx"
    file.write_bytes(b"\x08\x07\x12\x07pytorch")
    assert misnamed(file) is None
    assert misnamed(tmp_path / "gone") is None


def test_both_readers_say_it(tmp_path: Path) -> None:
    """A pointer is not a damaged model: copying it again gives the same pointer."""
    onnx, checkpoint = tmp_path / "best.onnx", tmp_path / "best.pt"
    onnx.write_bytes(POINTER)
    checkpoint.write_bytes(POINTER)
    with pytest.raises(RkdeployError, match=r"Git LFS.* git lfs pull"):
        load_onnx(onnx)
    with pytest.raises(RkdeployError, match=r"Git LFS.* git lfs pull"):
        read_checkpoint(checkpoint)

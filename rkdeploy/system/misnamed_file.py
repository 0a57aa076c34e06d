"""Files that are not what their name says, recognized by their first bytes, for error messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_READ_BYTES: Final = 256
_ORIGINAL: Final = "Give the checkpoint or the ONNX file that it was made from."
_SIGNATURES: Final = (
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the file itself", "Get the file: git lfs pull"),
    (b"<!doctype html", "it is a web page", "Download the file itself, not the page about it."),
    (b"<html", "it is a web page", "Download the file itself, not the page about it."),
    (b"pk\x03\x04", "it is a zip archive, as a checkpoint is", "Restore its original name, such as best.pt."),
    (b"rknn", "it is a compiled model (.rknn)", _ORIGINAL),
    (b"7767517", "it is the text of an ncnn network (.param)", _ORIGINAL),
    (b"<?xml", "it is XML, such as OpenVINO's (.xml)", _ORIGINAL),
    (b"ftrt", "it is an engine of TensorRT", _ORIGINAL),
    (b"\x89hdf", "it is an HDF5 file, such as Keras's (.h5)", _ORIGINAL),
)
_LATER_SIGNATURES: Final = (
    (4, b"tfl3", "it is a model of TensorFlow Lite (.tflite)", _ORIGINAL),
    (8, b'{"', "it is a safetensors file: weights without their model", _ORIGINAL),
    (4, b'{"', "it is an engine of TensorRT, as Ultralytics writes it", _ORIGINAL),
)
"""Marks behind a size or an address: offset in bytes, mark, kind, what to do."""


def misnamed(path: Path) -> tuple[str, str] | None:
    """The actual kind of a file and what to do, two texts; None if its first bytes are not known or cannot be read."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_READ_BYTES).lower()
    except OSError:
        return None
    known = [(what, fix) for mark, what, fix in _SIGNATURES if start.lstrip().startswith(mark)]
    known += [(what, fix) for offset, mark, what, fix in _LATER_SIGNATURES if start.startswith(mark, offset)]
    return next(iter(known), None)

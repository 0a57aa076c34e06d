"""A whole bundle of a few hundred bytes, or of as many as a test needs, without building a model."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

from rkdeploy.contract.bundle import CONTRACT, new_bundle, write_json
from rkdeploy.contract.record import BuildRecord, SourceRecord, ToolkitRecord, Verification
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, NpuModel, Quantization

_ANCHORS = Anchors((((10.0, 13.0), (16.0, 30.0)),))
_SPEC = ModelSpec(
    family="yolov5",
    task="detect",
    class_names=("bolt", "螺母"),
    input=InputSpec("images", 64, 96),
    outputs=(
        HeadOutput("stride8_map", "anchor_map", 0, 8, (1, 14, 8, 12), "sigmoid", Quantization("int8", 0.0039, -128)),
    ),
    anchors=_ANCHORS,
    model=NpuModel("best.rknn", "rk3588", "int8"),
)
_SOURCE = SourceRecord(
    "best.pt", "0" * 64, None, "yolov5", "v7.0", "checkpoint", _ANCHORS, coco_anchors=False, parameters=1
)
_RECORD = BuildRecord(
    rkdeploy_version="0",
    created="2026-01-01T00:00:00+00:00",
    source=_SOURCE,
    head=(),
    verification=Verification(1, ("a.jpg",), 10, ()),
    toolkit=ToolkitRecord("rk3588", "int8", name="rknn-toolkit2", version="2.5.0"),
    calibration=None,
    agreement=None,
    host={},
    seconds={},
    warnings=(),
)


def write_bundle(folder: Path, model: bytes = b"RKNN") -> Path:
    """A bundle with a file in a sub-folder, as the toolkit's own files are."""
    with new_bundle(folder) as partial:
        write_json(partial / CONTRACT, _SPEC)
        write_json(partial / "build.json", _RECORD)
        (partial / "best.rknn").write_bytes(model)
        (partial / "quantization").mkdir()
        (partial / "quantization" / "best.model").write_bytes(b"layers")
    return folder


def write_program(path: Path, text: str) -> Path:
    """An executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def program(name: str) -> str:
    """Path of a program of this machine, even if only root's PATH has it; empty when there is none."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin") or ""

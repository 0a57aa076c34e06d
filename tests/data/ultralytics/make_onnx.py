"""Export checkpoints of this folder to ONNX with the package's own exporter, and check the files against the vectors.

    pip install onnx onnxruntime onnxslim        # beside what make_vectors.py needs
    python -m tests.data.ultralytics.make_onnx --releases releases --out tests/data/ultralytics

`<name>.onnx` answers for the `input` of `<case>.npz` what the array named in `onnx/README.md` holds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.ultralytics.cases import NEW
from tests.data.ultralytics.stand_in import FixedDate, prepare


@dataclass(frozen=True)
class Export:
    name: str
    case: str
    output: str  # the array of the case's npz that output0 holds
    opset: int
    simplify: bool
    nms: bool | None = None  # None: default head; False: one-to-one head
    dynamic: bool = False


EXPORTS = (
    Export("v8", "v8_relu", "pred", 12, simplify=False),
    Export("v8_simplified", "v8_relu", "pred", 17, simplify=True),
    Export("v8_dynamic", "v8_relu", "pred", 17, simplify=False, dynamic=True),
    Export("v8_seg", "v8_seg", "pred", 13, simplify=True),
    Export("v8_pose", "v8_pose_2x3", "pred", 14, simplify=False),
    Export("v8_obb", "v8_obb", "pred", 15, simplify=True),
    Export("v8_cls", "v8_cls", "probs", 16, simplify=True),
    Export("v10_end2end", "v10_fused", "topk", 17, simplify=True, nms=False),
    Export("v11", "v11m", "pred", 19, simplify=True),
    Export("v26", "v26n", "pred", 18, simplify=True),
    Export("v26_end2end", "v26n", "topk", 19, simplify=False, nms=False),
    Export("v26_end2end_simplified", "v26n", "topk", 17, simplify=True, nms=False),
    Export("v26_pose", "v26_pose", "pred", 17, simplify=True),
    Export("v26_obb_end2end", "v26_obb", "topk", 17, simplify=True, nms=False),
)


def check(export: Export, path: Path, vectors: Any) -> float:
    """Largest difference between output0 and the recorded array, in its units."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"images": vectors["input"].astype(np.float32) / 255})
    if not export.output:
        return 0.0
    wanted = vectors[export.output]
    worst = float(np.abs(outputs[0][0] - wanted).max())
    if export.output == "topk":  # equal scores may come in another order
        worst = float(np.abs(np.sort(outputs[0][0][:, 4]) - np.sort(wanted[:, 4])).max())
    if "proto" in vectors:
        worst = max(worst, float(np.abs(outputs[1][0] - vectors["proto"]).max()))
    assert worst < 1e-2, worst
    return worst


def make(export: Export, releases: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        prepare(releases / NEW)
        from ultralytics import YOLO
        from ultralytics.engine import exporter

        exporter.datetime = FixedDate
        exporter.file_size = lambda _: 1.0  # MB; it refuses files as small as these
        with np.load(out / f"{export.case}.npz") as data:
            vectors = dict(data)
        hw = list(vectors["input"].shape[2:])
        shutil.copy(out / f"{export.case}.pt", f"{export.name}.pt")
        model = YOLO(f"{export.name}.pt")
        options = {"opset": export.opset, "simplify": export.simplify, "nms": export.nms, "dynamic": export.dynamic}
        path = Path(model.export(format="onnx", imgsz=hw, device="cpu", **options))
        worst = check(export, path, vectors)
        shutil.copy(path, out / "onnx" / f"{export.name}.onnx")
        print(f"{path.stat().st_size / 1024:.0f} KB, largest difference {worst:.2g}")


def write_readme(out: Path) -> None:
    import onnx

    lines = [
        "# ONNX files of the Ultralytics exporter",
        "",
        "Written by `make_onnx.py` from the checkpoints one folder up; do not edit by hand.",
        "Input `images`: RGB in 0..1.",
        "",
        f"Release {NEW}; NMS: `None` is the default (one-to-many head, NMS left to the caller), `False` the one-to-one",
        "head with top-k in the graph.",
        "",
        "| file | case | output0 holds | opset | simplified | nms | dynamic | outputs | KB |",
        "|---|---|---|---:|---|---|---|---|---:|",
    ]
    for e in EXPORTS:
        path = out / "onnx" / f"{e.name}.onnx"
        graph = onnx.load(path).graph
        shapes = [[d.dim_value or d.dim_param for d in o.type.tensor_type.shape.dim] for o in graph.output]
        what = ", ".join(f"{o.name} {s}" for o, s in zip(graph.output, shapes, strict=True))
        size = path.stat().st_size / 1024
        lines.append(
            f"| {e.name} | {e.case} | {e.output or '-'} | {e.opset} | {e.simplify} | {e.nms} | {e.dynamic} "
            f"| {what} | {size:.0f} |"
        )
    (out / "onnx" / "README.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", help="make this one alone, in this process")
    parser.add_argument("--missing", action="store_true", help="keep what is there")
    args = parser.parse_args()
    releases, out = args.releases.resolve(), args.out.resolve()
    (out / "onnx").mkdir(exist_ok=True)
    if args.name:
        make(next(e for e in EXPORTS if e.name == args.name), releases, out)
        return
    failed = []
    for export in EXPORTS:
        if args.missing and (out / "onnx" / f"{export.name}.onnx").exists():
            continue
        command = [
            sys.executable,
            "-m",
            "tests.data.ultralytics.make_onnx",
            "--releases",
            str(releases),
            "--out",
            str(out),
            "--name",
            export.name,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(
            f"{export.name:24s} {done.stdout.strip().splitlines()[-1:] if not done.returncode else done.stderr[-1500:]}"
        )
        failed += [export.name] * bool(done.returncode)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    write_readme(out)


if __name__ == "__main__":
    main()

"""Export checkpoints of tests/data/yolov6, yolov7 and yolov9 to ONNX with each upstream's own exporter.

    pip install onnx "setuptools<80"        # besides what the make_vectors.py need
    python -m tests.data.make_lineage_onnx yolov6-seg --upstream upstream/yolov6-seg
    python -m tests.data.make_lineage_onnx yolov6-face --upstream upstream/yolov6-face
    python -m tests.data.make_lineage_onnx yolov7 --upstream upstream/yolov7
    python -m tests.data.make_lineage_onnx yolov9 --upstream upstream/yolov9

Writes `seg_n.onnx` and `face_m.onnx` (as deploy/ONNX/export_onnx.py of YOLOv6 does, blocks as trained),
`end2end_trt.onnx` and `end2end_ort.onnx` of the case tiny_training (YOLOv7's `export.py --grid --end2end`, with
TensorRT's plugin or, with `--max-wh`, ONNX's operator), and `dual.onnx` of the case reversible_auxiliary (YOLOv9's
`export.py --include onnx`, which writes one output per head).
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from tests.data.ultralytics.stand_in import stand_in_torchvision
from tests.data.yolor.make_vectors import stand_ins

DATA = Path(__file__).parent


def prepare(upstream: Path) -> Any:
    """torch with its exporter of TorchScript, and upstream's code importable."""
    os.environ["MPLCONFIGDIR"] = os.environ["HOME"] = os.getcwd()
    import torch

    torch.set_num_threads(1)
    torch.load = functools.partial(torch.load, weights_only=False)
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    sys.path.insert(0, str(upstream))
    return torch


def yolov6(case: str, upstream: Path) -> None:
    """Decoded rows, and for masks also prototypes and a table of a level's number and coefficients."""
    torch = prepare(upstream)
    stand_ins(wavelets=False)
    model = torch.load(DATA / "yolov6" / f"{case}.pt")["model"].float().eval()
    path = DATA / "yolov6" / f"{case}.onnx"
    image = torch.zeros(1, 3, 64, 96)
    torch.onnx.export(model, image, str(path), opset_version=13, input_names=["images"], output_names=["outputs"])


def yolov7(upstream: Path) -> None:
    """The two forms of `--grid --end2end`, as YOLOv7's export.py makes them."""
    torch = prepare(upstream)
    from models.experimental import End2End

    for form, wh in (("trt", None), ("ort", 640)):
        model = torch.load(DATA / "yolov7" / "tiny_training.pt")["model"].float().requires_grad_(False).fuse().eval()
        image = torch.zeros(1, 3, 64, 96)
        model(image)
        model.model[-1].concat = True
        net = End2End(model, 100, 0.45, 0.35, wh, torch.device("cpu"), 3)
        path = DATA / "yolov7" / f"end2end_{form}.onnx"
        torch.onnx.export(net, image, str(path), opset_version=12, input_names=["images"])


def yolov9(upstream: Path) -> None:
    """Both heads of a model as it was trained, as YOLOv9's export.py writes them."""
    torch = prepare(upstream)
    stand_in_torchvision()
    shell, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    shell.get_ipython = lambda: None  # type: ignore[attr-defined]
    display.display = None  # type: ignore[attr-defined]
    sys.modules |= {"IPython": shell, "IPython.display": display, "pycocotools": types.ModuleType("pycocotools")}
    import export

    export.check_requirements = lambda *_, **__: None
    model = torch.load(DATA / "yolov9" / "reversible_auxiliary.pt")["model"].float().fuse().eval()
    model.model[-1].export, model.model[-1].dynamic = True, False
    image = torch.zeros(1, 3, 64, 96)
    with torch.no_grad():
        model(image)
    export.export_onnx(model, image, DATA / "yolov9" / "dual.onnx", 12, False, False)


EXPORTS = {
    "yolov6-seg": functools.partial(yolov6, "seg_n"),
    "yolov6-face": functools.partial(yolov6, "face_m"),
    "yolov7": yolov7,
    "yolov9": yolov9,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Export recorded checkpoints with upstream's code.")
    parser.add_argument("family", choices=tuple(EXPORTS))
    parser.add_argument("--upstream", type=Path, required=True, help="folder of upstream's checkout")
    args = parser.parse_args()
    upstream = args.upstream.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        EXPORTS[args.family](upstream)


if __name__ == "__main__":
    main()

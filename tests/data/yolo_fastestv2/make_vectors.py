"""Make the Yolo-FastestV2 reference vectors: checkpoints and outputs written by the real upstream code.

git clone --depth 1 https://github.com/dog-qiuqiu/Yolo-FastestV2 upstream/FastestV2
pip install "torch>=2.6" torchvision torchsummary opencv-python numpy
python -m tests.data.yolo_fastestv2.make_vectors --upstream upstream/FastestV2 --out tests/data/yolo_fastestv2
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.data.faces.make_onnx import settled
from tests.data.retinaface.make_vectors import narrowed, photograph

ANCHORS = [12.64, 19.39, 37.88, 51.48, 55.71, 138.31, 126.91, 78.23, 131.57, 214.55, 279.92, 258.87]
"""Of upstream's data/coco.data."""


@dataclass(frozen=True)
class Case:
    """One recorded model.

    Attributes:
        name: of its files.
        special: what is special about it, for the README.
        hw: height and width of its input.
        classes: number of classes.
    """

    name: str
    special: str
    hw: tuple[int, int]
    classes: int


CASES = (
    Case("classes", "three classes, 96x96", (96, 96), 3),
    Case("one_class", "one class, whose share of the softmax is 1, 128x128", (128, 128), 1),
)
HEADS = ("output_reg_layers", "output_obj_layers", "output_cls_layers")


def record(case: Case, out: Path) -> None:
    """Make one case's checkpoint and what upstream computes from it."""
    import torch

    detector = importlib.import_module("model.detector")
    utils = importlib.import_module("utils.utils")
    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = detector.Detector(case.classes, 3, True)
    heads = {name: getattr(model, name).out_channels for name in HEADS}
    model = narrowed(model, 4, ())
    for name, channels in heads.items():
        setattr(model, name, torch.nn.Conv2d(getattr(model, name).in_channels, channels, 1))
    model = settled(model, [torch.from_numpy(photograph(case.hw, rng) / 255) for _ in range(6)])
    for norm in [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
        norm.running_var.clamp_(min=0.5)  # channels that are all but constant would multiply float32's rounding
    path = out / f"{case.name}.pth"
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}, path)
    model.load_state_dict(torch.load(path, map_location="cpu"))
    image = photograph(case.hw, rng)
    # Upstream has one stride for both axes, of the height.
    settings = {"anchors": ANCHORS, "anchor_num": 3, "height": case.hw[0], "width": case.hw[1]}
    with torch.no_grad():
        pred = utils.handel_preds(model(torch.from_numpy(image / 255)), settings, "cpu")[0].numpy()
    # From level, y, x, anchor to level, anchor, y, x.
    levels, start = [], 0
    for stride in (16, 32):
        cells = case.hw[0] * case.hw[1] // stride**2
        levels.append(pred[start : start + 3 * cells].reshape(cells, 3, -1).transpose(1, 0, 2).reshape(3 * cells, -1))
        start += 3 * cells
    pred = np.concatenate(levels)
    assert np.isfinite(pred).all()
    assert pred[:, 4].std() > 0.02, f"objectness hardly varies: {pred[:, 4].std()}"
    np.savez_compressed(out / f"{case.name}.npz", input=image.astype(np.uint8), pred=pred.astype(np.float32))
    print(json.dumps({"case": case.name, "rows": len(pred), "torch": torch.__version__}))


def main() -> None:
    """Make all cases and the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--upstream", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.upstream))
    for case in CASES:
        record(case, arguments.out)
    lines = ["# Written by make_vectors.py", "", "| case | special |", "|---|---|"]
    lines += [f"| `{case.name}` | {case.special} |" for case in CASES]
    (arguments.out / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

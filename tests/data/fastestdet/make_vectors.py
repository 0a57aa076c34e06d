"""Make the FastestDet reference vectors: checkpoints and outputs written by the real upstream code.

git clone --depth 1 https://github.com/dog-qiuqiu/FastestDet upstream/FastestDet
pip install "torch>=2.6" torchvision pyyaml numpy
python -m tests.data.fastestdet.make_vectors --upstream upstream/FastestDet --out tests/data/fastestdet
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
from tests.data.retinaface.make_vectors import narrowed, photograph, set_at


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
    Case("classes", "three classes, 96x64", (64, 96), 3),
    Case("one_class", "one class, whose share of the softmax is 1, 96x96", (96, 96), 1),
)


def record(case: Case, out: Path) -> None:
    """Make one case's checkpoint and what upstream computes from it."""
    import torch

    detector = importlib.import_module("module.detector")
    tool = importlib.import_module("utils.tool")
    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = narrowed(detector.Detector(case.classes, True), 4, ())
    for name, channels in (("obj", 1), ("reg", 4), ("cls", case.classes)):
        path = f"detect_head.{name}_layers.conv5x5"
        inputs = model.get_submodule(f"{path}.3").in_channels
        set_at(model, f"{path}.3", torch.nn.Conv2d(inputs, channels, 1, bias=False))
        set_at(model, f"{path}.4", torch.nn.BatchNorm2d(channels, momentum=None))
    model = settled(model, [torch.from_numpy(photograph(case.hw, rng) / 255) for _ in range(6)])
    for norm in [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
        norm.running_var.clamp_(min=0.1)  # channels that are all but constant would multiply float32's rounding
    path = out / f"{case.name}.pth"
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}, path)
    model.load_state_dict(torch.load(path, map_location="cpu"))
    image = photograph(case.hw, rng)
    height, width = case.hw
    with torch.no_grad():
        maps = model(torch.from_numpy(image / 255))
        found = tool.handle_preds(maps, "cpu", conf_thresh=-1.0, nms_thresh=1.0)[0].numpy()
    values = maps[0].reshape(5 + case.classes, -1).double().numpy()
    y, x = np.indices((height // 16, width // 16)).reshape(2, -1)
    center = (np.tanh(values[1:3]) + np.stack((x, y))) * 16
    size = 1 / (1 + np.exp(-values[3:5])) * np.array([[width], [height]])
    pred = np.concatenate((center, size, values[:1] ** 0.6, values[5:] ** 0.4)).T
    # The same as upstream's own rows, which have the best class alone, best first.
    best = pred[:, 4] * pred[:, 5:].max(axis=1)
    order = np.argsort(-best)
    corners = np.concatenate((pred[:, :2] - pred[:, 2:4] / 2, pred[:, :2] + pred[:, 2:4] / 2), axis=1)
    np.testing.assert_allclose(found[:, 4], best[order], atol=1e-5)
    np.testing.assert_allclose(found[:, :4] * (width, height, width, height), corners[order], atol=1e-3)
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

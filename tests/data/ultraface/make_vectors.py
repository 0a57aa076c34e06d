"""Make the UltraFace reference vectors: checkpoints and outputs written by the real upstream code.

git clone --depth 1 https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB upstream/Ultra
pip install "torch>=2.6" torchvision numpy
python -m tests.data.ultraface.make_vectors --upstream upstream/Ultra --out tests/data/ultraface
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


@dataclass(frozen=True)
class Case:
    """One recorded model.

    Attributes:
        name: of its files.
        special: what is special about it, for the README.
        create: module and function of its network.
        size: key of upstream's table of input sizes.
        classes: without the background.
    """

    name: str
    special: str
    create: tuple[str, str]
    size: int
    classes: int = 1


CASES = (
    Case("slim", "160x120: 7.5, 3.75 and 1.875 rows of 16, 32 and 64 pixels; anchors higher than the input",
         ("vision.ssd.mb_tiny_fd", "create_mb_tiny_fd"), 160),
    Case("rfb", "128x96, two classes, as the masked faces' has them",
         ("vision.ssd.mb_tiny_RFB_fd", "create_Mb_Tiny_RFB_fd"), 128, 2),
)  # fmt: skip


def record(case: Case, out: Path) -> None:
    """Make one case's checkpoint and what upstream computes from it."""
    import torch

    config = importlib.import_module("vision.ssd.config.fd_config")
    config.shrinkage_list.clear()
    config.define_img_size(case.size)
    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    width, height = config.image_size
    create = getattr(importlib.import_module(case.create[0]), case.create[1])
    model = narrowed(
        create(1 + case.classes, is_test=True, device="cpu"), 4, ("classification_headers", "regression_headers")
    )
    model = settled(model, [torch.from_numpy((photograph((height, width), rng) - 127) / 128) for _ in range(6)])
    path = out / f"{case.name}.pth"
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}, path)
    model.load_state_dict(torch.load(path, map_location="cpu"))
    image = photograph((height, width), rng)
    with torch.no_grad():
        scores, boxes = (value[0].numpy() for value in model(torch.from_numpy((image - 127) / 128)))
    pred = np.concatenate((boxes * (width, height, width, height), scores[:, 1:]), axis=1)
    assert np.isfinite(pred).all()
    assert pred[:, 4].std() > 0.02, f"scores hardly vary: {pred[:, 4].std()}"
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
    (arguments.out / "README.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()

"""Make the face detectors' ONNX files: narrow networks of the real packages, exported and decoded by their own code.

git clone --depth 1 https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB upstream/Ultra
git clone --depth 1 https://github.com/biubug6/Face-Detector-1MB-with-landmark upstream/Face-Detector-1MB
pip install "torch>=2.6" torchvision onnx numpy
python -m tests.data.faces.make_onnx --upstream upstream --out tests/data/faces
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.retinaface.make_vectors import CASES, MEAN, build, narrowed, photograph

SIZE = 160  # UltraFace's input is 160x120 then: 7.5, 3.75 and 1.875 rows of 16, 32 and 64 pixels
SEED = 5


def settled(model: Any, images: list[Any]) -> Any:
    """The model with statistics of its own, in inference mode."""
    import torch

    with torch.no_grad():
        for norm in [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
            norm.weight.uniform_(0.7, 1.3)
            norm.bias.normal_(0, 0.3)
        model.train()
        for image in images:
            model(image)
    return model.eval()


def ultraface(upstream: Path, out: Path, name: str, classes: int, *, decoded: bool) -> None:
    """UltraFace's RFB network, or pytorch-ssd's form of it with several classes."""
    import torch

    sys.path.insert(0, str(upstream / "Ultra"))
    from vision.ssd.config import fd_config

    fd_config.shrinkage_list.clear()
    fd_config.define_img_size(SIZE)
    from vision.ssd.mb_tiny_RFB_fd import create_Mb_Tiny_RFB_fd
    from vision.utils import box_utils

    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    width, height = fd_config.image_size
    model = create_Mb_Tiny_RFB_fd(1 + classes, is_test=True, device="cpu")
    model = narrowed(model, 4, ("classification_headers", "regression_headers"))
    scaled = [torch.from_numpy((photograph((height, width), rng) - 127) / 128) for _ in range(7)]
    model = settled(model, scaled[:6])
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, height, width)).astype(np.float32)
    given = torch.from_numpy((pixels - 127) / 128)
    with torch.no_grad():
        scores, boxes = (value[0].numpy() for value in model(given))
    model.is_test = decoded
    torch.onnx.export(
        model, given, str(out / f"{name}.onnx"), dynamo=False, opset_version=12, input_names=["input"],
        output_names=["scores", "boxes"],
    )  # fmt: skip
    assert box_utils is not None
    np.savez_compressed(
        out / f"{name}.npz", hw=(height, width), boxes=boxes * (width, height, width, height), scores=scores[:, 1:]
    )


def retinaface_slim(upstream: Path, out: Path) -> None:
    """Face-Detector-1MB's slim network, as its convert_to_onnx.py exports it: boxes and landmarks raw."""
    import torch

    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    case = next(case for case in CASES if case.name == "slim")
    model, cfg, prior_box, box_code = build(case, upstream)
    mean = np.array(MEAN, np.float32)[None, :, None, None]
    model = settled(model, [torch.from_numpy(photograph((160, 160), rng) - mean) for _ in range(6)])
    height, width = case.hw
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, height, width)).astype(np.float32)
    given = torch.from_numpy(pixels - mean)
    with torch.no_grad():
        boxes, scores, points = (value[0] for value in model(given))
        anchors = prior_box(cfg, image_size=case.hw).forward()
        decoded = box_code.decode(boxes, anchors, cfg["variance"]) * torch.tensor([width, height] * 2)
        marks = box_code.decode_landm(points, anchors, cfg["variance"]) * torch.tensor([width, height] * 5)
    torch.onnx.export(
        model, given, str(out / "retinaface_slim.onnx"), dynamo=False, opset_version=12, input_names=["input0"],
        output_names=["boxes", "scores", "landmarks"],
    )  # fmt: skip
    np.savez_compressed(
        out / "retinaface_slim.npz",
        hw=case.hw,
        boxes=decoded.numpy(),
        scores=scores.numpy()[:, 1:],
        points=marks.numpy(),
    )


def main() -> None:
    """Make all files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--upstream", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    retinaface_slim(arguments.upstream, arguments.out)
    ultraface(arguments.upstream, arguments.out, "ultraface", 1, decoded=True)
    ultraface(arguments.upstream, arguments.out, "ultraface_raw", 1, decoded=False)
    ultraface(arguments.upstream, arguments.out, "ssd_three_classes", 3, decoded=True)


if __name__ == "__main__":
    main()

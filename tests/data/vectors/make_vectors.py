"""Make ONNX files of embeddings by the classes of their packages, and record what torch computes with them.

The networks have tiny widths and seeded random weights.  `vectors.npz` has the packages' embeddings of one image of
noise, `<name>`, which `image_of` makes.  InsightFace and torchreid are read from clones of their repositories
(deepinsight/insightface, `recognition/arcface_torch`; KaiyangZhou/deep-person-reid).

    pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 transformers==5.24.0 onnx==1.23.2
    python -m tests.data.vectors.make_vectors --insightface CLONE --torchreid CLONE --out tests/data/vectors
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

SIZES = {
    "iresnet": (48, 48),
    "osnet": (64, 32),
    "mobilefacenet": (32, 32),
    "normalized": (32, 32),
    "pixels_inside": (32, 32),
    "vit": (32, 32),
    "siglip": (32, 32),
    "clip": (32, 32),
    "resnet": (32, 32),
}
"""(height, width) of each network's image."""
RAW_PIXELS = ("pixels_inside",)
"""Networks that normalize pixels, 0 to 255, themselves; others take (pixel - 127.5) / 127.5."""


class Faces(nn.Module):
    """InsightFace's IResNet with 8 to 16 channels: its blocks, and the end of its `forward`."""

    def __init__(self, blocks: Any, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8, eps=1e-05)
        self.prelu = nn.PReLU(8)
        shortcut = nn.Sequential(nn.Conv2d(8, 16, 1, 2, bias=False), nn.BatchNorm2d(16))
        self.layers = nn.Sequential(
            blocks.IBasicBlock(8, 8, 1),
            blocks.IBasicBlock(8, 16, 2, shortcut),
            nn.AvgPool2d(4),
        )
        self.bn2 = nn.BatchNorm2d(16, eps=1e-05)
        self.fc = nn.Linear(16 * 6 * 6, features)
        self.features = nn.BatchNorm1d(features, eps=1e-05)

    def forward(self, image: Any) -> Any:
        found = self.bn2(self.layers(self.prelu(self.bn1(self.conv1(image)))))
        return self.features(self.fc(torch.flatten(found, 1)))


class MobileFaces(nn.Module):
    """MobileFaceNet's end: a depthwise convolution over the whole map, then a linear one; PReLU before."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, 4, 1, bias=False), nn.BatchNorm2d(16), nn.PReLU(16),
            nn.Conv2d(16, 16, 8, 1, 0, groups=16, bias=False), nn.BatchNorm2d(16),
            nn.Conv2d(16, 64, 1, bias=False), nn.BatchNorm2d(64),
        )  # fmt: skip

    def forward(self, image: Any) -> Any:
        found = self.layers(image)
        return found.view(found.size(0), -1)


class Ended(nn.Module):
    """A network with something before and behind it."""

    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__()
        self.network, self.kind = network, kind
        self.projection = nn.Parameter(torch.randn(32, 64) / 6)

    def forward(self, image: Any) -> Any:
        if self.kind == "pixels_inside":  # as FastReID's `preprocess_image` does it
            mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
            return self.network((image - mean) / torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1))
        found = self.network(image)
        return normalize(found) if self.kind == "normalized" else found @ self.projection


def module_of(path: Path, name: str) -> Any:
    """A Python file of a clone as a module."""
    stated = importlib.util.spec_from_file_location(name, path)
    assert stated is not None
    assert stated.loader is not None
    module = importlib.util.module_from_spec(stated)
    stated.loader.exec_module(module)
    return module


def networks(insightface: Path, torchreid: Path) -> dict[str, nn.Module]:
    import timm
    from timm.models.resnet import BasicBlock, ResNet

    blocks = module_of(insightface / "recognition" / "arcface_torch" / "backbones" / "iresnet.py", "iresnet")
    reid = module_of(torchreid / "torchreid" / "models" / "osnet.py", "osnet")

    def vit(name: str) -> nn.Module:
        size = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8, "mlp_ratio": 2}
        found: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **size)
        return found

    osnet = reid.OSNet(3, blocks=[reid.OSBlock] * 3, layers=[1] * 3, channels=[16, 64, 64, 64], feature_dim=64)
    small = ResNet(BasicBlock, [1] * 4, num_classes=0, channels=(16, 16, 16, 32))
    return {
        "iresnet": Faces(blocks, 64),
        "osnet": osnet,
        "mobilefacenet": MobileFaces(),
        "normalized": Ended(MobileFaces(), "normalized"),
        "pixels_inside": Ended(Faces32(blocks), "pixels_inside"),
        "vit": vit("vit_tiny_patch16_224"),
        "siglip": vit("vit_base_patch16_siglip_224"),
        "clip": Ended(vit("vit_base_patch16_clip_quickgelu_224"), "clip"),
        "resnet": small,
    }


class Faces32(Faces):
    """The same for 32 pixels."""

    def __init__(self, blocks: Any) -> None:
        super().__init__(blocks, 64)
        self.fc = nn.Linear(16 * 4 * 4, 64)


def image_of(hw: tuple[int, int]) -> np.ndarray[Any, Any]:
    """(H, W, 3) uint8 of noise."""
    return np.random.default_rng(7).integers(0, 256, (*hw, 3)).astype(np.uint8)


def settle(network: nn.Module, hw: tuple[int, int], scale: float) -> None:
    """Give BatchNorms the statistics of noise, so that embeddings of images differ."""
    with torch.no_grad():
        network.train()
        for _ in range(20):
            network(torch.rand(8, 3, *hw) * scale)
        network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("insightface", "torchreid", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(3)
    recorded = {}
    for name, network in networks(options.insightface, options.torchreid).items():
        hw, raw = SIZES[name], name in RAW_PIXELS
        settle(network, hw, 255.0 if raw else 1.0)
        pixels = image_of(hw).astype(np.float32)
        image = torch.from_numpy((pixels if raw else (pixels - 127.5) / 127.5).transpose(2, 0, 1)[None].copy())
        with torch.no_grad():
            recorded[name] = network(image).numpy().ravel()
        torch.onnx.export(
            network, (image,), str(options.out / f"{name}.onnx"), opset_version=14, input_names=["image"],
            output_names=["vector"], dynamic_axes={"image": {0: "batch"}, "vector": {0: "batch"}}, dynamo=False,
        )  # fmt: skip
    np.savez_compressed(options.out / "vectors.npz", **recorded)
    for path in sorted(options.out.glob("*.onnx")):
        print(f"{path.name:24s} {path.stat().st_size / 1024:6.1f} KB")


if __name__ == "__main__":
    main()

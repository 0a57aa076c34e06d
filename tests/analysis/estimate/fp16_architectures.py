"""Architectures whose FP16 rates Rockchip publishes, with seeded random weights, as ONNX: only the shapes count.

python -m tests.analysis.estimate.fp16_architectures FOLDER

Written after the public definitions; torch is needed for the export only.  The other models of `fp16_rates.csv` come
from packages: tests/data/estimate/README.md says how.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn


class _LprBlock(nn.Sequential):
    """1x1, 3x1, 1x3, 1x1 convolutions, the inner ones a quarter as wide."""

    def __init__(self, before: int, after: int) -> None:
        quarter = after // 4
        super().__init__(
            nn.Conv2d(before, quarter, 1),
            nn.ReLU(),
            nn.Conv2d(quarter, quarter, (3, 1), padding=(1, 0)),
            nn.ReLU(),
            nn.Conv2d(quarter, quarter, (1, 3), padding=(0, 1)),
            nn.ReLU(),
            nn.Conv2d(quarter, after, 1),
        )


class _PoolWithChannels(nn.Module):
    """Maximum over 3x3 pixels, then every n-th channel: the model zoo's form of a three-dimensional pooling.

    Args:
        step: between channels.
        stride_px: along the width.
    """

    def __init__(self, step: int, stride_px: int) -> None:
        super().__init__()
        self.pixels = nn.MaxPool2d(3, (1, stride_px))
        self.channels = nn.MaxPool2d(1, (1, step))

    def forward(self, x: Tensor) -> Tensor:
        return self.channels(self.pixels(x).transpose(1, 3)).transpose(1, 3)  # type: ignore[no-any-return]  # torch's


class LprNet(nn.Module):
    """LPRNet of sirius-ai/LPRNet_Pytorch with 68 classes, on 1x3x24x94."""

    INPUT = (1, 3, 24, 94)
    CLASSES = 68

    def __init__(self) -> None:
        super().__init__()
        classes = self.CLASSES
        self.parts = nn.ModuleList([
            nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU()),
            nn.Sequential(_PoolWithChannels(1, 1), _LprBlock(64, 128), nn.BatchNorm2d(128), nn.ReLU()),
            nn.Sequential(
                _PoolWithChannels(2, 2), _LprBlock(64, 256), nn.BatchNorm2d(256), nn.ReLU(),
                _LprBlock(256, 256), nn.BatchNorm2d(256), nn.ReLU(),
            ),
            nn.Sequential(
                _PoolWithChannels(4, 2), nn.Conv2d(64, 256, (1, 4)), nn.BatchNorm2d(256), nn.ReLU(),
                nn.Conv2d(256, classes, (13, 1)), nn.BatchNorm2d(classes), nn.ReLU(),
            ),
        ])  # fmt: skip
        self.pools = nn.ModuleList([nn.AvgPool2d(5), nn.AvgPool2d(5), nn.AvgPool2d((4, 10), (4, 2)), nn.Identity()])
        self.container = nn.Conv2d(64 + 128 + 256 + classes, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        context = []
        for part, pool in zip(self.parts, self.pools, strict=True):
            x = part(x)
            pooled = pool(x)
            context.append(pooled / pooled.pow(2).mean())
        return self.container(torch.cat(context, 1)).mean(dim=2)  # type: ignore[no-any-return]  # torch's


class _Attention(nn.Module):
    """Multi-head attention as transformers wrote CLIP's when the rates were published: heads in the batch."""

    def __init__(self, width: int, heads: int, mask: Tensor | None) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.heads, self.each = heads, width // heads
        self.mask = mask

    def _split(self, x: Tensor) -> Tensor:
        return x.view(1, -1, self.heads, self.each).transpose(1, 2).reshape(self.heads, -1, self.each)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._split(self.q(x) * self.each**-0.5), self._split(self.k(x)), self._split(self.v(x))
        weights = torch.bmm(q, k.transpose(1, 2))
        if self.mask is not None:
            weights = (weights.view(1, self.heads, *self.mask.shape) + self.mask).view(weights.shape)
        mixed = torch.bmm(weights.softmax(-1), v)
        mixed = mixed.view(1, self.heads, -1, self.each).transpose(1, 2)
        return self.out(mixed.reshape(1, -1, self.heads * self.each))  # type: ignore[no-any-return]  # torch's


class _ClipLayer(nn.Module):
    """Norm, attention, norm, two linear layers with x * sigmoid(1.702 x) between them."""

    def __init__(self, width: int, heads: int, mask: Tensor | None = None) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _Attention(width, heads, mask)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        wide = self.wide(self.after(x))
        return x + self.narrow(wide * torch.sigmoid(1.702 * wide))  # type: ignore[no-any-return]  # torch's


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(p=2, dim=-1, keepdim=True)  # type: ignore[no-any-return]  # torch's


class ClipImages(nn.Module):
    """The image half of openai/clip-vit-base-patch32: 12 layers of 768 on 49 patches of 32x32 and one class."""

    INPUT = (1, 3, 224, 224)

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 768, 32, 32, bias=False)
        self.first = nn.Parameter(torch.randn(1, 1, 768))
        self.positions = nn.Parameter(torch.randn(1, 50, 768))
        self.before, self.after = nn.LayerNorm(768), nn.LayerNorm(768)
        self.layers = nn.Sequential(*(_ClipLayer(768, 12) for _ in range(12)))
        self.project = nn.Linear(768, 512, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        x = self.before(torch.cat([self.first, patches], 1) + self.positions)
        return _unit(self.project(self.after(self.layers(x)[:, 0])))


class ClipText(nn.Module):
    """The text half: 12 layers of 512 on 20 tokens, each seeing those before it; the end token has the largest id."""

    INPUT = (1, 20)
    VOCABULARY = 49_408

    def __init__(self) -> None:
        super().__init__()
        tokens = self.INPUT[1]
        mask = torch.full((tokens, tokens), torch.finfo(torch.float32).min).triu(1)
        self.words = nn.Embedding(self.VOCABULARY, 512)
        self.positions = nn.Parameter(torch.randn(1, tokens, 512))
        self.layers = nn.Sequential(*(_ClipLayer(512, 8, mask) for _ in range(12)))
        self.after = nn.LayerNorm(512)
        self.project = nn.Linear(512, 512, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.after(self.layers(self.words(ids) + self.positions))
        end = x[torch.arange(1), ids.to(torch.int32).argmax(-1)]
        return _unit(self.project(end))


MODELS: dict[str, type[LprNet | ClipImages | ClipText]] = {
    "lprnet": LprNet,
    "clip_images": ClipImages,
    "clip_text": ClipText,
}


def export(name: str, file: Path) -> None:
    """Write one of them."""
    torch.manual_seed(0)
    kind = MODELS[name]
    model = kind().eval()
    example = torch.randint(1, 100, kind.INPUT) if kind is ClipText else torch.rand(kind.INPUT)
    torch.onnx.export(model, (example,), str(file), input_names=["input"], opset_version=13, dynamo=False)


if __name__ == "__main__":
    for each in MODELS:
        export(each, Path(sys.argv[1]) / f"{each}.onnx")

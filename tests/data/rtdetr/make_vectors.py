"""Make the reference vectors of Ultralytics' RT-DETR: checkpoints and outputs written by the real package.

Each case builds a tiny seeded model with the package, saves it as its trainer does, reads the file back with torch
and records what the package's own forward pass answers for a stored image.  Nothing of the package is kept here.

    pip install --no-deps --target releases/8.4.190 ultralytics==8.4.190
    python -m tests.data.rtdetr.make_vectors --release releases/8.4.190 --out tests/data/rtdetr

Packages as in `tests.data.ultralytics.make_vectors`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.ultralytics.cases import Case as SavedCase
from tests.data.ultralytics.make_vectors import image, save
from tests.data.ultralytics.stand_in import prepare

Layer = list[Any]


@dataclass(frozen=True)
class Case:
    """One recorded model: its layers, what is special about it, its input."""

    name: str
    special: str
    backbone: list[Layer]
    head: list[Layer]
    hw: tuple[int, int] = (64, 96)
    nc: int = 3
    attributes: tuple[tuple[str, Any], ...] = ()  # of the decoder


def decoder(channels: int, queries: int, layers: int, **more: Any) -> Layer:
    """Arguments of RTDETRDecoder behind the number of classes."""
    points, heads, inner = more.get("points", 4), more.get("heads", 4), 2 * channels
    tail = more.get("tail", [])
    return ["nc", channels, queries, points, heads, layers, inner, *tail]


PROJECT = ["Conv", [16, 1, 1, None, 1, 1, False]]
CASES = (
    Case(
        "hgnet",
        "HGStem, HGBlock with LightConv and shortcut, AIFI, RepC3; three levels, 20 queries of 3 layers; "
        "cells too close to the border do not count",
        [
            [-1, 1, "HGStem", [4, 8]],
            [-1, 2, "HGBlock", [8, 16, 3]],
            [-1, 1, "DWConv", [16, 3, 2, 1, False]],
            [-1, 2, "HGBlock", [8, 16, 5, True, True]],
            [-1, 1, "DWConv", [16, 3, 2, 1, False]],
            [-1, 1, "HGBlock", [8, 32, 5, True, False]],
            [-1, 1, "DWConv", [32, 3, 2, 1, False]],
        ],
        [
            [-1, 1, *PROJECT],
            [-1, 1, "AIFI", [32, 4]],
            [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
            [5, 1, *PROJECT],
            [[-2, -1], 1, "Concat", [1]],
            [-1, 2, "RepC3", [16]],
            [3, 1, *PROJECT],
            [[13, 12, 8], 1, "RTDETRDecoder", decoder(16, 20, 3)],
        ],
        hw=(32, 416),
    ),
    Case(
        "resnet",
        "ResNetLayer; learned queries; inference takes the second of three layers; one level of 24 cells",
        [
            [-1, 1, "ResNetLayer", [3, 8, 1, True, 1]],
            [-1, 1, "ResNetLayer", [8, 4, 1, False, 1]],
            [-1, 1, "ResNetLayer", [16, 4, 2, False, 1]],
            [-1, 1, "ResNetLayer", [16, 4, 2, False, 1]],
        ],
        [[-1, 1, *PROJECT], [-1, 1, "AIFI", [32, 2]],
         [[5], 1, "RTDETRDecoder", decoder(16, 30, 3, heads=2, points=2, tail=[0.0, None, 1, 100, 0.5, 1.0, True])]],
        nc=5,
    ),
    Case(
        "yolov8_blocks",
        "YOLOv8's blocks; two levels; one class, 160x224",
        [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]],
         [-1, 1, "C2f", [16, True]],
         [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "SPPF", [16, 5]]],
        [[[3, 5], 1, "RTDETRDecoder", decoder(16, 40, 2)]],
        hw=(160, 224),
        nc=1,
    ),
)  # fmt: skip


def randomise(model: Any, images: Any, torch: Any) -> None:
    """Weights such that every part matters: normalizations are not trivial, points move, scores spread."""
    nn = torch.nn
    g = torch.Generator().manual_seed(7)

    def normal(t: Any, deviation: float, mean: float = 0.0) -> None:
        t.copy_(torch.randn(t.shape, generator=g) * deviation + mean)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                normal(module.weight, (1.5 / module.weight[0].numel()) ** 0.5)
            elif isinstance(module, nn.Linear):
                normal(module.weight, module.in_features**-0.5)
                if module.bias is not None:
                    normal(module.bias, 0.3)
            elif isinstance(module, nn.LayerNorm):
                normal(module.weight, 0.2, 1.0)
                normal(module.bias, 0.2)
            elif isinstance(module, nn.MultiheadAttention):
                normal(module.in_proj_weight, module.embed_dim**-0.5)
                normal(module.in_proj_bias, 0.3)
            elif isinstance(module, nn.BatchNorm2d):
                normal(module.weight, 0.2, 1.0)
                normal(module.bias, 0.3)
                module.momentum = None  # cumulative: the statistics of what is seen next
        head = model.model[-1]
        for layer in head.decoder.layers:
            normal(layer.cross_attn.sampling_offsets.bias, 3.0)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train()
        model(images)
        for norm in norms:
            norm.momentum = 0.03
        for scores in (head.enc_score_head, *head.dec_score_head):
            scores.weight.mul_(1.5)
            scores.bias.sub_(0.7)
        hooks = [
            boxes.layers[-1].register_forward_hook(around_zero) for boxes in (head.enc_bbox_head, *head.dec_bbox_head)
        ]
        model.eval()
        model(images)
        for hook in hooks:
            hook.remove()
    model.eval()


def around_zero(linear: Any, _inputs: Any, outputs: Any) -> Any:
    """Shift a box's layer so that it moves centers by 0 on average, and makes sizes larger; returns what it gives then.

    Layer upon layer, boxes would shrink or grow to nothing otherwise.
    """
    shift = outputs.mean((0, 1)) - outputs.new_tensor([0.0, 0.0, 0.6, 0.6])
    linear.bias.sub_(shift)
    return outputs - shift


def record(case: Case, path: Path, torch: Any, x8: np.ndarray) -> dict[str, Any]:
    """The package's answer from the file, before its top-k: (queries, 4 + nc)."""
    model = torch.load(path, map_location="cpu")["model"].float().eval()
    with torch.no_grad():
        best, (boxes, logits, *_) = model(torch.from_numpy(x8).float() / 255)
    pred = torch.cat([boxes[0, 0], logits[0, 0].sigmoid()], 1).numpy()
    assert np.isfinite(pred).all()
    assert pred[:, 4:].std() > 0.02, "scores hardly vary"
    assert pred[:, :4].std(axis=0).min() > 0.01, f"boxes hardly vary: {pred[:, :4].std(axis=0)}"
    meta = {
        "case": case.name,
        "special": case.special,
        "nc": case.nc,
        "names": {str(k): v for k, v in model.names.items()},
        "torch": torch.__version__,
        "score_min_mean_max": [round(float(v), 4) for v in (pred[:, 4:].min(), pred[:, 4:].mean(), pred[:, 4:].max())],
    }
    return {"input": x8, "pred": pred, "topk": best[0].numpy(), "meta": np.array(json.dumps(meta))}


def make_case(case: Case, torch: Any, out: Path) -> None:
    """Write NAME.pt and NAME.npz."""
    with tempfile.TemporaryDirectory() as scratch:
        from ultralytics.nn import tasks

        torch.manual_seed(zlib.crc32(case.name.encode()))
        rng = np.random.default_rng([zlib.crc32(case.name.encode()), 1])
        x8 = image(case.hw, rng)
        others = [image(case.hw, rng) for _ in range(7)]
        config = {
            "backbone": case.backbone, "head": case.head, "nc": case.nc, "yaml_file": f"rtdetr-{case.name}.yaml",
            "scales": {"l": [1.0, 1.0, 1024]}, "scale": "l",
        }  # fmt: skip
        model = tasks.RTDETRDetectionModel(config, ch=3, nc=case.nc, verbose=False).eval()
        randomise(model, torch.from_numpy(np.concatenate([x8, *others])).float() / 255, torch)
        for name, value in case.attributes:
            setattr(model.model[-1], name, value)
        path = save(SavedCase(case.name, "", "", hw=case.hw, nc=case.nc), model, torch, Path(scratch))
        np.savez_compressed(out / f"{case.name}.npz", **record(case, path, torch, x8))
        (out / f"{case.name}.pt").write_bytes(path.read_bytes())
        print(f"{case.name:10s} {path.stat().st_size / 1024:.0f} KB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", type=Path, required=True, help="folder with the package")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    release, out = args.release.resolve(), args.out.resolve()
    with tempfile.TemporaryDirectory() as home:
        os.chdir(home)
        torch = prepare(release)
        for case in CASES:
            make_case(case, torch, out)


if __name__ == "__main__":
    main()

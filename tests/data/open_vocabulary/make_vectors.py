"""Make the reference vectors of YOLO-World and YOLOE: checkpoints and outputs written by the ultralytics package.

Each case builds a tiny seeded model with the package, gives it vectors of three classes as `set_classes` does, saves it
as its trainer does, reads the file back with torch and records what the package's own forward pass answers for a
stored image.  Nothing of the package is kept here.

    pip install --no-deps --target releases/8.4.190 ultralytics==8.4.190
    python -m tests.data.open_vocabulary.make_vectors --release releases/8.4.190 --out tests/data/open_vocabulary

Packages as in `tests.data.ultralytics.make_vectors`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import zlib
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.ultralytics.cases import C2F, K3, Layer, one_level
from tests.data.ultralytics.cases import Case as SavedCase
from tests.data.ultralytics.make_vectors import image, save
from tests.data.ultralytics.stand_in import prepare

NAMES = ("bolt", "nut", "washer")
EMBED = 512  # of the vectors; the package has this number in its code
ATTENTION = [2, "C2fAttn", [256, 8, 2]]
WORLD = {
    "backbone": [
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 1, "Conv", [256, 3, 2]],
        [-1, *ATTENTION],
        [-1, 1, "Conv", [512, 3, 2]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 3], 1, "Concat", [1]],
        [-1, *ATTENTION],
        [[7, 4], 1, "ImagePoolingAttn", [8]],
        [7, 1, "Conv", [256, 3, 2]],
        [[-1, 4], 1, "Concat", [1]],
        [-1, *ATTENTION],
        [[7, 11], 1, "WorldDetect", ["nc", EMBED, False]],
    ],
}  # fmt: skip


def three_levels(head: Layer, *blocks: Layer) -> dict[str, Any]:
    """P3 to P5, which YOLOE must have: plain convolutions, and the blocks on P3."""
    start = [[-1, 1, "Conv", [c, 3, 2]] for c in (64, 128, 256)]
    levels = [2 + len(blocks) + step for step in range(3)]
    ends = [[-1, 1, "Conv", [256, 3, 2]]] * 2
    return {"backbone": [*start, *([-1, *block] for block in blocks), *ends], "head": [[levels, 1, *head]]}


@dataclass(frozen=True)
class Case:
    """One recorded model: its layers, the class that builds it, what is special about it."""

    name: str
    cfg: dict[str, Any]
    model: str
    special: str
    fused: bool = False
    prompt_free: bool = False
    task: str = "detect"
    hw: tuple[int, int] = (64, 96)


E26 = {"end2end": True, "reg_max": 1}
DETECT: Layer = ["YOLOEDetect", ["nc", EMBED, True]]
SEGMENT: Layer = ["YOLOESegment", ["nc", 8, 16, EMBED, True]]
SEGMENT26: Layer = ["YOLOESegment26", ["nc", 8, 16, EMBED, True]]
CASES = (
    Case("world", WORLD, "WorldModel", "YOLO-World: the image changes the vectors; ContrastiveHead; two levels"),
    Case(
        "worldv2", one_level([ATTENTION], ["WorldDetect", ["nc", EMBED, True]]), "WorldModel",
        "YOLO-World v2: BNContrastiveHead; C2fAttn of constant vectors",
    ),
    Case("yoloe_v8", three_levels(DETECT, C2F), "YOLOEModel", "YOLOE-v8 without masks; the vectors are in `pe`"),
    Case("yoloe_11_seg", three_levels(SEGMENT, K3), "YOLOESegModel", "YOLOE-11 with masks", task="segment"),
    Case(
        "yoloe_fused", three_levels(SEGMENT), "YOLOESegModel",
        "the vectors fused into the head: fuse(pe)", fused=True, task="segment",
    ),
    Case(
        "yoloe_free", three_levels(DETECT), "YOLOEModel",
        "prompt-free: LRPCHead, two levels by matrix, one by convolution", prompt_free=True,
    ),
    Case(
        "yoloe_26_seg", {**three_levels(SEGMENT26), **E26}, "YOLOESegModel",
        "YOLOE-26 with masks, both heads", task="segment",
    ),
)  # fmt: skip


def randomise(model: Any, images: Any, torch: Any) -> None:
    """Weights and BatchNorms such that folding matters and scores spread."""
    nn = torch.nn
    g = torch.Generator().manual_seed(7)

    def normal(t: Any, deviation: float, mean: float = 0.0) -> None:
        t.copy_(torch.randn(t.shape, generator=g) * deviation + mean)

    with torch.no_grad():
        for module in model.modules():
            fixed = type(module).__name__ == "DFL"
            if isinstance(module, (nn.Conv2d, nn.Linear)) and not fixed and module.weight.requires_grad:
                normal(module.weight, (1.5 / module.weight[0].numel()) ** 0.5)
                if module.bias is not None:
                    normal(module.bias, 0.2)
            elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
                normal(module.weight, 0.2, 1.0)
                normal(module.bias, 0.2)
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
                module.train()
            if type(module).__name__ == "MaxSigmoidAttnBlock":
                normal(module.bias, 0.5)
            elif type(module).__name__ == "ContrastiveHead":
                module.bias.fill_(-1.0)
            elif type(module).__name__ == "BNContrastiveHead":
                module.bias.fill_(-1.0)
                module.logit_scale.fill_(0.5)
        model(images)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.03
    model.eval()


def once(model: Any, x: Any, task: str, torch: Any) -> dict[str, np.ndarray]:
    """One forward pass, dense: (4 + nc + nm, rows), and the prototypes."""
    dense: list[Any] = []
    head = model.model[-1]
    original = head.postprocess
    head.postprocess = lambda found, *a, **k: (dense.append(found.permute(0, 2, 1)), original(found, *a, **k))[1]
    if hasattr(head, "lrpc"):
        head.conf = 0  # every cell, as in its static exports
    with torch.no_grad():
        out = model(x)
    del head.postprocess
    found = out[0]
    arrays = {}
    if task == "segment":
        found, proto = found
        arrays["proto"] = proto[0].numpy()
    return {**arrays, **({"pred_one2one": dense[0][0].numpy()} if dense else {"pred": found[0].numpy()})}


def make_case(case: Case, torch: Any, out: Path) -> None:
    """Write NAME.pt and NAME.npz."""
    from ultralytics.nn import tasks

    torch.manual_seed(zlib.crc32(case.name.encode()))
    rng = np.random.default_rng([zlib.crc32(case.name.encode()), 1])
    x8 = image(case.hw, rng)
    others = [image(case.hw, rng) for _ in range(7)]
    cfg = {
        "reg_max": 4, **deepcopy(case.cfg), "nc": 3, "yaml_file": f"{case.name}.yaml",
        "scales": {"n": [0.1, 1 / 32, 1024]}, "scale": "n",
    }  # fmt: skip
    model = getattr(tasks, case.model)(cfg, ch=3, nc=3, verbose=False).eval()
    world = case.model == "WorldModel"
    vectors = torch.randn(1, 3, EMBED)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    if world:
        model.txt_feats = vectors
        model.model[-1].nc = 3
    else:
        model.names = dict(enumerate(NAMES))
        model.set_classes(list(NAMES), vectors)
        model.model[-1].reprta = torch.nn.Identity()  # 3 MB that only change the vectors of texts, as fuse() leaves it
    randomise(model, torch.from_numpy(np.concatenate([x8, *others])).float() / 255, torch)
    if case.fused:
        model.model[-1].fuse(model.pe)
    if case.prompt_free:
        model.args = {"imgsz": 64}
        model.model[-1].fuse(model.pe)
        model.set_vocab(torch.nn.ModuleList(branch[-1] for branch in model.model[-1].cv3), list(NAMES))
    with tempfile.TemporaryDirectory() as scratch:
        path = save(SavedCase(case.name, "", "", task=case.task, hw=case.hw), model, torch, Path(scratch))
        read = torch.load(path, map_location="cpu")["model"].float().eval()
        if getattr(read.model[-1], "one2one_cv2", None) is not None:
            read.end2end = True
        arrays = once(read, torch.from_numpy(x8).float() / 255, case.task, torch)
        scores = arrays.get("pred", arrays.get("pred_one2one"))[4:7]
        assert all(np.isfinite(a).all() for a in arrays.values())
        assert scores.std() > 0.02, f"scores hardly vary: {scores.std()}"
        meta = {"case": case.name, "special": case.special, "torch": torch.__version__}
        np.savez_compressed(out / f"{case.name}.npz", input=x8, meta=np.array(json.dumps(meta)), **arrays)
        (out / f"{case.name}.pt").write_bytes(path.read_bytes())
        print(f"{case.name:14s} {path.stat().st_size / 1024:.0f} KB, scores {scores.min():.2f} to {scores.max():.2f}")


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

"""Make the YOLOv9 reference vectors: checkpoints and outputs written by the real upstream code.

    git clone --depth 1 https://github.com/WongKinYiu/yolov9 upstream/yolov9
    pip install torch numpy opencv-python-headless matplotlib pandas seaborn psutil tqdm pyyaml pillow requests \
        "setuptools<80"
    python -m tests.data.yolov9.make_vectors --upstream upstream/yolov9 --out tests/data/yolov9

`--case NAME` makes one case.  torchvision and IPython are not needed (stand-ins take their place).
"""

from __future__ import annotations

import json
import sys
import types
import zlib
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.lineage import NAMES, POINT_ARRAYS, Case, Layers, main, prepare
from tests.data.ultralytics.stand_in import stand_in_torchvision
from tests.data.yolor.make_vectors import image, randomise


def fuse(model: Any) -> None:
    """Fold BatchNorms and the branches of RepConvN, as upstream's loader does."""
    model.fuse()


def two_levels(head: list[Any]) -> Layers:
    """P3 and P4 in the blocks that the published configurations hardly use; layers 6 and 10 are the levels."""
    return {
        "backbone": [
            [-1, 1, "Conv", [64, 3, 2]],
            [-1, 1, "MP", []],
            [-1, 1, "Conv", [128, 3, 2]],
            [-1, 1, "ELAN1", [128, 128, 64]],
            [-1, 1, "AConv", [256]],
            [-1, 1, "SPPCSPC", [256]],
        ],
        "head": [
            [3, 1, "BottleneckCSP", [128]],
            [-1, 1, "ADown", [256]],
            [[-1, 5], 1, "Concat", [1]],
            [-1, 1, "SPPF", [256]],
            [-1, 1, "RepNCSPELAN4", [256, 128, 64, 1]],
            head,
        ],
    }


REVERSIBLE: Layers = {  # 13 and 14 are levels of a plain network, 10 and 12 lie behind CBFuse
    "backbone": [
        [-1, 1, "Silence", []],
        [-1, 1, "Conv", [64, 3, 4]],
        [-1, 1, "ADown", [256]],
        [-1, 1, "ADown", [512]],
        [2, 1, "CBLinear", [[64, 256]]],
        [3, 1, "CBLinear", [[64, 256, 512]]],
        [0, 1, "Conv", [64, 3, 4]],
        [[4, 5, -1], 1, "CBFuse", [[0, 0]]],
        [-1, 1, "ADown", [256]],
        [[4, 5, -1], 1, "CBFuse", [[1, 1]]],
        [-1, 1, "RepNCSPELAN4", [256, 128, 64, 2]],
        [-1, 1, "AConv", [512]],
        [[5, -1], 1, "CBFuse", [[2]]],
    ],
    "head": [
        [2, 1, "Conv", [256, 1, 1]],
        [3, 1, "Conv", [512, 1, 1]],
    ],
}


def reversible(levels: list[int]) -> Layers:
    """The network with a head that reads these layers, those of the lead head last."""
    return {**REVERSIBLE, "head": [*REVERSIBLE["head"], [levels, 1, "DualDDetect", ["nc"]]]}


MASKS: Layers = {
    "backbone": [
        [-1, 1, "Conv", [64, 3, 4]],
        [-1, 1, "ADown", [256]],
        [-1, 1, "ADown", [512]],
    ],
    "head": [
        [1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [-1, 1, "Conv", [128, 3, 1]],
        [0, 1, "Conv", [128, 3, 1]],
    ],
}


def masks(head: list[Any]) -> Layers:
    """P3 and P4, layers 1 and 2; 4 and 5 have the grid of the prototypes, of stride 4."""
    return {"backbone": MASKS["backbone"], "head": [*MASKS["head"], head]}


CASES = (
    Case("gelan_t", "gelan-t: ELAN1, AConv, RepNCSPELAN4, DDetect", "models/detect/gelan-t.yaml"),
    Case("gelan_c_fused", "gelan-c, BatchNorms and RepConvN folded by its loader", "models/detect/gelan-c.yaml",
         change=fuse),
    Case("v9_s_training", "yolov9-s as it is trained: DualDDetect", "models/detect/yolov9-s.yaml"),
    Case("reversible_lead", "as yolov9-e: the lead head behind CBLinear and CBFuse", reversible([13, 14, 10, 12])),
    Case("reversible_auxiliary", "as yolov9-c: an auxiliary head there; last.pt in float32",
         reversible([10, 12, 13, 14]), save="last"),
    Case("triple", "TripleDDetect (yolov9-cf)", two_levels([[6, 10, 6, 10, 6, 10], 1, "TripleDDetect", ["nc"]])),
    Case("plain", "Detect, whose boxes are not grouped; blocks of yolov7-af",
         two_levels([[6, 10], 1, "Detect", ["nc"]])),
    Case("plain_dual", "DualDetect", two_levels([[3, 6], 1, "DualDetect", ["nc"]])),
    Case("plain_triple", "TripleDetect", two_levels([[3, 3, 6], 1, "TripleDetect", ["nc"]])),
    Case("seg", "Segment: prototypes of the finest level", masks([[1, 2], 1, "Segment", ["nc", 32, 64]])),
    Case("dseg", "DSegment: prototypes of a layer of their own", masks([[1, 2, 4], 1, "DSegment", ["nc", 32, 64]])),
    Case("dseg_dual", "DualDSegment", masks([[1, 2, 1, 2, 4, 5], 1, "DualDSegment", ["nc", 32, 64]])),
)  # fmt: skip
ABOUT = (
    "`<case>.pt` is a pickled module tree in `model`.  Configurations named by a path are upstream's, read when this",
    "runs, with all channels divided by 32 (8 at least) and own classes; columns of `pred` are x, y, w, h (px),",
    "classes, mask coefficients.  Of several heads it is what detect_dual.py, val_triple.py and models/yolo.py take:",
    "the last.",
)


def narrow(channels: Any) -> Any:
    """Channels divided by 32, rounded up to a multiple of 8 as upstream does; of a list, each."""
    return [narrow(c) for c in channels] if isinstance(channels, list) else -(-channels // 256) * 8


def shrink(cfg: dict[str, Any]) -> None:
    """Make the channels small that `width_multiple` does not reach, and the repeats of blocks few."""
    for _, _, name, args in cfg["backbone"] + cfg["head"]:
        if name in {"RepNCSPELAN4", "ELAN1", "SPPELAN"}:
            args[1:3] = [2 * narrow(args[1]), *map(narrow, args[2:3])]
        if name == "CBLinear":
            args[0] = narrow(args[0])
        if name == "RepNCSPELAN4":
            args[3] = min(args[3], 2)


def build(case: Case, upstream: Path) -> Any:
    """The case's model as upstream's code makes it, not yet randomised."""
    import yaml
    from models.yolo import Model

    cfg = deepcopy(case.cfg) if isinstance(case.cfg, dict) else yaml.safe_load((upstream / case.cfg).read_text())
    shrink(cfg)
    cfg.update(nc=case.nc, anchors=3, depth_multiple=1.0, width_multiple=1 / 32)
    return Model(cfg)


def spread_head(model: Any, torch: Any) -> None:
    """Bins that count, and outputs of the head's last convolutions that vary."""
    head = model.model[-1]
    g = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for module in model.modules():
            if type(module).__name__ == "DFL":
                module.conv.weight.copy_(torch.arange(module.c1).view(1, -1, 1, 1))
        for name, gain, shift in (("cv2", 3.0, 0.0), ("cv4", 3.0, 0.0), ("cv6", 3.0, 0.0),
                                  ("cv3", 1.4, -0.5), ("cv5", 1.4, -0.5), ("cv7", 1.4, -0.5)):  # fmt: skip
            for branch in getattr(head, name, ()):
                conv = branch[-1]
                conv.weight.mul_(gain)
                conv.bias.copy_(torch.randn(conv.bias.shape, generator=g) * 0.6 + shift)


def run(model: Any, x: Any, torch: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Decoded rows (columns, rows) of the head that inference reads, and its prototypes."""
    with torch.no_grad():
        y, rest = model.eval()(x)
    y = y[-1] if isinstance(y, list) else y
    return y[0].numpy(), rest[-1][0].numpy() if "Segment" in type(model.model[-1]).__name__ else None


def record(case: Case, upstream: Path, out: Path) -> None:
    """Make one case's checkpoint and what upstream computes from it."""
    torch = prepare(upstream)
    stand_in_torchvision()
    shell, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")  # imported, never used
    shell.get_ipython = lambda: None  # type: ignore[attr-defined]  # matplotlib asks
    display.display = None  # type: ignore[attr-defined]
    sys.modules |= {"IPython": shell, "IPython.display": display}
    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x8 = image(case.hw, rng)
    model = build(case, upstream)
    seen = torch.from_numpy(np.concatenate([x8, *(image(case.hw, rng) for _ in range(3))])).float() / 255
    randomise(model, seen, torch, [], 1)
    spread_head(model, torch)
    if case.change is not None:
        case.change(model)
    model.nc, model.names = case.nc, list(NAMES[: case.nc])
    path = out / f"{case.name}.pt"
    stored = deepcopy(model).half() if case.save == "final" else model
    torch.save({"epoch": -1, "best_fitness": None, "model": stored, "optimizer": None, "date": None}, path)

    read = torch.load(path, map_location="cpu")["model"].float()
    x = torch.from_numpy(x8).float() / 255
    pred, proto = run(read, x, torch)
    exact, _ = run(deepcopy(read).double(), x.double(), torch)
    # What single precision costs, boxes as a share of their size: no case where the order of sums shows.
    gap = np.abs(pred - exact) / np.maximum(1.0, np.abs(exact))
    assert gap.max() < 5e-5, f"ill-conditioned: {gap.max()}"
    head = read.model[-1]
    cells = sum(int(case.hw[0] / s) * int(case.hw[1] / s) for s in head.stride.tolist())
    assert cells == pred.shape[1], (cells, pred.shape)
    assert np.isfinite(pred).all()
    assert pred[4 : 4 + case.nc].std() > 0.05, "scores hardly vary"
    assert pred[2].std() > 1, "boxes hardly vary"
    meta = {
        "case": case.name,
        "special": case.special,
        "nc": case.nc,
        "names": list(NAMES[: case.nc]),
        "input_hw": list(case.hw),
        "rows_total": cells,
        "float32_gap": float(gap.max()),
        "torch": torch.__version__,
    }
    arrays = {"input": x8, "pred": pred, "strides": head.stride.float().numpy(), "meta": np.array(json.dumps(meta))}
    np.savez_compressed(out / f"{case.name}.npz", **arrays, **({} if proto is None else {"proto": proto}))


if __name__ == "__main__":
    main("tests.data.yolov9.make_vectors", "YOLOv9", ABOUT, CASES, record, POINT_ARRAYS)

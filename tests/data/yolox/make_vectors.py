"""Make the YOLOX reference vectors: checkpoints and outputs written by the real upstream code.

git clone --depth 1 https://github.com/Megvii-BaseDetection/YOLOX upstream/yolox
pip install "torch>=2.6" "numpy<2" opencv-python loguru tabulate psutil pycocotools thop
python -m tests.data.yolox.make_vectors --upstream upstream/yolox --out tests/data/yolox
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.lineage import case_table
from tests.data.yolor.make_vectors import image, kept_rows, randomise, stand_ins


@dataclass(frozen=True)
class Case:
    """One recorded model.

    Attributes:
        name: of its files.
        special: what is special about it, for the README.
        exp: file name of upstream's exps/default, whose `get_model` makes the model.
        width: of the channels, instead of the published one.
        hw: height and width of the image.
        nc: number of classes.
        bare: True to save the state dict alone, in half precision.
    """

    name: str
    special: str
    exp: str
    width: float
    hw: tuple[int, int] = (64, 96)
    nc: int = 3
    bare: bool = False


CASES = (
    Case("nano", "depthwise convolutions; upstream's training checkpoint", "yolox_nano", 1 / 16),
    Case("s", "YOLOX-S, bare state dict in float16", "yolox_s", 1 / 16, bare=True),
    Case("m_one_class", "the depth of YOLOX-M, one class", "yolox_m", 1 / 32, hw=(96, 64), nc=1, bare=True),
)


def build(case: Case, upstream: Path) -> Any:
    """The case's model as upstream's experiment makes it."""
    from yolox.exp import get_exp

    exp = get_exp(str(upstream / "exps" / "default" / f"{case.exp}.py"))
    exp.width, exp.num_classes = case.width, case.nc
    return exp.get_model()


def record(case: Case, upstream: Path, out: Path) -> None:
    """Make one case's checkpoint and what upstream computes from it."""
    import torch

    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x8 = image(case.hw, rng)
    model = build(case, upstream)
    seen = torch.from_numpy(np.concatenate([x8, *(image(case.hw, rng) for _ in range(3))])).float()
    model.eval()
    randomise(model, seen, torch, [], 1)
    with torch.no_grad():
        for name, spread in (("cls_preds", 1.2), ("reg_preds", 0.8), ("obj_preds", 1.2)):
            for conv in getattr(model.head, name):
                conv.weight.mul_(spread)
                conv.bias.copy_(torch.randn(conv.bias.shape) * 0.6)
    state = model.state_dict()
    path = out / f"{case.name}.pth"
    if case.bare:
        torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, path)
    else:
        head = [p for n, p in model.named_parameters() if n.startswith("head.obj_preds")]
        optimizer = torch.optim.SGD(head, lr=0.01, momentum=0.9)
        content = {
            "start_epoch": 300,
            "model": state,
            "optimizer": optimizer.state_dict(),
            "best_ap": 0.4,
            "curr_ap": 0.4,
        }
        torch.save(content, path)
    read = torch.load(path, map_location="cpu", weights_only=False)
    model.load_state_dict(read if case.bare else read["model"])
    with torch.no_grad():
        pred = model(torch.from_numpy(x8).float())[0].numpy()
        exact = deepcopy(model).double()(torch.from_numpy(x8).double())[0].numpy()
    # What single precision costs, boxes as a share of their size: no case where the order of sums shows.
    gap = np.abs(pred - exact) / np.maximum(1.0, np.abs(exact))
    assert gap.max() < 5e-5, f"ill-conditioned: {gap.max()}"
    assert np.isfinite(pred).all()
    assert pred[:, 4].std() > 0.05, f"scores hardly vary: {pred[:, 4].std()}"
    counts = [case.hw[0] // s * (case.hw[1] // s) for s in (8, 16, 32)]
    rows = kept_rows(len(pred), counts, rng)
    meta = {
        "case": case.name, "special": case.special, "nc": case.nc, "input_hw": list(case.hw), "rows_total": len(pred),
        "float32_gap": float(gap.max()), "torch": torch.__version__,
    }  # fmt: skip
    arrays = {"input": x8, "rows": rows, "pred": pred[rows].astype(np.float32), "strides": np.array([8.0, 16.0, 32.0])}
    np.savez_compressed(out / f"{case.name}.npz", **arrays, meta=np.array(json.dumps(meta)))


def write_readme(out: Path) -> None:
    """The folder's README."""
    lines = [
        "# YOLOX reference vectors",
        "",
        "Written by `make_vectors.py` (see its docstring) with the real upstream code; do not edit by hand.  The",
        "weights are random and seeded.",
        "",
        "`<case>.pth` is a state dict, alone or in `model`.  `<case>.npz` holds `input` (1, 3, H, W) uint8 BGR, fed as",
        "it is; `pred` float32, upstream's decoded output at `rows` of all rows (level, row, column), with columns",
        "x, y, w, h (px), objectness, classes; `meta`, a JSON string.  BatchNorm's eps is 1e-3, where no key says so.",
        "",
        *case_table(out, CASES, ".pth"),
    ]
    (out / "README.md").write_text("\n".join([*lines, ""]))


def main() -> None:
    """Make all cases."""
    parser = argparse.ArgumentParser(description="Make the YOLOX reference vectors.")
    parser.add_argument("--upstream", type=Path, required=True, help="folder of upstream's checkout")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    stand_ins(wavelets=False)
    sys.path.insert(0, str(args.upstream.resolve()))
    import torch

    torch.set_num_threads(1)
    for case in CASES:
        record(case, args.upstream.resolve(), args.out)
        print(case.name, "done", flush=True)
    write_readme(args.out)


if __name__ == "__main__":
    main()

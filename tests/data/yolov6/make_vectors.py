"""Make the YOLOv6 reference vectors: checkpoints and outputs written by the real upstream code.

    for release in main 0.2.0 0.3.0 yolov6-seg yolov6-face; do
        git clone --branch $release --depth 1 https://github.com/meituan/YOLOv6 upstream/$release
    done
    pip install "torch>=2.6" "numpy<2" opencv-python pyyaml requests tqdm addict "setuptools<80"
    python -m tests.data.yolov6.make_vectors --upstream upstream --out tests/data/yolov6

`--case NAME` makes one case.  torchvision and pycocotools are not needed (a stand-in takes their place).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.lineage import case_table
from tests.data.yolor.make_vectors import image, kept_rows, randomise, stand_ins

WIDTH = 1 / 128
P6 = (128, 128)
BINS = 17
LANDMARKS = slice(4, 14)  # columns of upstream's rows


@dataclass(frozen=True)
class Case:
    """One recorded model.

    Attributes:
        name: of its files.
        special: what is special about it, for the README.
        config: a file of upstream's configs, whose channels are narrowed.
        release: folder of the upstream checkout.
        hw: height and width of the image.
        nc: number of classes.
        head: keyword of upstream's build_network for another head.
        deploy: True to re-parameterize all blocks.
        change: applied to the configuration.
    """

    name: str
    special: str
    config: str
    release: str = "main"
    hw: tuple[int, int] = (64, 96)
    nc: int = 3
    head: str = ""
    deploy: bool = False
    change: Callable[[Any], None] | None = None


def with_bins(config: Any) -> None:
    """Distributions, as n and s have them while they are distilled."""
    config.model.head.use_dfl, config.model.head.reg_max = True, 16


CASES = (
    Case("n_fuse_ab", "N: RepBiFPAN, RepVGG in branches; head with anchors next to it", "yolov6n.py", head="fuse_ab"),
    Case("n_distill", "N as distilled: distances, and distributions for training only", "yolov6n.py",
         head="distill_ns", change=with_bins),
    Case("s_deploy", "S, re-parameterized", "yolov6s.py", deploy=True),
    Case("m_dfl", "M: BepC3 with RepVGG, distributions of 17 bins", "yolov6m.py"),
    Case("l6", "L6: four levels, BepC3 with SiLU", "yolov6l6.py", hw=P6, nc=1),
    Case("s_mbla", "MBLA blocks", "mbla/yolov6s_mbla.py"),
    Case("n_qa", "QARepVGG in branches", "qarepvgg/yolov6n_qa.py"),
    Case("n_qa_deploy", "QARepVGG re-parameterized, BatchNorm behind it", "qarepvgg/yolov6n_qa.py", deploy=True),
    Case("n_hs", "LinearAddBlock: learned scales", "repopt/yolov6n_hs.py"),
    Case("n_opt", "RealVGGBlock", "repopt/yolov6n_opt.py"),
    Case("lite_s", "lite: four levels, excitation, depthwise 5x5", "yolov6_lite/yolov6_lite_s.py", hw=P6),
    Case("v2_s", "0.2.0: RepPAN, SimConv", "yolov6s.py", release="0.2.0"),
    Case("v2_m", "0.2.0: BepC3, distributions", "yolov6m.py", release="0.2.0"),
    Case("v3_n", "0.3.0: BiFusion, SimCSPSPPF, SimConv", "yolov6n.py", release="0.3.0"),
    Case("seg_n", "yolov6-seg N: 32 mask coefficients, prototypes; a head with anchors next to it", "yolov6n_seg.py",
         release="yolov6-seg", head="fuse_ab"),
    Case("face_m", "yolov6-face M: 5 landmarks behind distributions of 17 bins", "yolov6m_finetune.py",
         release="yolov6-face", nc=1),
    Case("face_lite_s", "yolov6-face lite: 5 landmarks behind distances, four levels", "yolov6_lite_s_finetune.py",
         release="yolov6-face", hw=P6, nc=1),
)  # fmt: skip


def build(case: Case, upstream: Path) -> Any:
    """The case's model as upstream's code makes it, not yet randomised."""
    from yolov6.utils.config import Config

    config = Config.fromfile(str(upstream / "configs" / case.config))
    if case.change is not None:
        case.change(config)
    config.model.width_multiple = WIDTH
    if "lite" in case.config:
        from yolov6.models.yolo_lite import Model

        config.model.neck.unified_channels = 16
        config.model.head.in_channels = [16] * 4
        return Model(config, 3, case.nc)
    from yolov6.models.yolo import Model

    config.model.depth_multiple = 0.2
    if not hasattr(config, "training_mode"):
        config.training_mode = "repvgg"
    if case.name == "n_qa":  # with the mean of 3x3 next to the other branches
        config.training_mode = "qarepvggv2"
    return Model(config, 3, case.nc, **({case.head: True} if case.head else {}))


def settle(model: Any, torch: Any) -> None:
    """Numbers that `randomise` leaves alone or must not change."""
    detect = model.detect
    with torch.no_grad():
        if hasattr(detect, "proj_conv"):
            detect.proj_conv.weight.copy_(detect.proj.view(detect.proj_conv.weight.shape))
        for conv in detect.reg_preds:  # distances about 2 cells; landmarks are behind them
            bins = BINS if conv.out_channels >= 4 * BINS else 1
            conv.bias[: 4 * bins].add_(2.0 if bins == 1 else -0.15 * torch.arange(bins).repeat(4))
        for conv in detect.cls_preds:
            conv.weight.mul_(3.0)
        for module in model.modules():
            if isinstance(getattr(module, "alpha", None), torch.nn.Parameter):
                module.alpha.copy_(torch.rand(1) + 0.3)
            if type(module).__name__ == "ScaleLayer":
                module.weight.copy_(torch.rand(module.weight.shape) + 0.3)


def record(case: Case, folder: Path, out: Path) -> None:
    """Make one case's checkpoint and what upstream computes from it."""
    stand_ins(wavelets=False)
    upstream = folder / case.release
    sys.path.insert(0, str(upstream))
    import torch

    torch.set_num_threads(1)
    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x8 = image(case.hw, rng)
    model = build(case, upstream)
    seen = torch.from_numpy(np.concatenate([x8, *(image(case.hw, rng) for _ in range(3))])).float() / 255
    randomise(model, seen, torch, [], 1)
    settle(model, torch)
    if case.deploy:
        fused(model, torch)
    model.eval()
    path = out / f"{case.name}.pt"
    content = {
        "model": deepcopy(model).half(),
        "ema": None,
        "updates": None,
        "optimizer": None,
        "epoch": -1,
        "results": None,
    }
    torch.save(content, path)
    read = torch.load(path, map_location="cpu", weights_only=False)["model"].float().eval()
    with torch.no_grad():
        pred, proto = in_order(read(torch.from_numpy(x8).float() / 255)[0], case)
        exact, _ = in_order(deepcopy(read).double()(torch.from_numpy(x8).double() / 255)[0], case)
    gap = np.abs(pred - exact) / np.maximum(1.0, np.abs(exact))
    assert gap.max() < 5e-5, f"ill-conditioned: {gap.max()}"
    assert np.isfinite(pred).all()
    assert (pred[:, 4] == 1).all()
    scores = pred[:, 5 : 5 + case.nc]
    assert scores.std() > 0.05, f"scores hardly vary: {scores.std()}"
    strides = read.detect.stride.float().numpy()
    counts = [int(case.hw[0] // s) * int(case.hw[1] // s) for s in strides]
    rows = kept_rows(len(pred), counts, rng)
    columns = [0, 1, 2, 3, *range(5, pred.shape[1])]
    meta = {
        "case": case.name, "special": case.special, "nc": case.nc, "input_hw": list(case.hw), "rows_total": len(pred),
        "float32_gap": float(gap.max()), "torch": torch.__version__,
    }  # fmt: skip
    arrays = {"input": x8, "rows": rows, "pred": pred[rows][:, columns].astype(np.float32), "strides": strides}
    masks = {} if proto is None else {"proto": proto}
    np.savez_compressed(out / f"{case.name}.npz", **arrays, **masks, meta=np.array(json.dumps(meta)))


def in_order(given: Any, case: Case) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows of box, one, classes and landmarks or mask coefficients, and prototypes (masks, H, W).

    yolov6-seg gives rows, a list with the prototypes, and rows of a level's number and the coefficients; yolov6-face
    has the landmarks before the ones.
    """
    if case.release == "yolov6-seg":
        rows, (proto,), coefficients = given
        return np.concatenate((rows[0].numpy(), coefficients[0, :, 1:].numpy()), axis=1), proto[0].numpy()
    rows = given[0].numpy()
    if case.release == "yolov6-face":
        rows = np.concatenate((np.delete(rows, LANDMARKS, axis=1), rows[:, LANDMARKS]), axis=1)
    return rows, None


def fused(model: Any, torch: Any) -> None:
    """Re-parameterize the blocks as upstream's loader and deploy/ONNX/export_onnx.py do."""
    from yolov6.layers.common import RepVGGBlock
    from yolov6.utils.torch_utils import fuse_model

    model = fuse_model(model).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, RepVGGBlock):
                layer.switch_to_deploy()


def write_readme(out: Path) -> None:
    """The folder's README."""
    lines = [
        "# YOLOv6 reference vectors",
        "",
        "Written by `make_vectors.py` (see its docstring) with the real upstream code; do not edit by hand.  The",
        "weights are random and seeded, the checkpoints hold no upstream source code.",
        "",
        "`<case>.pt` is a pickled module tree in `model`.  Configurations are upstream's, read when this runs, with 8",
        "to 16 channels.  `<case>.npz` holds `input` (1, 3, H, W) uint8 RGB, fed as input / 255; `pred` float32,",
        "upstream's decoded output without its column of ones at `rows` of all rows (level, row, column): x, y, w, h",
        "(px), classes, mask coefficients or x, y (px) of landmarks; `proto`, the prototypes of masks; `strides`;",
        "`meta`, a JSON string.",
        "",
        *case_table(out, CASES),
    ]
    (out / "README.md").write_text("\n".join([*lines, ""]))


def main() -> None:
    """Make all cases, each in a process of its own, or one."""
    parser = argparse.ArgumentParser(description="Make the YOLOv6 reference vectors.")
    parser.add_argument("--upstream", type=Path, required=True, help="folder of upstream's checkouts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", help="make this one alone, in this process")
    args = parser.parse_args()
    folder, out = args.upstream.resolve(), args.out.resolve()
    if args.case:
        record(next(c for c in CASES if c.name == args.case), folder, out)
        return
    failed = []
    for case in CASES:
        command = [sys.executable, "-m", "tests.data.yolov6.make_vectors", "--upstream", str(folder), "--out", str(out),
                   "--case", case.name]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{case.name:14s} {'done' if done.returncode == 0 else 'FAILED ' + done.stderr[-700:]}", flush=True)
        failed += [case.name] * bool(done.returncode)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    write_readme(out)


if __name__ == "__main__":
    main()

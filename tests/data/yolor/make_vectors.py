"""Make the YOLOR reference vectors: checkpoints and outputs written by the real upstream code of both branches.

`paper` pickles the module tree, `main` saves a state dict beside a darknet cfg.  Each case builds a tiny seeded model,
saves it as the branch's train.py does, reads the file back with torch and records what upstream's forward pass answers
for a stored image.  Nothing of the upstream code is kept here: configurations named by a path are read from upstream
when this runs, the cfg files are our own (cfgs.py).

    for branch in main paper; do
        git clone --branch $branch --depth 1 https://github.com/WongKinYiu/yolor upstream/$branch
    done
    pip install "torch>=2.6" "numpy<2" opencv-python matplotlib pandas seaborn scipy tqdm pyyaml pillow requests \
        "setuptools<80" pytorch_wavelets pywavelets
    python -m tests.data.yolor.make_vectors --upstream upstream --out tests/data/yolor

`--case NAME` makes one case.  torchvision and pycocotools are not needed (a stand-in takes their place).
"""

from __future__ import annotations

import argparse
import json
import os
import pickletools
import subprocess
import sys
import tempfile
import types
import zipfile
import zlib
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.yolor import cfgs

NAMES = ("bolt", "nut", "washer")
ROWS_KEPT = 160
REAL = 320  # side at which the published structures are run for their shapes

Layers = list[list[Any]]

BLOCKS: dict[str, Layers] = {  # blocks of the paper branch that yolor-p6 and the ssss configurations do not use
    "backbone": [
        [-1, 1, "Focus", [64, 3]],
        [-1, 1, "DownD", [128]],
        [-1, 2, "BottleneckCSP", [128]],
        [-1, 1, "DownC", [256]],
        [-1, 1, "VoVCSP", [256]],
        [-1, 2, "Bottleneck", [256]],
        [-1, 1, "DWConv", [512, 3, 2]],
        [-1, 1, "SPP", [512, [3, 5]]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, -4], 1, "Concat", [1]],
        [-1, 2, "BottleneckCSP2", [256]],
        [[-1, 7], 1, "Detect", ["nc", "anchors"]],
    ],
}
SYNC: dict[str, Layers] = {
    "backbone": [
        [-1, 1, "ReOrg", []],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 1, "Conv", [256, 3, 2]],
        [-1, 2, "BottleneckCSPF", [256]],
        [-1, 1, "DownC", [512]],
    ],
    "head": [[-1, 1, "SPPCSP", [256]], [[3, 5], 1, "IDetect", ["nc", "anchors"]]],
}
WAVES: dict[str, Layers] = {
    "backbone": [
        [-1, 1, "DWT", []],
        [-1, 1, "DWT", []],
        [-1, 1, "Conv", [256, 3, 2]],
        [-1, 1, "Conv", [512, 3, 2]],
    ],
    "head": [[[2, 3], 1, "IDetect", ["nc", "anchors"]]],
}


@dataclass(frozen=True)
class Case:
    name: str
    branch: str
    special: str
    cfg: str | dict[str, Layers] = ""  # a path of upstream's, or layers of our own; main: a function of cfgs.py
    hw: tuple[int, int] = (64, 96)
    nc: int = 3
    depth: float = 0.1
    anchors: str = "yaml"  # yaml: in the configuration; auto: replaced after the build
    save: str = "final"  # paper: final (stripped, half), last (optimizer, float32); main: final, last, state
    norm: str = "BatchNorm2d"
    wavelets: bool = False


P6 = "models/yolor-p6.yaml"
CASES = (
    Case("paper_p6", "paper", "four levels 8-64, IDetect with implicits", P6, hw=(128, 192), depth=0.3),
    Case(
        "paper_anchors",
        "paper",
        "yolor-ssss-s2d: BottleneckCSP, three ReOrg; last.pt in float32; anchors replaced after the build",
        "models/yolor-ssss-s2d.yaml",
        anchors="auto",
        save="last",
    ),
    Case("paper_blocks", "paper", "Focus, DownC, DownD, VoVCSP, Bottlenecks, DWConv, SPP; plain Detect", BLOCKS),
    Case("paper_syncbn", "paper", "SyncBatchNorm in the tree", SYNC, norm="SyncBatchNorm"),
    Case("paper_dwt", "paper", "two DWT of pytorch_wavelets, which hold filters", WAVES, wavelets=True),
    Case(
        "main_p6", "main", "the structure of yolor_p6.cfg, narrow; train.py's checkpoint, stripped", "p6", hw=(128, 192)
    ),
    Case("main_sections", "main", "sections that p6 does not use; bare state_dict", "sections", save="state"),
    Case(
        "main_yolov3_order",
        "main",
        "yolov3 in the name: levels top first; max pools; last.pt",
        "top_first",
        hw=(64, 128),
        save="last",
    ),
)


def stand_ins(wavelets: bool) -> None:
    """Put modules into sys.modules that satisfy upstream's imports."""

    class Anything(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Anything(f"{self.__name__}.{name}")

    for name in ("torchvision", "torchvision.ops", "torchvision.models", "torchvision.utils", "pycocotools"):
        module = sys.modules[name] = Anything(name)
        module.__path__ = []
    if not wavelets:
        sys.modules["pytorch_wavelets"] = None  # type: ignore[assignment]
    sys.modules["thop"] = sys.modules["mish_cuda"] = None  # type: ignore[assignment]


def prepare(upstream: Path, case: Case) -> Any:
    """torch, with the case's branch importable."""
    os.environ["MPLCONFIGDIR"] = os.environ["HOME"] = os.getcwd()
    import torch

    torch.set_num_threads(1)
    load = torch.load
    torch.load = lambda *a, **k: load(*a, **{"weights_only": False, **k})
    stand_ins(case.wavelets)
    sys.path.insert(0, str(upstream / case.branch))
    return torch


def anchors_px(levels: int, na: int, rng: np.random.Generator, base: float = 9.0) -> list[list[float]]:
    """(levels, 2 * na): small odd sizes that grow with the level, none of them COCO's."""
    rows = []
    for level in range(levels):
        wh = base * 1.9**level * rng.uniform(0.5, 2.0, (na, 2)) * np.linspace(0.7, 1.6, na)[:, None]
        rows.append([round(float(v), 2) for v in wh[np.argsort(wh.prod(1))].reshape(-1)])
    return rows


def image(hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(1, 3, H, W) uint8: smooth blobs in few steps, which compress well."""
    import cv2

    h, w = hw
    coarse = rng.uniform(-60, 315, (max(h // 16, 4), max(w // 16, 4), 3)).astype(np.float32)
    stepped = np.clip(np.round(cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC) / 17) * 17, 0, 255)
    return np.ascontiguousarray(stepped.astype(np.uint8).transpose(2, 0, 1)[None])


def randomise(model: Any, seen: Any, torch: Any, head_convs: list[Any], na: int) -> None:
    """Weights, BatchNorms and implicits such that folding matters and scores spread over 0..1.

    `seen` (n, 3, H, W) is what the BatchNorms take their statistics from.
    """
    nn = torch.nn
    g = torch.Generator().manual_seed(7)

    def uniform(t: Any, lo: float, hi: float) -> None:
        t.copy_(torch.rand(t.shape, generator=g) * (hi - lo) + lo)

    def near(norm: Any, inputs: tuple[Any]) -> None:
        """Statistics near those of what arrives, so that no layer dies; a still channel is not blown up."""
        mean, var = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3), unbiased=False).clamp(0.3)
        norm.running_mean = mean + torch.randn(mean.shape, generator=g) * 0.15 * (var + 1e-3).sqrt()
        norm.running_var = var * (torch.rand(var.shape, generator=g) + 0.6)

    hooks = []
    model.eval()
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, nn.Conv2d):
                m.weight.copy_(torch.randn(m.weight.shape, generator=g) * (1.5 / m.weight[0].numel()) ** 0.5)
                if m.bias is not None:
                    m.bias.copy_(torch.randn(m.bias.shape, generator=g) * 0.1)
            elif isinstance(m, nn.BatchNorm2d):
                uniform(m.weight, 0.4, 0.9)
                uniform(m.bias, -0.2, 0.8)
                m.num_batches_tracked.fill_(1234)
                hooks.append(m.register_forward_pre_hook(near))
            elif hasattr(m, "implicit"):
                m.implicit.add_(torch.randn(m.implicit.shape, generator=g) * 0.3)
            elif isinstance(getattr(m, "w", None), nn.Parameter):
                uniform(m.w, -1.0, 1.0)
        for m in head_convs:  # outputs of the head: about N(0, 1.2), objectness a little lower
            m.weight.mul_(1.2)
            b = m.bias.view(na, -1)
            b.copy_(torch.randn(b.shape, generator=g) * 0.6)
            b[:, 4] -= 0.5
        model(seen)
    for hook in hooks:
        hook.remove()


def build_paper(case: Case, upstream: Path, rng: np.random.Generator, torch: Any) -> Any:
    """The case's tiny model of the paper branch, not yet randomised."""
    import yaml
    from models.yolo import Model

    own = isinstance(case.cfg, dict)
    cfg = deepcopy(case.cfg) if own else yaml.safe_load((upstream / case.branch / case.cfg).read_text())
    levels = len(cfg["head"][-1][0])
    cfg["anchors"] = anchors_px(levels, 3, rng)
    cfg.update(nc=case.nc, depth_multiple=1.0 if own else case.depth, width_multiple=1 / 64)
    model = Model(cfg)
    detect = model.model[-1]
    if case.anchors == "auto":  # as check_anchors leaves it
        new = torch.tensor(anchors_px(levels, detect.na, rng)).view_as(detect.anchors)
        detect.anchor_grid[:] = new.view_as(detect.anchor_grid)
        detect.anchors[:] = new / detect.stride.view(-1, 1, 1)
    return model


def build_main(case: Case, out: Path, rng: np.random.Generator) -> Any:
    """The case's tiny Darknet, not yet randomised.  Writes the case's cfg."""
    from models.models import Darknet

    levels = {"p6": 4, "sections": 2, "top_first": 2}[str(case.cfg)]
    flat = [v for row in anchors_px(levels, 3, rng, 18.0 if case.cfg == "top_first" else 9.0) for v in row]
    writer = getattr(cfgs, str(case.cfg))
    narrow = {"scale": lambda filters: max(filters // 32, 4)} if case.cfg == "p6" else {}
    path = out / f"{case.name}.cfg"
    path.write_text(writer(max(case.hw), case.nc, flat, **narrow))
    return Darknet(str(path), max(case.hw))


def record_of_training(case: Case, model: Any, torch: Any) -> dict[str, Any]:
    """What the branch's train.py saves."""
    from utils.torch_utils import ModelEMA

    model.nc, model.gr, model.names = case.nc, 1.0, list(NAMES[: case.nc])
    model.hyp = {"lr0": 0.01, "momentum": 0.937, "weight_decay": 0.0005, "anchor_t": 4.0}
    model.class_weights = torch.full((case.nc,), 1.0)
    ema = ModelEMA(model)
    ema.update_attr(
        model, **({"include": ["yaml", "nc", "hyp", "gr", "names", "stride"]} if case.branch == "paper" else {})
    )
    fit = np.array([0.4321])
    optimizer = None
    if case.save == "last":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.937, nesterov=True)
        last = list(model.parameters())[-1]
        last.grad = torch.full_like(last, 0.01)
        optimizer.step()  # leaves a momentum buffer; the average does not move with it
    return {
        "epoch": 299,
        "best_fitness": fit,
        "best_fitness_p": fit,
        "best_fitness_r": fit,
        "best_fitness_ap50": fit,
        "best_fitness_ap": fit,
        "best_fitness_f": fit,
        "training_results": "   299/299     3.02G   0.07   0.03   0.02   0.12   34   640\n",
        "model": ema.ema if case.branch == "paper" else ema.ema.state_dict(),
        "optimizer": None if optimizer is None else optimizer.state_dict(),
        "wandb_id": None,
    }


def kept_rows(n: int, counts: list[int], rng: np.random.Generator) -> np.ndarray:
    """At most ROWS_KEPT of n rows, the first and last of every level among them."""
    if n <= ROWS_KEPT:
        return np.arange(n, dtype=np.int32)
    edges = np.cumsum([0, *counts])
    must = {int(i) for a, b in zip(edges[:-1], edges[1:], strict=True) for i in (a, a + 1, b - 1)}
    share = (ROWS_KEPT - len(must)) // len(counts)
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        must |= {int(i) for i in rng.choice(np.arange(a, b), min(share, b - a), replace=False)}
    return np.array(sorted(must), np.int32)


def head_of(model: Any, branch: str, torch: Any) -> tuple[Any, Any, list[Any], int]:
    """Anchors (nl, na, 2) px, strides (nl,), the last convolutions, anchors a level; in the order of the output."""
    if branch == "paper":
        detect = model.model[-1]
        return detect.anchor_grid.float().view(detect.nl, -1, 2), detect.stride.float(), list(detect.m), detect.na
    layers = [model.module_list[i] for i in model.yolo_layers]
    convs = [
        next(model.module_list[j][0] for j in range(i, 0, -1) if list(model.module_list[j].children()))
        for i in model.yolo_layers
    ]
    strides = torch.tensor([float(layer.stride) for layer in layers])
    return torch.stack([layer.anchors for layer in layers]), strides, convs, layers[0].na


def make_case(case: Case, upstream: Path, out: Path) -> None:
    torch = prepare(upstream, case)
    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x8 = image(case.hw, rng)
    model = build_paper(case, upstream, rng, torch) if case.branch == "paper" else build_main(case, out, rng)
    seen = torch.from_numpy(np.concatenate([x8, *(image(case.hw, rng) for _ in range(3))])).float() / 255
    _, _, convs, na = head_of(model, case.branch, torch)
    randomise(model, seen, torch, convs, na)
    if case.norm == "SyncBatchNorm":
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)

    path = out / f"{case.name}.pt"
    ckpt = record_of_training(case, model, torch)
    torch.save(ckpt["model"] if case.save == "state" else ckpt, path)
    if case.save == "final":
        from utils.general import strip_optimizer

        strip_optimizer(str(path))
    read = torch.load(path, map_location="cpu")
    if case.branch == "paper":
        model = read["model"].float().eval()
    else:
        model.load_state_dict(read if case.save == "state" else read["model"])
        model.eval()
    with torch.no_grad():
        pred = model(torch.from_numpy(x8).float() / 255)[0][0].numpy()
        exact = deepcopy(model).double()(torch.from_numpy(x8).double() / 255)[0][0].numpy()
    # What single precision costs, boxes as a share of their size: no case where the order of sums shows.
    gap = np.abs(pred - exact) / np.maximum(1.0, np.abs(exact))
    assert gap.max() < 5e-5, f"ill-conditioned: {gap.max()}"
    anchors, strides, _, na = head_of(model, case.branch, torch)
    counts = [na * int(case.hw[0] / s) * int(case.hw[1] / s) for s in strides.tolist()]
    assert sum(counts) == len(pred), (counts, pred.shape)
    assert np.isfinite(pred).all()
    assert pred[:, 4].std() > 0.05, f"scores hardly vary: {pred[:, 4].std()}"
    norms = {m.eps for m in model.modules() if type(m).__name__ == case.norm}
    assert norms == {1e-3 if case.branch == "paper" else 1e-4}, norms
    rows = kept_rows(len(pred), counts, rng)
    meta = {
        "case": case.name,
        "branch": case.branch,
        "special": case.special,
        "cfg": f"{case.name}.cfg" if case.branch == "main" else "",
        "saved": {"final": "stripped", "last": "last.pt", "state": "state_dict"}[case.save],
        "nc": case.nc,
        "names": list(NAMES[: case.nc]) if case.branch == "paper" else [],
        "input_hw": list(case.hw),
        "rows_total": len(pred),
        "float32_gap": float(gap.max()),
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
    }
    arrays = {"input": x8, "rows": rows, "pred": pred[rows].astype(np.float32), "meta": np.array(json.dumps(meta))}
    arrays |= {"anchors_px": anchors.numpy(), "strides": strides.numpy()}
    np.savez_compressed(out / f"{case.name}.npz", **arrays)


def facts(upstream: Path, branch: str) -> dict[str, Any]:
    """What the published YOLOR-P6 of the branch has and gives at REAL x REAL, 80 classes."""
    torch = prepare(upstream, Case("", branch, ""))
    if branch == "paper":
        from models.yolo import Model

        model = Model(str(upstream / branch / P6))
    else:
        from models.models import Darknet

        model = Darknet(str(upstream / branch / "cfg/yolor_p6.cfg"), REAL)
    with torch.no_grad():
        pred = model.eval()(torch.zeros(1, 3, REAL, REAL))[0]
    anchors, strides, _, _ = head_of(model, branch, torch)
    return {
        "branch": branch,
        "input_hw": [REAL, REAL],
        "output_shape": list(pred.shape),
        "parameters": sum(p.numel() for p in model.parameters()),
        "keys": len(model.state_dict()),
        "strides": strides.tolist(),
        "anchors_px": anchors.tolist(),
    }


def pickle_globals(path: Path) -> set[str]:
    """Every global a checkpoint's pickle names, without running it."""
    with zipfile.ZipFile(path) as z:
        stream = z.read(next(n for n in z.namelist() if n.endswith("data.pkl")))
    return {str(arg).replace(" ", ".") for op, arg, _ in pickletools.genops(stream) if op.name == "GLOBAL"}


def write_readme(out: Path) -> None:
    lines = [
        "# YOLOR reference vectors",
        "",
        "Written by `make_vectors.py` (see its docstring) with the real upstream code; do not edit by hand.  The",
        "weights are random and seeded, the checkpoints hold no upstream source code.",
        "",
        "`<case>.pt` is the checkpoint: of the branch `paper` a pickled module tree in `model` (there is no `ema`:",
        "what `model` holds is the average), of `main` a state dict, alone or in `model`, whose structure is in",
        "`<case>.cfg`.  The cfg files are our own, written by `cfgs.py`; main_p6's has the structure of upstream's",
        "YOLOR-P6 section by section, with the filters divided by 32 (4 at least) and its own classes and anchors.",
        "",
        "`<case>.npz` holds `input` (1, 3, H, W) uint8 RGB, fed as input / 255; `pred` (rows, 5 + nc) float32,",
        "upstream's decoded output (xywh px, objectness, classes) at `rows` of all rows (level, anchor, row, column);",
        "`anchors_px` (nl, na, 2) and `strides` (nl,) in the order of the output; `meta`, a JSON string.  BatchNorm's",
        "eps is 1e-3 in `paper` and 1e-4 in `main`, where no key says so.",
        "",
        "| case | what is special | saved | input | rows | .pt KB | .npz KB |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    total, seen, made = 0, set(), ""
    for case in CASES:
        pt, npz = out / f"{case.name}.pt", out / f"{case.name}.npz"
        with np.load(npz) as data:
            meta = json.loads(str(data["meta"]))
        made = f"torch {meta['torch']}, numpy {np.__version__}"
        total += sum(p.stat().st_size for p in out.glob(f"{case.name}.*"))
        seen |= pickle_globals(pt)
        h, w = meta["input_hw"]
        lines.append(
            f"| {case.name} | {meta['special']} | {meta['saved']} | {h}x{w} | {meta['rows_total']} | "
            f"{pt.stat().st_size / 1024:.0f} | {npz.stat().st_size / 1024:.0f} |"
        )
    lines += ["", f"{total / 1e6:.1f} MB in all, made with {made}.", ""]
    for fact in json.loads((out / "facts.json").read_text()):
        lines += [
            f"- YOLOR-P6 as `{fact['branch']}` has it: {fact['parameters']:,} parameters, {fact['keys']} keys;",
            f"  at {REAL}x{REAL} with 80 classes it gives {tuple(fact['output_shape'])} (`facts.json`).",
        ]
    lines += ["", "Globals named by these pickles:", "", *(f"- `{g}`" for g in sorted(seen)), ""]
    (out / "README.md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", type=Path, required=True, help="folder with one YOLOR checkout a branch")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", help="make this one alone, in this process")
    parser.add_argument("--facts", help="write the facts of this branch alone")
    args = parser.parse_args()
    upstream, out = args.upstream.resolve(), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if args.facts or args.case:
        with tempfile.TemporaryDirectory() as scratch:
            os.chdir(scratch)
            if args.case:
                make_case(next(c for c in CASES if c.name == args.case), upstream, out)
            else:
                (out / f"facts_{args.facts}.json").write_text(json.dumps(facts(upstream, args.facts)))
        return
    failed = []
    for option, name in [("--case", c.name) for c in CASES] + [("--facts", b) for b in ("paper", "main")]:
        command = [
            sys.executable,
            "-m",
            "tests.data.yolor.make_vectors",
            "--upstream",
            str(upstream),
            "--out",
            str(out),
            option,
            name,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{name:20s} {'done' if done.returncode == 0 else 'FAILED ' + done.stderr[-1500:]}", flush=True)
        failed += [name] * bool(done.returncode)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    parts = [out / f"facts_{b}.json" for b in ("paper", "main")]
    (out / "facts.json").write_text(json.dumps([json.loads(p.read_text()) for p in parts], indent=1) + "\n")
    for part in parts:
        part.unlink()
    write_readme(out)


if __name__ == "__main__":
    main()

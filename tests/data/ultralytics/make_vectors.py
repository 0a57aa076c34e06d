"""Make the Ultralytics reference vectors: checkpoints and outputs written by the real package, old and new.

Each case (cases.py) builds a tiny seeded model with one release of the package, saves it with that release's own
`BaseTrainer.save_model` and `strip_optimizer`, reads the file back with torch and records what the release's own
forward pass answers for a stored image.  Nothing of the package is kept here.

    git clone --depth 1 https://github.com/THU-MIG/yolov10 releases/yolov10
    for v in 8.0.0 8.0.200 8.3.0 8.4.0 8.4.190; do
        pip install --no-deps --target releases/$v ultralytics==$v
    done
    pip install torch==2.13.0 numpy opencv-python-headless==4.11.0.86 pyyaml pandas polars matplotlib seaborn scipy \
        tqdm requests psutil pillow dill hydra-core py-cpuinfo gitpython ultralytics-thop
    python -m tests.data.ultralytics.make_vectors --releases releases --out tests/data/ultralytics

`--case NAME` makes one case.  torchvision is not needed (a stand-in takes its place).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import types
import zlib
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.ultralytics.cases import CASES, NEW, THU, Case
from tests.data.ultralytics.readme import write_readme
from tests.data.ultralytics.stand_in import FixedDate, prepare

NAMES = ("bolt", "nut", "washer", "screw", "pin")
MODELS = {
    "detect": "DetectionModel",
    "segment": "SegmentationModel",
    "pose": "PoseModel",
    "obb": "OBBModel",
    "classify": "ClassificationModel",
    "semantic": "SemanticSegmentationModel",
    "depth": "DepthModel",
}
MAPS = ("semantic", "depth")


def image(hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(1, 3, H, W) uint8: smooth blobs in few steps, which compress well."""
    import cv2

    h, w = hw
    coarse = rng.uniform(-60, 315, (max(h // 16, 4), max(w // 16, 4), 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    stepped = np.clip(np.round(smooth / 17) * 17, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(stepped.transpose(2, 0, 1)[None])


def final_convolutions(head: Any, torch: Any) -> tuple[list[Any], list[Any]]:
    """The last convolutions of the box and of the class branches, of both heads."""
    found: tuple[list[Any], list[Any]] = ([], [])
    for place, name in enumerate(("cv2", "cv3")):
        for prefix in ("", "one2one_"):
            for branch in getattr(head, prefix + name, None) or ():
                found[place].append([m for m in branch.modules() if isinstance(m, torch.nn.Conv2d)][-1])
    return found


def randomise(model: Any, images: Any, torch: Any, task: str) -> None:
    """Weights and BatchNorms such that folding matters, activations stay sane and scores spread over 0..1."""
    nn = torch.nn
    g = torch.Generator().manual_seed(7)

    def uniform(t: Any, lo: float, hi: float) -> None:
        t.copy_(torch.rand(t.shape, generator=g) * (hi - lo) + lo)

    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    fixed = [m.conv for m in model.modules() if type(m).__name__ == "DFL"]
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) and not any(m is f for f in fixed):
                fan = m.weight[0].numel()
                if isinstance(m, nn.ConvTranspose2d):
                    fan = m.weight[:, 0].numel() / m.groups / (m.stride[0] * m.stride[1])
                m.weight.copy_(torch.randn(m.weight.shape, generator=g) * (1.5 / fan) ** 0.5)
                if m.bias is not None:
                    m.bias.copy_(torch.randn(m.bias.shape, generator=g) * 0.1)
            elif getattr(m, "gamma", None) is not None:
                uniform(m.gamma, -0.8, 0.8)
        for m in norms:
            uniform(m.weight, 0.6, 1.5)
            uniform(m.bias, -0.5, 0.6)
            m.momentum = None  # cumulative: the statistics of what is seen next
        model.train()
        model(images)
        for m in norms:
            m.momentum = 0.03
            std = (m.running_var + 1e-3).sqrt()
            m.running_mean += torch.randn(std.shape, generator=g) * 0.15 * std
            m.running_var *= torch.rand(std.shape, generator=g) + 0.6
            m.num_batches_tracked.fill_(1234)
        head = model.model[-1]
        if task == "classify":
            head.linear.weight.copy_(torch.randn(head.linear.weight.shape, generator=g) * 0.08)
            head.linear.bias.copy_(torch.randn(head.linear.bias.shape, generator=g) * 0.5)
        elif task == "semantic":
            head.classifier[-1].weight.mul_(1.4)
        elif task == "depth":  # beyond the limits of -4 and 5 in places
            head.head[-1].weight.mul_(3.0)
            head.cal_a.fill_(0.9)
            head.cal_b.fill_(0.2)
        else:
            boxes, classes = final_convolutions(head, torch)
            for m in classes:  # logits: about N(-0.5, 1.5)
                m.weight.mul_(1.4)
                m.bias.copy_(torch.randn(m.bias.shape, generator=g) * 0.6 - 0.5)
            for m in boxes:  # without DFL these are the distances themselves, in strides
                m.bias.copy_(torch.randn(m.bias.shape, generator=g) * 0.5 + 2.5 * (head.reg_max == 1))
    model.eval()


def build(case: Case, torch: Any, release: Path, images: Any) -> Any:
    import yaml
    from ultralytics.nn import tasks

    if isinstance(case.cfg, dict):
        cfg = deepcopy(case.cfg)
    else:
        cfg = yaml.safe_load((release / "ultralytics/cfg/models" / case.cfg).read_text())
    cfg.update(nc=case.nc, depth_multiple=case.depth, width_multiple=case.width, yaml_file=f"{case.name}.yaml")
    if case.release != "8.0.0":
        cfg.update(scales={case.scale: [case.depth, case.width, 1024]}, scale=case.scale)
    if case.reg_max is not None:
        cfg["reg_max"] = case.reg_max
    if case.activation is not None:
        cfg["activation"] = case.activation
    if case.kpt_shape is not None:
        cfg["kpt_shape"] = list(case.kpt_shape)
    if case.end2end is not None:
        cfg["end2end"] = case.end2end
    name = "YOLOv10DetectionModel" if case.release == THU else MODELS[case.task]
    model = getattr(tasks, name)(cfg, ch=3, nc=case.nc, verbose=False)
    randomise(model, images, torch, case.task)
    return model


def training_args(case: Case) -> Any:
    """What the trainer holds as `args`, paths relative."""
    overrides = {"task": case.task, "model": f"{case.name}.yaml", "data": "data.yaml", "epochs": 10, "imgsz": 64}
    if case.release == "8.0.0":
        from ultralytics.yolo.configs import get_config
        from ultralytics.yolo.utils import DEFAULT_CONFIG

        return get_config(DEFAULT_CONFIG, overrides)
    from ultralytics.cfg import get_cfg

    args = get_cfg(overrides=overrides)
    args.save_dir = f"runs/{case.task}/train"
    return args


def save(case: Case, model: Any, torch: Any, folder: Path) -> Path:
    """Save as the release's trainer does; returns best.pt or last.pt."""
    if case.release == "8.0.0":
        from ultralytics.yolo.engine import trainer as engine
        from ultralytics.yolo.utils import torch_utils
    else:
        from ultralytics.engine import trainer as engine
        from ultralytics.utils import torch_utils
    for module in (engine, torch_utils):
        if hasattr(module, "datetime"):
            module.datetime = FixedDate

    args = training_args(case)
    names = dict(enumerate(NAMES[i] if i < len(NAMES) else f"class {i}" for i in range(case.nc)))
    model.names = names
    if case.task != "classify":
        model.nc, model.args = case.nc, args
    if case.kpt_shape is not None:
        model.kpt_shape = list(case.kpt_shape)
        if case.release == NEW:
            model.kpt_oks_sigmas = None
            model.kpt_names = {i: [str(k) for k in range(case.kpt_shape[0])] for i in range(case.nc)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.937, nesterov=True)
    ema = torch_utils.ModelEMA(model)
    if hasattr(ema.ema, "init_criterion"):  # validation ran the loss on it
        ema.ema.criterion = ema.ema.init_criterion()
    ema.ema.eval()(torch.zeros(1, 3, *case.hw[::-1]))  # and left anchors of its last batch in the head
    if case.save == "last":  # training went on: a step of the optimizer, and weights apart from their average
        for p in model.parameters():
            p.grad = torch.full_like(p, 0.01)
        if case.release != "8.0.0":
            optimizer.step()  # leaves momentum buffers
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1.25)

    class Trainer(engine.BaseTrainer):  # type: ignore[misc, name-defined]  # the release's own
        def __init__(self) -> None:
            pass

    number = float if case.release == NEW else np.float64
    trainer = Trainer()
    attributes = {
        "model": model,
        "ema": ema,
        "optimizer": optimizer,
        "scaler": torch.amp.GradScaler(enabled=False),
        "args": args,
        "epoch": 9,
        "fitness": number(0.5),
        "best_fitness": number(0.5),
        "metrics": {"metrics/mAP50(B)": number(0.75), "val/box_loss": number(1.25)},
        "stopper": types.SimpleNamespace(best_fitness=0.5, best_epoch=9),
        "save_period": -1,
        "csv": folder / "results.csv",
        "wdir": folder,
        "last": folder / "last.pt",
        "best": folder / "best.pt",
    }
    for key, value in attributes.items():
        setattr(trainer, key, value)
    ema.updates = 4321
    trainer.csv.write_text("epoch,train/box_loss,metrics/mAP50(B)\n0,2.5,0.5\n1,2.25,0.75\n")
    trainer.save_model()
    if case.save == "last":
        return folder / "last.pt"
    torch_utils.strip_optimizer(str(folder / "best.pt"))
    if case.fuse != "no":
        fuse(case, folder / "best.pt", torch)
    return folder / "best.pt"


def fuse(case: Case, path: Path, torch: Any) -> None:
    """What `YOLO.save` writes after the model was fused for prediction."""
    ckpt = torch.load(path, map_location="cpu")
    model = ckpt["model"].float().eval()
    if hasattr(type(model), "end2end"):
        model.end2end = case.fuse == "one2one"
    model.fuse(verbose=False)
    torch.save({**ckpt, "model": deepcopy(model).half()}, path)


def once(model: Any, x: Any, task: str, torch: Any) -> dict[str, Any]:
    """One forward pass in eval mode, as arrays without the batch axis."""
    head = model.model[-1]
    dense: list[Any] = []
    if hasattr(head, "postprocess"):
        original = head.postprocess

        def keep(preds: Any, *args: Any, **kwargs: Any) -> Any:
            dense.append(preds.permute(0, 2, 1))
            return original(preds, *args, **kwargs)

        head.postprocess = keep
    with torch.no_grad():
        out = model(x)
    if dense:
        del head.postprocess
    if isinstance(out, dict):  # THU-MIG's package takes the top-k outside of the model
        from ultralytics.utils import ops

        many, best = (out[key][0] for key in ("one2many", "one2one"))
        rows = torch.cat((ops.xywh2xyxy(best.permute(0, 2, 1)[..., :4]), best.permute(0, 2, 1)[..., 4:]), -1)
        boxes, scores, labels = ops.v10postprocess(rows, min(300, rows.shape[1]), head.nc)
        topk = torch.cat((boxes, scores[..., None], labels[..., None].to(boxes.dtype)), -1)
        return {"pred": many[0], "pred_one2one": rows[0].T, "topk": topk[0]}
    if task in MAPS:
        return {"map": out[0]}
    if task == "classify":
        return {"probs": out[0][0], "logits": out[1][0]} if isinstance(out, tuple) else {"probs": out[0]}
    y, extra = out[0], out[1]
    arrays = {}
    if task == "segment":
        y, proto = y if isinstance(y, tuple) else (y, extra[-1])
        arrays["proto"] = proto[0]
    if dense:
        return {**arrays, "pred_one2one": dense[0][0], "topk": y[0]}
    return {**arrays, "pred": y[0]}


def record(case: Case, path: Path, torch: Any, x8: np.ndarray) -> dict[str, Any]:
    ckpt = torch.load(path, map_location="cpu")
    source = "ema" if ckpt.get("ema") is not None else "model"
    model = ckpt[source].float().eval()
    head = model.model[-1]
    x = torch.from_numpy(x8).float() / 255
    one2one = getattr(head, "one2one_cv2", None) is not None
    one2many = getattr(head, "cv2", None) is not None
    selectable = getattr(type(head), "end2end", None) is not None and getattr(type(head).end2end, "fset", None)
    results = once(model, x, case.task, torch)
    default = "one2one" if "topk" in results else "one2many"
    if selectable and one2one and one2many:
        model.end2end = default == "one2many"
        results |= once(model, x, case.task, torch)
    arrays = {"input": x8, **{k: v.numpy().astype(np.float32) for k, v in results.items()}}
    kinds = sorted({f"{type(m).__module__}.{type(m).__name__}" for m in model.modules()})
    import cv2

    meta = {
        "case": case.name,
        "release": case.release,
        "task": case.task,
        "nc": case.nc,
        "special": case.special,
        "weights_from": source,
        "names": {str(k): v for k, v in model.names.items()},
        "kpt_shape": case.kpt_shape,
        "input_hw": list(case.hw),
        "classes": kinds,
        "torch": torch.__version__,
        "opencv": cv2.__version__,
    }
    if case.task == "classify":
        spread = float(arrays["probs"].std())
    elif case.task in MAPS:
        spread = float(arrays["map"].std())
        meta["head"] = type(head).__name__
        if case.task == "semantic":
            shares = np.bincount((arrays["map"].argmax(0) if case.nc > 1 else arrays["map"][0] > 0).ravel())
            assert (shares / shares.sum()).max() < 0.8, f"one class takes the map: {shares}"
    else:
        arrays["strides"] = head.stride.float().numpy()
        meta |= {
            "head": type(head).__name__,
            "reg_max": head.reg_max,
            "has_one2many": one2many,
            "has_one2one": one2one,
            "default_head": default,
            "end2end": default == "one2one",
        }
        dense = arrays.get("pred", arrays.get("pred_one2one"))
        assert dense is not None
        scores = dense[4 : 4 + case.nc]
        meta["score_min_mean_max"] = [round(float(v), 4) for v in (scores.min(), scores.mean(), scores.max())]
        spread = float(scores.std())
        cells = sum((case.hw[0] // int(s)) * (case.hw[1] // int(s)) for s in arrays["strides"])
        assert dense.shape[1] == cells, (dense.shape, cells)
        assert float(dense[2].std()) > 0.5, "boxes hardly vary"
    for key, value in arrays.items():
        assert np.isfinite(value).all(), key
    assert spread > 0.02, f"scores hardly vary: {spread}"
    meta["spread"] = round(spread, 4)
    return {**arrays, "meta": np.array(json.dumps(meta))}


def make_case(case: Case, releases: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        release = releases / case.release
        torch = prepare(release)
        if not case.dill:
            sys.modules["dill"] = None  # type: ignore[assignment]  # so that an import of it fails
        torch.manual_seed(zlib.crc32(case.name.encode()))
        rng = np.random.default_rng([zlib.crc32(case.name.encode()), 1])
        x8 = image(case.hw, rng)
        others = [image(case.hw, rng) for _ in range(15)]  # coarse levels have few cells an image
        model = build(case, torch, release, torch.from_numpy(np.concatenate([x8, *others])).float() / 255)
        path = save(case, model, torch, Path(scratch))
        arrays = record(case, path, torch, x8)
        np.savez_compressed(out / f"{case.name}.npz", **arrays)
        (out / f"{case.name}.pt").write_bytes(path.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", type=Path, help="folder with one release of the package a folder (8.0.0 ...)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", help="make this one alone, in this process")
    parser.add_argument("--readme", action="store_true", help="write README.md alone")
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if args.readme:
        write_readme(out)
        return
    releases = args.releases.resolve()
    if args.case:
        make_case(next(c for c in CASES if c.name == args.case), releases, out)
        return
    failed = []
    for case in CASES:
        command = [
            sys.executable,
            "-m",
            "tests.data.ultralytics.make_vectors",
            "--releases",
            str(releases),
            "--out",
            str(out),
            "--case",
            case.name,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        size = (out / f"{case.name}.pt").stat().st_size / 1024 if done.returncode == 0 else 0
        result = f"{size:6.0f} KB" if size else f"FAILED\n{done.stderr[-1500:]}"
        print(f"{case.name:20s} {result}", flush=True)
        failed += [case.name] * bool(done.returncode)
    write_readme(out)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()

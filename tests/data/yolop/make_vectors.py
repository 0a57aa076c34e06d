"""Make the YOLOP reference vectors: checkpoints, ONNX files and outputs written by the real upstream code.

Each case builds a tiny seeded MCnet with upstream's own block list (its channel numbers scaled down), saves it as
upstream's tools/train.py does, reads the file back with torch and records what upstream's forward pass answers for a
stored image.  Nothing of the upstream code is kept here: the block list is read from upstream when this runs.

    git clone https://github.com/hustvl/YOLOP upstream
    pip install "torch>=2.6" "numpy<2" opencv-python matplotlib scipy tqdm pyyaml yacs prefetch_generator pillow \
        onnx onnxruntime onnxsim
    python -m tests.data.yolop.make_vectors --upstream upstream --out tests/data/yolop

torchvision is not needed (a stand-in takes its place).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import types
import zlib
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MEAN_RGB, STD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES_ONNX = ("det_out", "drive_area_seg", "lane_line_seg")
NAMES_ONNX_STRIDES = ("det_stride_8", "det_stride_16", "det_stride_32", *NAMES_ONNX[1:])

# Channel numbers of the block list and what takes their place.  Where two tensors are joined the sum must be in the
# table too: 128 + 128 = 256 and 256 + 256 = 512.  3 (the image) and 2 (the masks) stay.
NARROW = {8: 4, 16: 4, 32: 4, 64: 4, 128: 4, 256: 8, 512: 16}
UNEVEN = {8: 6, 16: 10, 32: 6, 64: 8, 128: 6, 256: 12, 512: 24}


@dataclass(frozen=True)
class Case:
    name: str
    special: str
    save: str = "train"  # train: what save_checkpoint writes; state: the bare state_dict of final_state.pth
    hw: tuple[int, int] = (64, 96)
    channels: tuple[tuple[int, int], ...] = tuple(NARROW.items())
    nc: int = 1
    repeats: tuple[tuple[int, int], ...] = ()  # layer of the block list, its number of bottlenecks
    anchors: str = "list"  # list: upstream's own; other: of another number; auto: replaced after the build
    onnx: bool = False


CASES = (
    Case("end_to_end", "train.py's checkpoint with Adam's state; upstream's own anchors; ONNX files", onnx=True),
    Case(
        "final_state",
        "bare state_dict as train.py's final_state.pth; anchors replaced after the build, as run_anchor leaves them",
        save="state",
        anchors="auto",
        hw=(64, 32),
    ),
    Case(
        "uneven",
        "3 classes, 2 anchors a level, other widths and repeats: all of it to be read from the shapes",
        save="state",
        hw=(64, 64),
        channels=tuple(UNEVEN.items()),
        nc=3,
        repeats=((4, 1), (6, 2), (23, 2)),
        anchors="other",
    ),
)


def prepare(upstream: Path) -> Any:
    """torch, with upstream importable and a torchvision that satisfies its imports."""
    os.environ["MPLCONFIGDIR"] = os.environ["HOME"] = os.getcwd()
    import torch

    torch.set_num_threads(1)

    class Anything(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Anything(f"{self.__name__}.{name}")

    for name in ("torchvision", "torchvision.ops", "torchvision.transforms"):
        module = sys.modules[name] = Anything(name)
        module.__path__ = []
    sys.path.insert(0, str(upstream))
    return torch


def anchors_px(levels: int, na: int, rng: np.random.Generator) -> list[list[float]]:
    """(levels, 2 * na): small odd sizes that grow with the level."""
    rows = []
    for level in range(levels):
        wh = 7.0 * 2.1**level * rng.uniform(0.5, 2.0, (na, 2)) * np.linspace(0.7, 1.6, na)[:, None]
        rows.append([round(float(v), 2) for v in wh[np.argsort(wh.prod(1))].reshape(-1)])
    return rows


def block_list(upstream_list: list[Any], case: Case, anchors: list[list[float]] | None) -> list[Any]:
    """Upstream's list with the case's channels, repeats, classes and anchors."""
    table = {2: 2, 3: 3, **dict(case.channels)}
    out = [list(upstream_list[0])]
    for i, (source, block, args) in enumerate(upstream_list[1:]):
        args = deepcopy(args)  # noqa: PLW2901
        if block.__name__ in ("Focus", "Conv", "SPP", "BottleneckCSP"):
            args[:2] = [table[c] for c in args[:2]]
        elif block.__name__ == "Detect":
            args = [case.nc, anchors or args[1], [table[c] for c in args[2]]]  # noqa: PLW2901
        if i in dict(case.repeats):
            args[2] = dict(case.repeats)[i]
        out.append([source, block, args])
    return out


def image(hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(1, 3, H, W) uint8 RGB: smooth blobs in few steps, which compress well."""
    import cv2

    h, w = hw
    coarse = rng.uniform(-60, 315, (max(h // 16, 4), max(w // 16, 4), 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    stepped = np.clip(np.round(smooth / 17) * 17, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(stepped.transpose(2, 0, 1)[None])


def normalised(x8: np.ndarray, torch: Any) -> Any:
    """What ToTensor and Normalize of upstream's training make of an RGB image."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN_RGB, STD_RGB))
    return (torch.from_numpy(x8).float() / 255 - mean) / std


def randomise(model: Any, x: Any, seen: Any, torch: Any) -> None:
    """Weights and BatchNorms such that folding matters, activations stay sane and outputs spread.

    `x` is the image of the case, `seen` (n, 3, H, W) what the BatchNorms take their statistics from.
    """
    nn = torch.nn
    g = torch.Generator().manual_seed(7)

    def uniform(t: Any, lo: float, hi: float) -> None:
        t.copy_(torch.rand(t.shape, generator=g) * (hi - lo) + lo)

    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, nn.Conv2d):
                m.weight.copy_(torch.randn(m.weight.shape, generator=g) * (1.5 / m.weight[0].numel()) ** 0.5)
                if m.bias is not None:
                    m.bias.copy_(torch.randn(m.bias.shape, generator=g) * 0.1)
        for m in norms:
            uniform(m.weight, 0.4, 0.9)
            uniform(m.bias, -0.2, 0.8)
            m.num_batches_tracked.fill_(1234)

        def near(norm: Any, inputs: tuple[Any]) -> None:
            """Statistics near those of what arrives, so that no layer dies; a still channel is not blown up."""
            mean, var = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3), unbiased=False).clamp(0.25)
            norm.running_mean = mean + torch.randn(mean.shape, generator=g) * 0.15 * (var + 1e-3).sqrt()
            norm.running_var = var * (torch.rand(var.shape, generator=g) + 0.6)

        model.eval()
        hooks = [m.register_forward_pre_hook(near) for m in norms]
        model(seen)
        for hook in hooks:
            hook.remove()
        detect = model.model[model.detector_index]
        for m in detect.m:
            m.weight.mul_(1.4)
            b = m.bias.view(detect.na, -1)
            b.copy_(torch.randn(b.shape, generator=g) * 0.6)
            b[:, 4] -= 0.5
        for index in model.seg_out_idx:  # both classes of each mask somewhere in the image
            norm, planes = model.model[index].bn, []
            norm.weight.fill_(0.6)
            hook = norm.register_forward_hook(lambda _m, _x, y, planes=planes: planes.append(y))
            model(x)
            hook.remove()
            apart = planes[0][:, 0] - planes[0][:, 1]
            lift = 0.8 - planes[0].mean()  # above Hardswish's minimum at -1.5, below which it turns
            norm.bias += torch.stack([lift, lift + apart.quantile(0.4)])


def build(case: Case, x: Any, rng: np.random.Generator, torch: Any) -> Any:
    """The tiny upstream model of the case, in eval mode."""
    from lib.models.YOLOP import YOLOP, MCnet

    anchors = anchors_px(3, 2, rng) if case.anchors == "other" else None
    model = MCnet(block_list(YOLOP, case, anchors))
    detect = model.model[model.detector_index]
    if case.anchors == "auto":  # as upstream's run_anchor leaves the module
        new = torch.tensor(anchors_px(3, detect.na, rng)).view_as(detect.anchors)
        detect.anchor_grid[:] = new.view_as(detect.anchor_grid)
        detect.anchors[:] = new / detect.stride.view(-1, 1, 1)
    seen = torch.cat([x, *(normalised(image(case.hw, rng), torch) for _ in range(3))])
    randomise(model, x, seen, torch)
    return model


def save(case: Case, model: Any, path: Path, torch: Any) -> None:
    from lib.utils.utils import save_checkpoint

    if case.save == "state":
        torch.save(model.state_dict(), path)
        return
    weights = deepcopy(model.state_dict())
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.001, betas=(0.937, 0.999))
    for p in model.model[model.detector_index].parameters():  # moments of the head are enough for a small file
        p.grad = torch.full_like(p, 0.01)
    optimizer.step()
    model.load_state_dict(weights)
    save_checkpoint(239, "", model, optimizer, str(path.parent), path.name)


def export(model: Any, case: Case, x: Any, out: Path, torch: Any) -> None:
    """Two ONNX files, as export_onnx.py writes them: its own class, opset 12, simplified.

    The second one has what exporters for ncnn give instead of `det_out`: each level's raw numbers, (1, na * ny * nx,
    5 + nc), before any sigmoid.
    """
    import export_onnx
    import onnx
    import onnxruntime
    import onnxsim

    upstream = export_onnx.MCnet(block_list(export_onnx.YOLOP, case, None))
    upstream.load_state_dict(model.state_dict())
    upstream.eval()

    class Strides(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = upstream

        def forward(self, image_: Any) -> tuple[Any, ...]:
            detect = self.net.model[self.net.detector_index]
            self.net.training = detect.training = True  # read by these two forwards alone: the levels stay raw
            raw, drive, lane = self.net(image_)
            return (*(level.view(1, -1, detect.no) for level in raw), drive, lane)

    for name, names in ((case.name, NAMES_ONNX), (f"{case.name}_strides", NAMES_ONNX_STRIDES)):
        module = upstream if names is NAMES_ONNX else Strides()
        path = out / f"{name}.onnx"
        torch.onnx.export(
            module, x, str(path), opset_version=12, input_names=["images"], output_names=list(names), dynamo=False
        )
        simplified, same = onnxsim.simplify(onnx.load(path), check_n=3)
        assert same
        onnx.save(simplified, path)
        answers = onnxruntime.InferenceSession(path).run(list(names), {"images": x.numpy()})
        with torch.no_grad():
            (pred, raw), drive, lane = model(x)
        expected = [pred] if names is NAMES_ONNX else [level.view(1, -1, level.shape[-1]) for level in raw]
        for got, want in zip(answers, [*expected, drive, lane], strict=True):
            assert np.abs(got - want.numpy()).max() < 1e-3 * max(1.0, float(want.abs().max())), name


def record(case: Case, path: Path, model: Any, x8: np.ndarray, torch: Any) -> dict[str, Any]:
    ckpt = torch.load(path, map_location="cpu", weights_only=False)
    state = ckpt if case.save == "state" else ckpt["state_dict"]
    model.load_state_dict(state)
    model.eval()
    with torch.no_grad():
        (pred, raw), drive, lane = model(normalised(x8, torch))
        exact = deepcopy(model).double()(normalised(x8, torch).double())
    # What single precision costs, boxes as a share of their size: no case where the order of sums shows.
    pairs = zip((pred, drive, lane), (exact[0][0], *exact[1:]), strict=True)
    gap = max(float(((a - b).abs() / b.abs().clamp(1.0)).max()) for a, b in pairs)
    assert gap < 5e-5, f"ill-conditioned: {gap}"
    detect = model.model[model.detector_index]
    norms = {m.eps for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert norms == {1e-3}, norms
    arrays: dict[str, Any] = {
        "input": x8,
        "pred": pred[0].numpy(),
        "drive_area_seg": drive.numpy(),
        "lane_line_seg": lane.numpy(),
        "anchors_px": detect.anchor_grid.view(detect.nl, -1, 2).numpy(),
        "strides": detect.stride.numpy(),
    }
    arrays |= {f"raw_{int(s)}": level.numpy() for s, level in zip(detect.stride.tolist(), raw, strict=True)}
    for key, value in arrays.items():
        assert np.isfinite(value).all(), key
    assert arrays["pred"][:, 4].std() > 0.02, "scores hardly vary"
    shares = {}
    for key in NAMES_ONNX[1:]:
        share = float((arrays[key][0, 1] > arrays[key][0, 0]).mean())
        assert 0.1 < share < 0.9, f"{key}: one class everywhere ({share})"
        shares[key] = round(share, 3)
    meta = {
        "case": case.name,
        "special": case.special,
        "saved": "checkpoint" if case.save == "train" else "state_dict",
        "nc": detect.nc,
        "input_hw": list(case.hw),
        "parameters": sum(p.numel() for p in model.parameters()),
        "mask_share": shares,
        "float32_gap": gap,
        "torch": torch.__version__,
    }
    return {**arrays, "meta": np.array(json.dumps(meta))}


def make_case(case: Case, out: Path, torch: Any) -> None:
    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x8 = image(case.hw, rng)
    x = normalised(x8, torch)
    model = build(case, x, rng, torch)
    path = out / f"{case.name}.pth"
    save(case, model, path, torch)
    np.savez_compressed(out / f"{case.name}.npz", **record(case, path, model, x8, torch))
    if case.onnx:
        export(model, case, x, out, torch)


def real_facts(torch: Any) -> list[str]:
    """What the published width has: parameters, keys, output shapes."""
    from lib.models.YOLOP import YOLOP, MCnet

    model = MCnet(YOLOP).eval()
    with torch.no_grad():
        (pred, _), drive, lane = model(torch.zeros(1, 3, 640, 640))
    state = model.state_dict()
    lines = [
        f"The published width has {sum(p.numel() for p in model.parameters()):,} parameters and {len(state)} keys; at",
        f"640x640 it gives {tuple(pred.shape)}, {tuple(drive.shape)} and {tuple(lane.shape)}.  BatchNorm's eps is",
        "1e-3 throughout (no key says so).  Its keys, layer by layer",
        "(`.bn` stands for weight, bias, running_mean, running_var, num_batches_tracked):",
        "",
        "| layer | keys and shapes |",
        "|---:|---|",
    ]
    layers: dict[int, list[str]] = {}
    for key, value in state.items():
        _, index, rest = key.split(".", 2)
        stem, leaf = rest.rsplit(".", 1) if "." in rest else ("", rest)
        if leaf in ("running_mean", "running_var", "num_batches_tracked"):
            continue
        if stem.split(".")[-1] == "bn":
            if leaf == "weight":
                layers.setdefault(int(index), []).append(f"`{stem}` {value.numel()}")
            continue
        layers.setdefault(int(index), []).append(f"`{rest}` {'x'.join(map(str, value.shape))}")
    return [*lines, *(f"| {i} | {', '.join(keys)} |" for i, keys in sorted(layers.items()))]


def write_readme(out: Path, torch: Any) -> None:
    import onnx

    lines = [
        "# YOLOP reference vectors",
        "",
        "Written by `make_vectors.py` (see its docstring) with the real upstream code; do not edit by hand.  The",
        "weights are random and seeded; the files hold no upstream source code.",
        "",
        "`<case>.pth` is the checkpoint: `checkpoint` means a dict of epoch, model (a name), state_dict and optimizer,",
        "which is what upstream's `save_checkpoint` writes and its demo reads; `state_dict` means that dict alone.",
        "`<case>.npz` holds `input` (1, 3, H, W) uint8 RGB, fed as (input / 255 - mean) / std with ImageNet's mean",
        f"{MEAN_RGB} and std {STD_RGB}; `pred` (rows, 5 + nc) float32, the decoded boxes of",
        "all levels in upstream's order (level, anchor, row, column; xywh px, objectness, classes); `raw_<stride>`",
        "(1, na, ny, nx, 5 + nc), the head's numbers before the sigmoid; `drive_area_seg` and `lane_line_seg`",
        "(1, 2, H, W), after the sigmoid, plane 1 is the class; `anchors_px` (3, na, 2), `strides` (3,); `meta`, JSON.",
        "",
        "`end_to_end.onnx` is upstream's export of that case; `end_to_end_strides.onnx` has each level's raw numbers",
        "(1, na * ny * nx, 5 + nc) in place of `det_out`, as exporters for ncnn write it.",
        "",
        "| case | what is special | saved | nc | input | parameters | mask share | .pth KB | .npz KB |",
        "|---|---|---|---:|---|---:|---|---:|---:|",
    ]
    total = 0
    for case in CASES:
        npz, pth = out / f"{case.name}.npz", out / f"{case.name}.pth"
        with np.load(npz) as data:
            meta = json.loads(str(data["meta"]))
        sizes = [p.stat().st_size for p in (pth, npz)]
        total += sum(sizes)
        h, w = meta["input_hw"]
        lines.append(
            f"| {case.name} | {meta['special']} | {meta['saved']} | {meta['nc']} | {h}x{w} | {meta['parameters']:,} | "
            f"{' '.join(str(v) for v in meta['mask_share'].values())} | {sizes[0] / 1024:.0f} | {sizes[1] / 1024:.0f} |"
        )
    lines += ["", "| ONNX file | outputs | KB |", "|---|---|---:|"]
    for path in sorted(out.glob("*.onnx")):
        outputs = onnx.load(path).graph.output
        dims = [f"{o.name} {'x'.join(str(d.dim_value) for d in o.type.tensor_type.shape.dim)}" for o in outputs]
        total += path.stat().st_size
        lines.append(f"| {path.name} | {', '.join(dims)} | {path.stat().st_size / 1024:.0f} |")
    lines += ["", f"{total / 1e6:.1f} MB in all, made with torch {torch.__version__}, numpy {np.__version__}.", ""]
    lines += [*real_facts(torch), ""]
    (out / "README.md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", type=Path, required=True, help="a YOLOP checkout")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    upstream, out = args.upstream.resolve(), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        torch = prepare(upstream)
        for case in CASES:
            make_case(case, out, torch)
            print(f"{case.name:14s} {(out / f'{case.name}.pth').stat().st_size / 1024:6.0f} KB", flush=True)
        write_readme(out, torch)


if __name__ == "__main__":
    main()

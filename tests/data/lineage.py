"""Recorder for training packages of YOLOv5's lineage: small seeded models, their files, and what their code computes.

Each family's `make_vectors.py` names its cases and calls `main`.  A case builds a tiny model from upstream's own
configuration or layers of ours, saves it as upstream's train.py does, reads the file back with torch and records what
upstream's forward pass answers for a stored image.  Nothing of the upstream code is kept here.
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
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tests.data.yolor.make_vectors import anchors_px, image, kept_rows, pickle_globals, randomise, stand_ins

NAMES = ("bolt", "nut", "washer")
Layers = dict[str, list[list[Any]]]


@dataclass(frozen=True)
class Case:
    """One recorded model.

    Attributes:
        name: of its files.
        special: what is special about it, for the README.
        cfg: a path of upstream's, or layers of our own.
        hw: height and width of the image.
        nc: number of classes.
        keys: further keys of the configuration, such as the number of keypoints.
        width: of the channels; upstream rounds up to a multiple of 8.
        depth: of repeated blocks.
        save: final (stripped, half) or last (float32).
        change: applied to the model before it is saved, such as re-parameterizing its blocks.
    """

    name: str
    special: str
    cfg: str | Layers
    hw: tuple[int, int] = (64, 96)
    nc: int = 3
    keys: tuple[tuple[str, Any], ...] = ()
    width: float = 1 / 64
    depth: float = 0.1
    save: str = "final"
    change: Callable[[Any], None] | None = None


def prepare(upstream: Path) -> Any:
    """torch, with the upstream code importable."""
    os.environ["MPLCONFIGDIR"] = os.environ["HOME"] = os.getcwd()
    import torch

    torch.set_num_threads(1)
    load = torch.load
    torch.load = lambda *a, **k: load(*a, **{"weights_only": False, **k})
    stand_ins(wavelets=False)
    counter = sys.modules["thop"] = types.ModuleType("thop")  # counts operations; yolov5-face imports it for its main
    counter.profile = counter.clever_format = None  # type: ignore[attr-defined]
    sys.path.insert(0, str(upstream))
    return torch


def build(case: Case, upstream: Path, rng: np.random.Generator) -> Any:
    """The case's model as upstream's code makes it, not yet randomised."""
    import yaml
    from models.yolo import Model

    own = isinstance(case.cfg, dict)
    cfg = deepcopy(case.cfg) if isinstance(case.cfg, dict) else yaml.safe_load((upstream / case.cfg).read_text())
    head = cfg["head"][-1]
    per_level = len(cfg["anchors"][0]) // 2 if isinstance(cfg.get("anchors"), list) else 3
    levels = len(head[0]) // 2 if "Aux" in head[2] else len(head[0])
    cfg["anchors"] = anchors_px(levels, per_level, rng)
    depth = 1.0 if own else case.depth
    cfg.update(nc=case.nc, depth_multiple=depth, width_multiple=case.width, **dict(case.keys))
    return Model(cfg)


def record(case: Case, upstream: Path, out: Path) -> None:
    """Make one case's checkpoint and what upstream computes from it."""
    torch = prepare(upstream)
    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x8 = image(case.hw, rng)
    model = build(case, upstream, rng)
    detect = model.model[-1]
    convs = [c for name in ("m", "m2") for c in getattr(detect, name, ())]
    seen = torch.from_numpy(np.concatenate([x8, *(image(case.hw, rng) for _ in range(3))])).float() / 255
    randomise(model, seen, torch, convs, detect.na)
    if case.change is not None:
        case.change(model)
    model.nc, model.names = case.nc, list(NAMES[: case.nc])
    for module in model.modules():  # grids of the last run are no part of a saved model
        if isinstance(getattr(module, "grid", None), list):
            module.grid = [torch.zeros(1)] * len(module.grid)
    path = out / f"{case.name}.pt"
    stored = deepcopy(model).half() if case.save == "final" else model
    torch.save({"epoch": -1, "best_fitness": np.array([0.4]), "model": stored, "optimizer": None}, path)

    def run(net: Any, x: Any) -> Any:
        return net.eval()(x)[0][0].numpy()

    read = torch.load(path, map_location="cpu")["model"].float()
    with torch.no_grad():
        pred = run(read, torch.from_numpy(x8).float() / 255)
        exact = run(deepcopy(read).double(), torch.from_numpy(x8).double() / 255)
    # What single precision costs, boxes as a share of their size: no case where the order of sums shows.
    gap = np.abs(pred - exact) / np.maximum(1.0, np.abs(exact))
    assert gap.max() < 5e-5, f"ill-conditioned: {gap.max()}"
    strides = detect.stride.float()
    counts = [detect.na * int(case.hw[0] / s) * int(case.hw[1] / s) for s in strides.tolist()]
    assert sum(counts) == len(pred), (counts, pred.shape)
    assert np.isfinite(pred).all()
    assert pred[:, 4].std() > 0.05, f"scores hardly vary: {pred[:, 4].std()}"
    rows = kept_rows(len(pred), counts, rng)
    meta = {
        "case": case.name,
        "special": case.special,
        "nc": case.nc,
        "names": list(NAMES[: case.nc]),
        "input_hw": list(case.hw),
        "rows_total": len(pred),
        "float32_gap": float(gap.max()),
        "torch": torch.__version__,
    }
    np.savez_compressed(
        out / f"{case.name}.npz",
        input=x8,
        rows=rows,
        pred=pred[rows].astype(np.float32),
        anchors_px=read.model[-1].anchor_grid.float().view(detect.nl, -1, 2).numpy(),
        strides=strides.numpy(),
        meta=np.array(json.dumps(meta)),
    )


ANCHOR_ARRAYS = (
    "output at `rows` of all rows (level, anchor, row, column); `anchors_px` (nl, na, 2) and `strides` (nl,);\n"
    "`meta`, a JSON string."
)
POINT_ARRAYS = (
    "output (columns, rows) before any top-k or suppression; `strides` (nl,); `proto`, prototypes of a\n"
    "segmentation; `meta`, a JSON string."
)


class NamedCase(Protocol):
    """A recorded model, for the README's table."""

    @property
    def name(self) -> str: ...

    @property
    def special(self) -> str: ...

    @property
    def hw(self) -> tuple[int, int]: ...


def case_table(out: Path, cases: Sequence[NamedCase], suffix: str = ".pt") -> list[str]:
    """Lines of a README: the recorded cases, the versions they were made with, and the names their pickles hold.

    Args:
        out: folder of the files `<case><suffix>` and `<case>.npz`.
        cases: the models.
        suffix: of a checkpoint.
    """
    lines = [f"| case | what is special | input | rows | {suffix} KB | .npz KB |", "|---|---|---|---:|---:|---:|"]
    seen: set[str] = set()
    made: set[str] = set()
    for case in cases:
        checkpoint, npz = out / f"{case.name}{suffix}", out / f"{case.name}.npz"
        with np.load(npz) as data:
            meta = json.loads(str(data["meta"]))
        made.add(f"torch {meta['torch']}")
        seen |= pickle_globals(checkpoint)
        lines.append(
            f"| {case.name} | {case.special} | {case.hw[0]}x{case.hw[1]} | {meta['rows_total']} | "
            f"{checkpoint.stat().st_size / 1024:.0f} | {npz.stat().st_size / 1024:.0f} |"
        )
    return [
        *lines,
        "",
        f"Made with {' and '.join(sorted(made))}.",
        "",
        "Globals named by these pickles:",
        "",
        *(f"- `{g}`" for g in sorted(seen)),
    ]


def write_readme(out: Path, title: str, about: Sequence[str], arrays: str, cases: Sequence[Case]) -> None:
    """The folder's README: what is recorded, in which arrays, and which names its pickles hold."""
    lines = [
        f"# {title} reference vectors",
        "",
        "Written by `make_vectors.py` (see its docstring) with the real upstream code; do not edit by hand.  The",
        "weights are random and seeded, the checkpoints hold no upstream source code.",
        "",
        *about,
        "",
        "`<case>.npz` holds `input` (1, 3, H, W) uint8 RGB, fed as input / 255; `pred` float32, upstream's decoded",
        arrays,
        "",
        *case_table(out, cases),
    ]
    (out / "README.md").write_text("\n".join([*lines, ""]))


def main(
    module: str,
    title: str,
    about: Sequence[str],
    cases: Sequence[Case],
    make: Callable[[Case, Path, Path], None] = record,
    arrays: str = ANCHOR_ARRAYS,
) -> None:
    """Make all cases, each in a process of its own, or one.

    Args:
        module: name of the family's module, as `python -m` takes it.
        title: the family's name.
        about: lines of the README that say where the cases come from.
        cases: what to record.
        make: records one case, given upstream's folder and the one to write to; by default that of heads on anchors.
        arrays: lines of the README that say what is recorded.
    """
    parser = argparse.ArgumentParser(description=f"Make the {title} reference vectors.")
    parser.add_argument("--upstream", type=Path, required=True, help="folder of upstream's checkout")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", help="make this one alone, in this process")
    args = parser.parse_args()
    upstream, out = args.upstream.resolve(), args.out.resolve()
    if args.case:
        with tempfile.TemporaryDirectory() as scratch:
            os.chdir(scratch)
            make(next(c for c in cases if c.name == args.case), upstream, out)
        return
    failed = []
    for case in cases:
        command = [sys.executable, "-m", module, "--upstream", str(upstream), "--out", str(out), "--case", case.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{case.name:20s} {'done' if done.returncode == 0 else 'FAILED ' + done.stderr[-1500:]}", flush=True)
        failed += [case.name] * bool(done.returncode)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    write_readme(out, title, about, arrays, cases)

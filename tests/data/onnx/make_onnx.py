"""Make the ONNX fixtures with the exporters that people really use, from the checkpoints in ../yolov5.

Each case runs one release's own export script, unchanged, on one of the tiny checkpoints.  Nothing of the upstream
code is kept here.  Where the release has no command line for a form, or the form is another project's, the few lines
that make it stand in this file and the README says so.

    for tag in v3.0 v3.1 v4.0 v5.0 v6.0 v6.2 v7.0; do
        git clone --branch $tag --depth 1 https://github.com/ultralytics/yolov5 upstream/$tag
    done
    git clone https://github.com/airockchip/yolov5 upstream/airockchip
    git -C upstream/airockchip checkout f022f01  # the form of 2021
    pip install "torch>=2.9" "numpy<2" "onnx==1.18.*" onnxscript onnxsim onnxruntime opencv-python pyyaml pandas \
        matplotlib seaborn scipy tqdm requests psutil pillow ipython "setuptools<80"
    python -m tests.data.onnx.make_onnx --upstream upstream --out tests/data/onnx

`--case NAME` makes one case.  `dynamo=False` is forced on torch.onnx.export, as that was the only exporter when these
releases were made; the case `v7_dynamo` is what today's torch does with the same script.
"""

from __future__ import annotations

import argparse
import functools
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.data.yolov5 import make_vectors  # tiny models, stand-ins for torchvision and the network

CHECKPOINTS = Path(__file__).resolve().parents[1] / "yolov5"


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        name: of the file.
        tag: the release, a folder of --upstream.
        weights: the checkpoint in ../yolov5; empty where `make` makes one, which is then kept beside the file.
        special: what is different about it.
        hw: export size.
        arguments: of the release's command line (to v5.0) or of its `run` (from v6.0).
        dynamo: let torch choose its own exporter.
        make: what runs, where it is not the release's script.
        after: what is done to the finished model, by whom.
    """

    name: str
    tag: str
    weights: str
    special: str
    hw: tuple[int, int] = (64, 96)
    arguments: dict[str, Any] = field(default_factory=dict)
    dynamo: bool = False
    make: Callable[[Case, Path, Any], None] | None = None
    after: Callable[[Path], None] | None = None


# --------------------------------------------------------------------------------------------------------------------
# The releases' own scripts
# --------------------------------------------------------------------------------------------------------------------


def by_script(case: Case, weights: Path, torch: Any) -> None:
    """v3.0 to v5.0 and the fork of 2021: models/export.py has nothing but a command line."""
    import requests

    requests.get = lambda *a, **k: types.SimpleNamespace(
        json=lambda: {"assets": [], "tag_name": ""}
    )  # v4.0 asks GitHub
    torch.jit.trace = _left_out  # the TorchScript export before it; the script reports the failure and goes on
    flags = [f"--{key}" for key, on in case.arguments.items() if on]
    sys.argv = ["export.py", "--weights", str(weights), "--img-size", *map(str, case.hw), *flags]
    runpy.run_path(str(Path(sys.path[0]) / "models" / "export.py"), run_name="__main__")


def by_run(case: Case, weights: Path, torch: Any) -> None:
    """v6.0 and later: export.run."""
    import export

    export.check_requirements = lambda *a, **k: None  # pip-installs otherwise
    export.run(weights=str(weights), imgsz=list(case.hw), include=("onnx",), **case.arguments)


def _left_out(*args: Any, **keywords: Any) -> None:
    raise RuntimeError("left out")


# --------------------------------------------------------------------------------------------------------------------
# Forms without a command line on a CPU
# --------------------------------------------------------------------------------------------------------------------


def half(case: Case, weights: Path, torch: Any) -> None:
    """v7.0's --half, which refuses to run without a GPU: the same steps, then the release's own export_onnx."""
    import export
    from models.experimental import attempt_load
    from models.yolo import Detect

    export.check_requirements = lambda *a, **k: None
    model = attempt_load(str(weights), device=torch.device("cpu"), inplace=True, fuse=True).eval()
    for module in model.modules():
        if isinstance(module, Detect):
            module.inplace, module.dynamic, module.export = False, False, True
    x = torch.zeros(1, 3, *case.hw)
    for _ in range(2):
        model(x)
    x, model = x.half(), model.half()
    export.export_onnx(model, x, weights, 12, False, False)


def fork_sigmoid(case: Case, weights: Path, torch: Any) -> None:
    """The form of the airockchip fork since 2022: sigmoid of each last convolution, (1, na * no, H, W), opset 12."""
    import export
    from models.yolo import Detect

    def forward(self: Any, x: list[Any]) -> tuple[Any, ...]:
        return tuple(torch.sigmoid(conv(value)) for conv, value in zip(self.m, x, strict=True))

    Detect.forward = forward
    export.check_requirements = lambda *a, **k: None
    export.run(weights=str(weights), imgsz=list(case.hw), include=("onnx",))


def fork_2021(case: Case, weights: Path, torch: Any) -> None:
    """The fork's own script on a checkpoint of its own: its Focus is a convolution of stride 2, its activation ReLU."""
    upstream, tag = Path(sys.path[0]).parent, Path(sys.path[0]).name
    made = make_vectors.Case(case.name, tag, make_vectors.small_v5(make_vectors.CSP), case.special, save="final")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pixels = make_vectors.image(case.hw, rng)
    model = make_vectors.build(made, torch, upstream, torch.from_numpy(pixels).float() / 255)
    torch.save(make_vectors.checkpoint(made, model, torch), weights)
    make_vectors.strip(weights, made)
    np.savez_compressed(weights.with_suffix(".npz"), **make_vectors.record(made, weights, rng, torch, model, pixels))
    by_script(case, weights, torch)


def without_traces(path: Path) -> None:
    """Drop the stack traces (with file paths of the machine) that torch's newer exporter writes into every node."""
    model = onnx.load(path)
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del part.metadata_props[:]
    onnx.save(model, str(path))


def external(path: Path) -> None:
    """Weights in a file of their own, as onnx and torch write them for large models."""
    model = onnx.load(path)
    path.unlink()
    onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}.data", size_threshold=256)


CASES = (
    Case("v3_raw", "v3.0", "v3_csp_leaky", "raw 5-D outputs, no decode; LeakyReLU, Focus"),
    Case("v3_1_raw_hardswish", "v3.1", "v3_1_csp_hardswish", "raw 5-D outputs; Hardswish written out, Focus"),
    Case("v4_raw", "v4.0", "v4_s", "raw 5-D outputs; SiLU, Focus"),
    Case("v5_grid", "v5.0", "v5_autoanchor", "--grid: decoded and raw outputs; slice assignment as ScatterND",
         arguments={"grid": True}),
    Case("v5_dynamic_grid", "v5.0", "v5_p6", "--dynamic --grid; four levels", (64, 128),
         {"dynamic": True, "grid": True}),
    Case("v5_dynamic_raw", "v5.0", "v5_autoanchor", "--dynamic: raw 5-D outputs", arguments={"dynamic": True}),
    Case("v6", "v6.0", "v6_n6", "decoded and raw outputs; four levels", (64, 128)),
    Case("v6_train", "v6.0", "v6_1_small", "--train: raw 5-D outputs, constants not folded", arguments={"train": True}),
    Case("v6_2_dynamic", "v6.2", "v6_2_last", "--dynamic --inplace --opset 13: one output, names inside",
         arguments={"dynamic": True, "inplace": True, "opset": 13}),
    Case("v7_opset11", "v7.0", "v7_autoanchor", "--opset 11", arguments={"opset": 11}),
    Case("v7_opset17_simplify", "v7.0", "v7_autoanchor", "--opset 17 --simplify",
         arguments={"opset": 17, "simplify": True}),
    Case("v7_half", "v7.0", "v7_autoanchor", "--half: float16 weights, input and output", make=half),
    Case("v7_dynamo", "v7.0", "v7_autoanchor", "the exporter that torch 2.9 and later take by default",
         dynamo=True, after=without_traces),
    Case("v7_external", "v7.0", "two_anchors", "external data", after=external),
    Case("yolov3_tiny", "v7.0", "yolov3_tiny", "Pad before MaxPool; two levels"),
    Case("fork_2021", "airockchip", "", "bare 4-D convolutions, opset 10; checkpoint by the fork too", make=fork_2021),
    Case("fork_sigmoid", "v7.0", "v7_autoanchor", "4-D outputs after sigmoid", make=fork_sigmoid),
    Case("classifier", "v7.0", "cls", "no detection head", (64, 64)),
    Case("segment", "v7.0", "seg", "boxes with 16 mask fields, and prototypes"),
)  # fmt: skip


def make_case(case: Case, upstream: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        torch = make_vectors.prepare(upstream, case.tag)
        if not case.dynamo:
            torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
        weights = Path(scratch) / f"{case.name}.pt"
        if case.weights:
            shutil.copyfile(CHECKPOINTS / f"{case.weights}.pt", weights)
        script = by_script if (upstream / case.tag / "models" / "export.py").is_file() else by_run
        (case.make or script)(case, weights, torch)
        path = weights.with_suffix(".onnx")
        if case.after:
            case.after(path)
        own = () if case.weights else (weights, weights.with_suffix(".npz"))
        for file in (path, *own):
            shutil.copyfile(file, out / file.name)
        data = path.with_name(f"{path.name}.data")
        if case.after is external:  # torch's newer exporter leaves one too, but the script then saves all in one file
            shutil.copyfile(data, out / data.name)


def write_readme(out: Path) -> None:
    lines = [
        "# ONNX files of other exporters",
        "",
        "Written by `make_onnx.py` (see its docstring) with the real upstream export scripts; do not edit by hand.",
        "`checkpoint` is in `../yolov5`, whose `.npz` holds the recorded output. `v7_half` and `fork_sigmoid` are made",
        "by lines of our own around the release's exporter.",
        "",
        "| file | exporter | checkpoint | opset | what is special | outputs | KB |",
        "|---|---|---|---:|---|---|---:|",
    ]
    total = 0
    for case in CASES:
        path = out / f"{case.name}.onnx"
        model = onnx.load(path, load_external_data=False)
        size = sum(f.stat().st_size for f in out.glob(f"{case.name}.*"))
        total += size
        outputs = ", ".join(
            "x".join(str(d.dim_value or "?") for d in o.type.tensor_type.shape.dim) for o in model.graph.output
        )
        opset = next(o.version for o in model.opset_import if o.domain == "")
        cells = (case.name, case.tag, case.weights or "beside it", opset, case.special, outputs, f"{size / 1024:.0f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", f"{total / 1e6:.1f} MB in all.", ""]
    (out / "README.md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", type=Path, required=True, help="folder with one checkout a tag (v3.0 ...)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", help="make this one alone, in this process")
    args = parser.parse_args()
    upstream, out = args.upstream.resolve(), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if args.case:
        make_case(next(c for c in CASES if c.name == args.case), upstream, out)
        return
    failed = []
    for case in CASES:
        (out / f"{case.name}.onnx").unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "tests.data.onnx.make_onnx",
            "--upstream",
            str(upstream),
            "--out",
            str(out),
            "--case",
            case.name,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        made = out / f"{case.name}.onnx"
        result = (
            f"{made.stat().st_size / 1024:6.0f} KB"
            if made.exists()
            else f"FAILED\n{(done.stdout + done.stderr)[-1500:]}"
        )
        print(f"{case.name:20s} {result}", flush=True)
        failed += [case.name] * (not made.exists())
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    write_readme(out)


if __name__ == "__main__":
    main()

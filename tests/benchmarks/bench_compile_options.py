"""Predictions of the toolkit's compiler for one network, written and compiled in several ways (docs/build.md).

    python -m tests.benchmarks.bench_compile_options best.pt --imgsz 640 640 > table.md

Only the architecture counts: an INT8 build is calibrated on one random image.  Cycles, traffic and memory are
predictions of the compiler, nothing is measured on an NPU.  `--toolkit-python` takes an interpreter with another
release of the toolkit.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx

from rkdeploy.contract.compiled_model import CompiledModel
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.emission import Emission, emit
from rkdeploy.host.export.stem_form import StemForm
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.toolkit.compile_log import read_compile_log
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.host.toolkit.toolkit_options import ToolkitOptions
from tests.benchmarks.compile_rewrites import concat_as_sum, shortest_branch_first, upsample_as_transposed

Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table: the form of the graph, and additional arguments of the toolkit's `config`."""

    title: str
    stem: StemForm = "space_to_depth"
    as_trained: bool = False
    rewrite: Rewrite | None = None
    cut: CutOptions = field(default_factory=CutOptions)
    config: tuple[tuple[str, Any], ...] = ()


CASES = (
    Case("default"),
    Case("SPP and C3 as trained", as_trained=True),
    Case("stem trained", "trained"),
    Case("stem slices", "slices"),
    Case("stem convolution", "convolution"),
    Case("stem stripes", "stripes"),
    Case("sigmoid not on the NPU", cut=CutOptions("none", "none")),
    Case("boxes and scores apart", cut=CutOptions("boxes_scores", "all")),
    Case("upsampling as transposed convolution", rewrite=upsample_as_transposed),
    Case("1x1 convolution of a concatenation as a sum", rewrite=concat_as_sum),
    Case("waiting branch last in the file", rewrite=shortest_branch_first),
    *(Case(f"optimization_level {n}", config=(("optimization_level", n),)) for n in (0, 1, 2)),
    *(Case(f"{name} {value}", config=((name, value),)) for name, value in (
        ("single_core_mode", True), ("compress_weight", True), ("model_pruning", True),
        ("enable_flash_attention", True),
        ("compute_order", "DepthFirst"), ("memory_plan_strategy", "GreedyBySize"),
        ("memory_plan_strategy", "GreedyByLifetime"), ("memory_plan_strategy", "SlowPeakGrowth"),
    )),
)  # fmt: skip


@dataclass(frozen=True)
class WithConfig(ToolkitOptions):
    """Options with further arguments of the toolkit's `config`."""

    extra: tuple[tuple[str, Any], ...] = ()

    def toolkit_config(self) -> dict[str, Any]:
        """The arguments of the toolkit's `config`."""
        return {**ToolkitOptions.toolkit_config(self), **dict(self.extra)}


def _pools_apart(emission: Emission, pools: Sequence[Module], value: Value) -> list[Value]:
    return [emit(emission, pool, [value]) for pool in pools]


def _blocks_apart(emission: Emission, first: Module, second: Module, value: Value) -> tuple[Value, Value]:
    return emit(emission, first, [value]), emit(emission, second, [value])


@contextlib.contextmanager
def _blocks_as_trained(*, wanted: bool) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if wanted:
            stack.enter_context(patch("rkdeploy.host.export.rewrites.nested_pools", _pools_apart))
            stack.enter_context(patch("rkdeploy.host.export.rewrites.pointwise_pair", _blocks_apart))
        yield


def write(case: Case, checkpoint: Path, imgsz: tuple[int, int] | None, onnx_file: Path) -> tuple[int, int]:
    """The graph of a case, ready for the toolkit; returns its input's (height, width)."""
    with _blocks_as_trained(wanted=case.as_trained):
        network = open_network(checkpoint, imgsz=imgsz, stem=case.stem)
    model, _ = cut(network.simplified, network.head, case.cut)
    onnx.save(case.rewrite(model) if case.rewrite else model, onnx_file)
    return network.input_hw


def compiled(
    onnx_file: Path, hw: tuple[int, int], options: WithConfig, python: Path | None, scratch: Path
) -> CompiledModel:
    """The compiler's figures for a graph."""
    image = np.random.default_rng(0).integers(0, 256, (1, 3, *hw), np.uint8)
    log = scratch / "toolkit.log"
    with Toolkit(log=log, python=python) as toolkit:
        toolkit.build(onnx_file, options, [image] if options.quantized else [], scratch / "model.rknn")
    return read_compile_log(log)


def line(title: str, model: CompiledModel) -> str:
    """One line of the table."""
    layers = [layer for layer in model.layers if not layer.is_end]
    return (
        f"| {title} | {sum(layer.total_cycles for layer in layers) / 1e6:.2f} | {model.internal_kib:,.0f} | "
        f"{model.weight_kib:,.0f} | {sum(layer.read_kib for layer in layers) / 1024:.1f} | {len(layers)} | "
        f"{sum(layer.target == 'CPU' for layer in layers)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--imgsz", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--target", default="rk3588")
    parser.add_argument("--dtypes", nargs="+", default=["int8", "fp16"])
    parser.add_argument("--only", nargs="+", default=[""], help="titles that contain one of these")
    parser.add_argument("--toolkit-python", type=Path)
    arguments = parser.parse_args()
    cases = [case for case in CASES if any(text in case.title for text in arguments.only)]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for dtype in arguments.dtypes:
            print(f"\n| {dtype} | Mcycles | internal KB | weights KB | traffic MB | layers | on the CPU |")
            print("|---|---|---|---|---|---|---|", flush=True)
            for case in cases:
                hw = write(case, arguments.checkpoint, arguments.imgsz, scratch / "model.onnx")
                options = WithConfig(arguments.target, dtype, extra=case.config)
                try:
                    text = line(
                        case.title, compiled(scratch / "model.onnx", hw, options, arguments.toolkit_python, scratch)
                    )
                except RkdeployError as error:
                    text = f"| {case.title} | {error.message[:80]} | | | | | |"
                print(text, flush=True)


if __name__ == "__main__":
    main()

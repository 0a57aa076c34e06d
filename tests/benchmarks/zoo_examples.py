"""Detectors among rknn_model_zoo's examples: each built from its checkpoint, and from ONNX in its fork's form.

    python -m tests.benchmarks.zoo_examples            # writes the table of docs/families.md, about 2 minutes
    python -m tests.benchmarks.zoo_examples yolov8 seg # those whose name has one of these words; only prints

The checkpoints are the recorded ones, of the real packages with random weights and small widths: INT8 figures show that
a head survives quantization, nothing more.  The forks' files are made from these checkpoints as the forks write them
(`tests/host/building/fork_graphs.py`), into build/zoo.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from rkdeploy.contract.bundle import read_bundle
from rkdeploy.contract.record import BuildRecord
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.export.exported import Exported
from tests.command_line import rkdeploy
from tests.host.building.fork_graphs import (
    ForkGraph,
    anchor_maps,
    center_maps,
    concatenated,
    exported,
    separate,
    yolov5_segments,
)
from tests.host.families.page_table import PageTable

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "families.md"
FORKS: Final = Path("build/zoo")
COMMON: Final = ("--calib", "calib_data", "--proof-count", "4", "--min-agreement", "0", "--no-remedies")
BEGIN, END = "<!-- table: tests/benchmarks/zoo_examples.py -->", "<!-- end of table of zoo_examples.py -->"
HEADING = (
    "| example | from | command | decode | contract px | contract score | INT8 matched |\n"
    "|---|---|---|---|---:|---:|---:|"
)
Form = Callable[[Exported], ForkGraph]
SUMS: Final = partial(separate, sums=True)


@dataclass(frozen=True, slots=True)
class Example:
    """One of the zoo's examples.

    Attributes:
        name: folder in rknn_model_zoo/examples.
        model: recorded file, relative to tests/data.
        form: of the fork's outputs; None where the fork's file is recorded, or there is none.
        fork: recorded file as the zoo has it, relative to tests/data; empty for one that `form` makes.
        options: of both builds.
        source: kind of the recorded file.
    """

    name: str
    model: str
    form: Form | None
    fork: str = ""
    options: tuple[str, ...] = ()
    source: str = "checkpoint"


EXAMPLES: Final = (
    Example("yolov5", "yolov5/v7_n.pt", anchor_maps),
    Example("yolov6", "yolov6/v3_n.pt", SUMS),
    Example("yolov7", "yolov7/tiny_training.pt", anchor_maps),
    Example("yolov8", "ultralytics/v8.pt", SUMS),
    Example("yolov10", "ultralytics/v10_thu.pt", SUMS),
    Example("yolo11", "ultralytics/v11n.pt", SUMS),
    Example("yolox", "yolox/s.pth", center_maps, options=("--preset", "yolox")),
    Example(
        "ppyoloe", "cells/ppyoloe.onnx", None, "cells/ppyoloe_model_zoo.onnx", ("--preset", "ppyoloe-plus"),
        "PaddleDetection's ONNX",
    ),
    Example("yolo_world", "open_vocabulary/worldv2.pt", None),
    Example("yolov5_seg", "yolov5/seg.pt", yolov5_segments),
    Example("yolov8_seg", "ultralytics/v8_seg.pt", SUMS),
    Example("yolov8_pose", "ultralytics/v8_pose.pt", concatenated),
    Example("yolov8_obb", "ultralytics/v8_obb.pt", concatenated),
)  # fmt: skip


def rows(example: Example) -> Iterator[str]:
    """The lines of one example: from what training leaves, and from the fork's ONNX."""
    model = f"tests/data/{example.model}"
    yield row(example, example.source, (model, *example.options))
    if example.fork:
        yield row(example, "ONNX in the zoo's form", (f"tests/data/{example.fork}", *example.options))
    if example.form is not None:
        path = ROOT / FORKS / f"{example.name}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        example.form(exported(ROOT / model, open_network(ROOT / model).input_hw)).save(path)
        yield row(example, "ONNX in the fork's form", (f"{FORKS}/{path.name}", "--weights", model, *example.options))


def row(example: Example, source: str, words: tuple[str, ...]) -> str:
    """One line: the command that was run, and what its record says."""
    with tempfile.TemporaryDirectory() as folder:
        done = rkdeploy("build", *words, *COMMON, "--out", folder, cwd=ROOT)
        if done.returncode:
            return f"| {example.name} | {source} | `{shown(words)}` | {done.stderr.splitlines()[0]} | - | - | - |"
        (bundle,) = (path for path in Path(folder).iterdir() if path.is_dir())
        cells = figures(read_bundle(bundle).record)
    return f"| {example.name} | {source} | `{shown(words)}` | {' | '.join(cells)} |"


def shown(words: tuple[str, ...]) -> str:
    """The command as it is typed, without the options that all have."""
    return shlex.join(("rkdeploy", "build", *words))


def figures(record: BuildRecord) -> tuple[str, str, str, str]:
    """State of the decode, its largest differences in px and in scores, and the share of matched detections."""
    proof, agreement = record.verification, record.agreement
    share = "-" if agreement is None or agreement.share is None else f"{100 * agreement.share:.0f} %"
    if not proof.decode_proven:
        return "unproven", "-", "-", share
    worst = {unit: max((e.max_error for e in proof.fields if e.unit == unit), default=0.0) for unit in ("px", "score")}
    return "proven", f"{worst['px']:.1g}", f"{worst['score']:.1g}", share


def main() -> None:
    """Write the table, or print some of its lines."""
    words = sys.argv[1:]
    lines = []
    for example in EXAMPLES:
        if not words or any(word in example.name for word in words):
            for line in rows(example):
                print(line, flush=True)
                lines.append(line)
    if words:
        return
    PageTable(PAGE, BEGIN, END, HEADING).write(lines)


if __name__ == "__main__":
    main()

"""Write the table of docs/families.md: every recorded model exported, proven, built in INT8 and compared.

    python -m tests.host.families.make_table            # all, about 15 minutes on two cores
    python -m tests.host.families.make_table yolop v26  # those whose name has one of these words; only prints

Figures: *upstream* is the largest difference of the full graph to the training package's results (boxes in px,
scores); *contract* that between the contract's decode and the graph's own; *OpenCV* the largest difference between
OpenCV's and onnxruntime's head tensors over the largest value.  *INT8* is the build for rk3588 by the real toolkit, its
simulator against the float model: the number of the float model's detections (score 0.25) that are matched; of maps the
share of pixels of the same class, of depth AbsRel and delta1.  The models
have random weights and a tiny width: INT8 figures show that a head survives quantization, not how well a trained model
does.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.agreement import Agreement
from rkdeploy.device.runtime.onnxruntime import OnnxRuntime
from rkdeploy.device.runtime.opencv_dnn import OpencvDnn
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.network import Network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input
from tests.host.families.page_table import PageTable
from tests.host.families.vectors import Vector, vectors

ROOT = Path(__file__).parents[3]
OPENCV = cv2.__version__.rpartition(".")[0]
PAGE = ROOT / "docs" / "families.md"
BEGIN, END = "<!-- table: tests/host/families/make_table.py -->", "<!-- end of table -->"
HEADING = (
    "| model | task | head | upstream px | upstream score | contract px | OpenCV | INT8 matched | also |\n"
    "|---|---|---|---:|---:|---:|---:|---:|---|"
)


def row(vector: Vector) -> str:
    """One line of the table."""
    try:
        network = vector.open()
        px, score = upstream_errors(vector, network)
        with tempfile.TemporaryDirectory() as folder:
            times = 1 if network.task == "text" else 2  # text has a height of its own
            opencv = opencv_error(vector.open((times * vector.hw[0], times * vector.hw[1])), Path(folder))
            bundle = build(
                BuildOptions(
                    model=vector.checkpoint, cfg=vector.cfg, family=vector.family, input=vector.choice, imgsz=vector.hw,
                    calib=ROOT / "calib_data",
                    min_agreement=0.0, remedies=False, out=Path(folder),
                ),
                BuildEvents(),
            )  # fmt: skip
            record = bundle.record
    except RkdeployError as error:
        return f"| {vector.group} {vector.case} | {error.message} |"
    agreement = record.agreement
    errors = record.verification.fields
    boxes = [e.max_error for e in errors if e.unit == "px"]
    contract = max(boxes or [e.max_error for e in errors if network.task in ("semantic", "depth", "text")], default=0.0)
    share = "-" if agreement is None or agreement.share is None else f"{100 * agreement.share:.0f} %"
    cells = (
        f"{vector.group} {vector.case}", network.task, head_of(network), px, score, f"{contract:.1g}", opencv, share,
        besides(agreement),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def upstream_errors(vector: Vector, network: Network) -> tuple[str, str]:
    """Largest difference of pixels and of scores from what the training package computed."""
    recorded = vector.recorded()
    image = network_input(vector.image(), network.contract(()))
    if vector.group == "yolov5":  # recorded without a classifier's normalization
        image = recorded["input"].astype(np.float32) / 255
    outputs = Session(network.trained).run({network.input.name: image})
    head = network.reference_head
    if "map" in recorded:
        return "-", map_difference(outputs["output0"][0], recorded["map"], network.task)
    if head.rows is None:
        kept = next(name for name in ("probs", "logits", "text") if name in recorded)
        ours, theirs = outputs["output0"].ravel(), recorded[kept].ravel()
        return "-", f"{np.abs(ours - theirs).max():.1g}"
    table = outputs[head.rows.output][0]
    table = table.T if head.rows.columns_first else table
    key = "pred_one2one" if network.head.end_to_end and "pred_one2one" in recorded else "pred"
    expected = recorded[key]
    if "rows" in recorded:
        table = table[recorded["rows"]]
    elif head.rows.columns_first:
        expected = expected.T
    difference = np.abs(table - expected)
    if head.rows.fractions_of is not None:
        difference[:, :4] *= np.array(head.rows.fractions_of * 2)
    worst = {"px": 0.0, "score": 0.0}
    for field in head.rows.fields:
        unit = "px" if field.unit == "px" else "score"
        worst[unit] = max(worst[unit], float(difference[:, list(field.columns)].max(initial=0.0)))
    return f"{worst['px']:.1g}", f"{worst['score']:.1g}"


def map_difference(ours: NDArray[np.float32], theirs: NDArray[np.float32], task: str) -> str:
    """Largest difference of a map's values; of classes also the share of pixels of the same one."""
    worst = np.abs(ours - theirs).max()
    if task == "depth":
        return f"{worst:.1g} m, {(np.abs(ours - theirs) / theirs).max():.1g} of the depth"
    a, b = (one.argmax(axis=0) if len(one) > 1 else one[0] > 0 for one in (ours, theirs))
    return f"{worst:.1g} (logits), {100 * (a == b).mean():.4g} % of the pixels alike"


def opencv_error(network: Network, folder: Path) -> str:
    """Largest relative difference between OpenCV's head tensors and onnxruntime's."""
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    path, spec = folder / "cut.onnx", network.contract(outputs)
    onnx.save(graph, str(path))
    image = np.random.default_rng(0).integers(0, 256, (1, *network.input_hw, 3), np.uint8)
    with OnnxRuntime(path, spec) as runtime:
        expected = [tensor.values.copy() for tensor in runtime.infer(image)]
    try:
        with OpencvDnn(path, spec) as opencv:
            got = [tensor.values.copy() for tensor in opencv.infer(image)]
    except RkdeployError as error:
        return "no GridSample" if "GridSample" in error.message else f"{OPENCV} cannot read it"
    worst = max(np.abs(a - b).max() / max(1.0, np.abs(a).max()) for a, b in zip(expected, got, strict=True))
    return f"{worst:.1g}"


def head_of(network: Network) -> str:
    """The kind of head, in a few words."""
    head = network.head
    levels = len({tap.stride for tap in head.taps if not tap.name})
    if head.anchors is not None:
        counts = [str(len(level)) for level in head.anchors.levels_px]
        several = f"{', '.join(counts[:-1])} and {counts[-1]}" if len(set(counts)) > 1 else counts[0]
        kind = f"{levels} levels, {several} anchors"
    elif head.taps[0].role == "query_boxes":
        kind = f"{head.taps[0].shape[3]} queries"
    elif head.rows is not None:
        kind = f"{levels} levels, {_boxes_of(head)}"
    elif head.text is not None:
        scores, _, columns = head.taps[0].shape[1:]
        return f"{scores} scores in {columns} columns{', colors' if len(head.taps) > 1 else ''}"
    elif head.depth is not None:
        return f"{head.depth.kind} depth{', exponent of the raw value' if head.depth.exponential else ''}"
    elif network.task == "semantic":
        planes = head.taps[0].shape[1]
        return f"{planes} plane{'s' if planes > 1 else ''} at stride {head.taps[0].stride}"
    else:
        kind = "classes"
    if head.end_to_end:
        kind += ", end to end"
    if head.keypoints is not None:
        kind += f", {head.keypoints.count}x{3 if head.keypoints.scored else 2} keypoints"
    if head.class_maps:
        kind += f", {len(head.class_maps)} maps"
    return kind


def _boxes_of(head: Head) -> str:
    """The form of the boxes of an anchor-free head."""
    box = next(tap for tap in head.taps if tap.role in ("dfl_boxes", "ltrb_boxes", "center_boxes"))
    if box.role == "center_boxes":
        return "centers and objectness"
    return f"DFL {box.shape[1] // 4}" if box.role == "dfl_boxes" else "no DFL"


def besides(agreement: Agreement | None) -> str:
    """Results of the task in addition to boxes."""
    if agreement is None:
        return ""
    parts = []
    if agreement.keypoints is not None:
        parts.append(f"keypoints {agreement.keypoints.median_shift_px:.2g} px")
    if agreement.mask_iou is not None:
        parts.append(f"masks {100 * agreement.mask_iou:.0f} %")
    parts += [f"{m.output} {100 * m.same:.0f} %" for m in agreement.class_maps]
    if agreement.depth is not None:
        parts.append(f"AbsRel {100 * agreement.depth.abs_rel:.0f} %, delta1 {100 * agreement.depth.delta1:.0f} %")
    if agreement.text is not None:
        parts.append(f"text {100 * agreement.text.same:.0f} % of {agreement.text.lines}")
    if agreement.same_first_class is not None:
        parts.append(f"first class {100 * agreement.same_first_class:.0f} %")
    return ", ".join(parts)


def main() -> None:
    words = sys.argv[1:]
    chosen = [v for v in vectors() if not words or any(word in v.key for word in words)]
    with ProcessPoolExecutor(2) as pool:
        lines = []
        for line in pool.map(row, chosen):
            print(line, flush=True)
            lines.append(line)
    if words:
        return
    PageTable(PAGE, BEGIN, END, HEADING).write(lines)


if __name__ == "__main__":
    main()

"""Write the table of detectors with queries from ONNX in docs/families.md: each proven, built in INT8 and compared.

    python -m tests.host.families.make_query_table

Figures as in `make_table`, against what torch computed with the package's own model, whose weights are random.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.presets import PresetName
from rkdeploy.host.graph.head import read_rows
from rkdeploy.host.graph.session import Session
from tests.host.families.make_table import PAGE, ROOT, opencv_error
from tests.host.families.page_table import PageTable

BEGIN, END = "<!-- table: tests/host/families/make_query_table.py -->", "<!-- end of table of queries -->"
HEADING = (
    "| file | preset | upstream px | upstream score | contract px | OpenCV | INT8 matched | FP16 matched |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|"
)
FILES: dict[str, tuple[str, PresetName]] = {
    "rtdetrv2": ("RT-DETRv2 of lyuwenyu/RT-DETR: labels, boxes, scores", "rtdetr"),
    "dfine": ("D-FINE of Peterande/D-FINE: labels, boxes, scores", "rtdetr"),
    "hf_rtdetr": ("RT-DETR of Hugging Face: logits, boxes", "rtdetr"),
    "hf_dfine": ("D-FINE of Hugging Face: logits, boxes", "rtdetr"),
    "hf_rfdetr": ("RF-DETR of Hugging Face: logits, boxes", "rfdetr"),
}


def row(name: str) -> str:
    """One line of the table."""
    about, preset = FILES[name]
    file = ROOT / "tests" / "data" / "queries" / f"{name}.onnx"
    with np.load(file.with_suffix(".npz")) as record:
        image, pred = record["input"], record["pred"]
    network = open_network(file, imgsz=(image.shape[2], image.shape[3]))
    values = Session(network.reference).run({network.input.name: image.astype(np.float32) / 255})
    assert network.head.rows is not None
    found = {field.name: field.values for field in read_rows(network.head.rows, values)}
    size = np.array([image.shape[3], image.shape[2]] * 2)
    pixels = np.abs(np.concatenate([found["xy"], found["wh"]], axis=1) - pred[:, :4] * size).max()
    scores = np.abs(found["scores"] - pred[:, 4:]).max()
    shares, px = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        opencv = opencv_error(network, Path(folder))
    for dtype in ("int8", "fp16"):
        with tempfile.TemporaryDirectory() as folder:
            options = BuildOptions(
                model=file, imgsz=(image.shape[2], image.shape[3]), input=InputChoice(preset=preset), dtype=dtype,
                calib=ROOT / "calib_data", min_agreement=0.0, remedies=False, out=Path(folder),
            )  # fmt: skip
            record = build(options, BuildEvents()).record
        px = max((error.max_error for error in record.verification.fields if error.unit == "px"), default=0.0)
        agreement = record.agreement
        share = None if agreement is None else agreement.share
        shares.append("-" if share is None else f"{100 * share:.0f} %")
    cells = (about, f"`{preset}`", f"{pixels:.1g}", f"{scores:.1g}", f"{px:.1g}", opencv, *shares)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Make the table."""
    lines = []
    for name in FILES:
        lines.append(row(name))
        print(lines[-1], flush=True)
    PageTable(PAGE, BEGIN, END, HEADING).write(lines)


if __name__ == "__main__":
    main()

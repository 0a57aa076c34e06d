"""Write the table of anchor-free heads from ONNX in docs/families.md: each proven, built in INT8 and compared.

    python -m tests.host.families.make_cell_table           # all, about 3 minutes on two cores
    python -m tests.host.families.make_cell_table picodet   # those whose name has one of these words; only prints

Figures as in `make_table`, against what the training package's own head computed.  The heads stand behind a
convolution each, with random weights: INT8 figures show that a head survives quantization, nothing more.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.input_options import InputChoice
from tests.host.families.make_table import PAGE, ROOT, opencv_error
from tests.host.families.page_table import PageTable
from tests.host.graph.cell_records import RECORDS, CellRecord
from tests.host.graph.face_records import FACES, FaceRecord
from tests.host.graph.yolov4_record import Yolov4Record

BEGIN, END = "<!-- table: tests/host/families/make_cell_table.py -->", "<!-- end of table of cells -->"
HEADING = (
    "| file | preset | decode | upstream px | upstream score | contract px | OpenCV | INT8 matched |\n"
    "|---|---|---|---:|---:|---:|---:|---:|"
)


def row(record: CellRecord | FaceRecord | Yolov4Record) -> str:
    """One line of the table."""
    network = record.open()
    pixels, scores = record.errors(network)
    with tempfile.TemporaryDirectory() as folder:
        opencv = opencv_error(network, Path(folder))
        options = BuildOptions(
            model=record.file, input=InputChoice(preset=record.preset), calib=ROOT / "calib_data", min_agreement=0.0,
            remedies=False, out=Path(folder),
        )  # fmt: skip
        found = build(options, BuildEvents()).record
    px = max((error.max_error for error in found.verification.fields if error.unit == "px"), default=0.0)
    agreement = found.agreement
    share = "-" if agreement is None or agreement.share is None else f"{100 * agreement.share:.0f} %"
    preset = f"`{record.preset}`" if record.preset else "-"
    cells = (
        record.about, preset, "in the graph" if record.proven else "no", f"{pixels:.1g}", f"{scores:.1g}",
        f"{px:.1g}" if record.proven else "unproven", opencv, share,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Make the table, or print some of its lines."""
    words = sys.argv[1:]
    lines = []
    for record in (*RECORDS, *FACES, Yolov4Record()):
        if not words or any(word in record.name for word in words):
            lines.append(row(record))
            print(lines[-1], flush=True)
    if words:
        return
    PageTable(PAGE, BEGIN, END, HEADING).write(lines)


if __name__ == "__main__":
    main()

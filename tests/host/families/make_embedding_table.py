"""Write the table of embeddings from ONNX in docs/families.md: each recorded network cut, proven, built and compared.

    python -m tests.host.families.make_embedding_table

*Equal* is the largest difference of the board's vector from the package's own, both of length 1; *INT8* and *FP16* are
builds for rk3588 by the real toolkit, its simulator against the float model.  The networks have random weights and tiny
widths.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.presets import PresetName
from tests.host.building.test_embedding_onnx import DATA, ROOT, board_vector
from tests.host.families.page_table import PageTable

PAGE = ROOT / "docs" / "families.md"
BEGIN, END = "<!-- table: tests/host/families/make_embedding_table.py -->", "<!-- end of embedding table -->"
HEADING = "| network | preset | values | equal | INT8 | FP16 |\n|---|---|---:|---:|---|---|"
NETWORKS: dict[str, PresetName] = {
    "iresnet": "arcface",
    "mobilefacenet": "mobilefacenet",
    "normalized": "facenet",
    "osnet": "osnet",
    "pixels_inside": "fastreid",
    "resnet": "image-embedding",
    "vit": "dinov2",
    "clip": "clip",
    "siglip": "siglip",
}


def row(case: str, preset: PresetName) -> str:
    """One line of the table; the package's own vector is of pixels prepared as `arcface` says."""
    found, recorded, _ = board_vector(case)
    equal = np.abs(found - recorded / np.linalg.norm(recorded)).max()
    figures = " | ".join(built(case, preset, dtype) for dtype in ("int8", "fp16"))
    return f"| {case} | `{preset}` | {len(found)} | {equal:.1g} | {figures} |"


def built(case: str, preset: PresetName, dtype: str) -> str:
    """Agreement of a build with the float model."""
    with tempfile.TemporaryDirectory() as folder:
        options = BuildOptions(
            model=DATA / f"{case}.onnx",
            input=InputChoice(preset=preset),
            dtype=dtype,
            calib=ROOT / "calib_data",
            min_agreement=0.0,
            remedies=False,
            out=Path(folder),
        )
        agreement = build(options, BuildEvents()).record.agreement
    if agreement is None or agreement.embedding is None:
        return "-"
    one = agreement.embedding
    nearest = "-" if one.nearest is None else f"{100 * one.nearest:.0f} %"
    return f"cosine {one.cosine:.4f} (worst {one.worst:.4f}), same nearest {nearest}"


def main() -> None:
    """Write the page."""
    lines = []
    for case, preset in NETWORKS.items():
        lines.append(row(case, preset))
        print(lines[-1], flush=True)
    PageTable(PAGE, BEGIN, END, HEADING).write(lines)


if __name__ == "__main__":
    main()

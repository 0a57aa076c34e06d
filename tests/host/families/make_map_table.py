"""Write the table of maps from ONNX in docs/families.md: each recorded network cut, proven, built in INT8 and compared.

    python -m tests.host.families.make_map_table

*Equal* is the share of pixels with the class of the file's own output, for an image of the network's size, or the
largest difference of a depth over the largest depth; *INT8* and *FP16* are builds for rk3588 by the real toolkit, its
simulator against the float model.  The networks have random weights and tiny widths.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from rkdeploy.contract.agreement import Agreement
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.presets import PresetName
from tests.host.building.test_map_onnx import DATA, ROOT, both
from tests.host.families.page_table import PageTable

PAGE = ROOT / "docs" / "families.md"
BEGIN, END = "<!-- table: tests/host/families/make_map_table.py -->", "<!-- end of map table -->"
HEADING = "| network | preset | cut at | equal | INT8 | FP16 |\n|---|---|---|---:|---|---|"
NETWORKS: dict[str, PresetName] = {
    "torchvision_lraspp": "imagenet",
    "torchvision_fcn_aux": "imagenet",
    "segformer": "imagenet",
    "tail_513": "deeplab",
    "tail_sigmoid": "mask",
    "depth_anything": "depth-anything",
}


def row(case: str, preset: PresetName) -> str:
    """One line of the table."""
    theirs, found, network = both(case, preset)
    if found.depth is not None:
        values = theirs.reshape(network.input_hw).astype(np.float64)
        equal = f"{np.abs(found.depth.values - values).max() / np.abs(values).max():.1g} of the depth"
    else:
        ids = found.class_maps[0].class_ids
        own = theirs.reshape(-1, *theirs.shape[-2:])
        own_ids = own.argmax(axis=0) if len(own) > 1 else own[0] > 0.5
        ratio = [size // cells for size, cells in zip(ids.shape, own_ids.shape, strict=True)]
        equal = f"{100 * (ids == own_ids).mean():.4g} %" if ratio == [1, 1] else "not enlarged by the file"
    (tap,) = network.head.taps
    cells = f"{tap.shape[1]} x {tap.shape[2]} x {tap.shape[3]}, stride {tap.stride}"
    return (
        f"| {case} | `{preset}` | {cells} | {equal} | {built(case, preset, 'int8')} | {built(case, preset, 'fp16')} |"
    )


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
    return "-" if agreement is None else described(agreement)


def described(agreement: Agreement) -> str:
    """The figures of the map in a few words."""
    if agreement.depth is not None:
        return f"AbsRel {100 * agreement.depth.abs_rel:.1f} %, delta1 {100 * agreement.depth.delta1:.0f} %"
    (one,) = agreement.class_maps
    overlap = "-" if one.mean_iou is None else f"{100 * one.mean_iou:.0f} %"
    return f"{100 * one.same:.1f} % alike, mean IoU {overlap}"


def main() -> None:
    """Write the page."""
    lines = []
    for case, preset in NETWORKS.items():
        lines.append(row(case, preset))
        print(lines[-1], flush=True)
    PageTable(PAGE, BEGIN, END, HEADING).write(lines)


if __name__ == "__main__":
    main()

"""Planted faults that the proof rejects, and real files that it accepts: the acceptance test of docs/verification.md.

    python -m tests.benchmarks.planted_faults FOLDER [--images FOLDER] [--own MODEL=FOLDER ...]

FOLDER holds checkpoints (with their darknet cfg next to them) and ONNX files.  Those that cannot be opened are listed
and not counted.  Raw heads without a decode are compared with their own tensors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rkdeploy.datasets.calibration import CalibrationImage, find_calibration
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.open_network import CHECKPOINT_SUFFIXES, open_network
from rkdeploy.host.building.verification import verify_contract
from tests.host.graph.planted import Case, planted

ROOT = Path(__file__).parents[2]

IMAGES = 2
SUFFIXES = {*CHECKPOINT_SUFFIXES, ".onnx"}


def refusal(case: Case, images: Sequence[CalibrationImage]) -> str | None:
    """The error of the proof; None when it passes."""
    try:
        verify_contract(case.network, case.graph, case.spec, images)
    except RkdeployError as error:
        return error.message
    return None


def opened(file: Path) -> Case | None:
    """The network of a file, ready to be proven; None, and a line that says why, where it cannot be opened."""
    cfg = file.with_suffix(".cfg")
    try:
        case = Case.of(open_network(file, cfg=cfg if cfg.exists() else None))
    except RkdeployError as error:
        print(f"{file.name}: not opened: {error.message.splitlines()[0]}")
        return None
    if case.spec.anchors is None and any(output.role == "prior_boxes" for output in case.spec.outputs):
        print(f"{file.name}: not opened: only --preset says its anchors")
        return None
    return case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=Path, default=ROOT / "calib_data", help="folder of images to prove on")
    parser.add_argument("--own", nargs="*", default=[], metavar="MODEL=FOLDER", help="images of single models")
    arguments = parser.parse_args()
    own = dict(pair.split("=", 1) for pair in arguments.own)
    refused = planted_count = files = refused_files = 0
    for file in sorted(p for p in arguments.folder.iterdir() if p.suffix in SUFFIXES):
        case = opened(file)
        if case is None:
            continue
        folder = Path(own.get(file.name, arguments.images))
        images = find_calibration(folder, Path.cwd(), IMAGES, 0).images
        files += 1
        said = refusal(case, images)
        if said is not None:
            refused_files += 1
            print(f"{file.name}: REFUSED: {said}")
            continue
        passed = []
        for name, faulty in planted(case):
            planted_count += 1
            said = refusal(faulty, images)
            refused += said is not None
            passed += [name] if said is None else []
        proven = "proven" if case.network.proves_decode else "as in its graph (no decode)"
        print(f"{file.name}: {proven}; faults that passed: {', '.join(passed) or 'none'}", flush=True)
    print(f"planted faults refused {refused} of {planted_count}; real files refused {refused_files} of {files}")
    sys.exit(refused != planted_count or refused_files)


if __name__ == "__main__":
    main()

"""Cost of a build on the host without the vendor's toolkit: read, export, simplify, cut, verify on 4 images, bundle.

    python -m tests.benchmarks.bench_host [--model calib_data/best.pt] [--runs 5]

Each run is a process of its own, imports included; wall time is measured from outside, peak memory from the kernel's
accounting of the finished process.  The inspect command is timed as well, as the lower limit for reading.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOAL_S = 4.0


def host_stages(model: Path, out: Path) -> None:
    """Everything of a build that is ours; the child of a run."""
    import onnx

    from rkdeploy.contract.bundle import CONTRACT, new_bundle, write_json
    from rkdeploy.datasets.calibration import find_calibration
    from rkdeploy.host.building.open_network import open_network
    from rkdeploy.host.building.verification import VERIFY_IMAGES
    from rkdeploy.host.graph.cut import cut
    from rkdeploy.host.graph.cut_options import CutOptions
    from rkdeploy.host.graph.verify import verify
    from rkdeploy.images.fit import Letterbox

    network = open_network(model)
    cut_graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    images = find_calibration(ROOT / "calib_data", ROOT, VERIFY_IMAGES, 0).images
    letterbox = Letterbox(spec.input)
    pictures = ((image.path, letterbox(image.read()).image) for image in images)
    proof = verify(network.reference, network.reference_head, cut_graph, spec, pictures)
    with new_bundle(out) as folder:
        onnx.save(network.reference, str(folder / "best.onnx"))
        onnx.save(cut_graph, str(folder / "best-cut.onnx"))
        write_json(folder / CONTRACT, spec)
    print(f"verified {proof.rows} rows on {proof.images} images")


def timed(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak MiB of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=ROOT / "calib_data" / "best.pt")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        host_stages(options.model, options.child)
        return
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        build = [sys.executable, __file__, "--model", str(options.model), "--child", f"{scratch}/bundle"]
        inspect = [sys.executable, "-m", "rkdeploy", "inspect", str(options.model)]
        timed(build), timed(inspect)  # warm the file cache
        pairs = [(timed(build), timed(inspect)) for _ in range(options.runs)]
    for name, column in (("host stages", 0), ("inspect", 1)):
        seconds = [p[column][0] for p in pairs]
        memory = [p[column][1] for p in pairs]
        print(
            f"{name:12} median {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
            f"peak {max(memory):.0f} MiB, {options.runs} runs, this PC"
        )
    print(f"goal for the host stages: {GOAL_S} s")


if __name__ == "__main__":
    main()

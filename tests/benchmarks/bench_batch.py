"""Batches in the vendor's toolkit: what its compiler makes of them, and what a frame costs by its own count.

A network is built three times: for one frame, for one with `rknn_batch_size`, and from an ONNX file whose input has
the batch.  Printed are the input of the compiled model, the toolkit's NPU cycles and memory traffic per frame, and its
internal memory.  All of it is the toolkit's prediction: no NPU runs.

Run it with the Python that has rknn-toolkit2, on an ONNX file with fixed shapes that the toolkit can build, such as a
bundle's best-cut.onnx:

    python tests/benchmarks/bench_batch.py best-cut.onnx --batch 4
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_LAYER = re.compile(r"\] \d+ +\w+ +\w+ +(?:CPU|NPU) +(\S+) +\S+ +\d+/(\d+)/(\d+) +(\d+)")
_INTERNAL = re.compile(r"Total Internal Memory Size: (\d+)KB")
_BUILD = """
import sys
import numpy as np
from rknn.api import RKNN
path, batch, parameter = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rknn = RKNN(verbose=True)
rknn.config(mean_values=[[0] * 3], std_values=[[255] * 3], target_platform="rk3588")
assert rknn.load_onnx(path) == 0
height, width = map(int, sys.argv[4:6])
with open("calibration.txt", "w") as listed:
    for n in range(2):
        pixels = np.random.default_rng(n).integers(0, 256, (batch, 3, height, width)).astype(np.float32)
        np.save(f"calibration{n}.npy", pixels)
        listed.write(f"calibration{n}.npy\\n")
more = {"rknn_batch_size": parameter} if parameter > 1 else {}
assert rknn.build(do_quantization=True, dataset="calibration.txt", **more) == 0
"""


def with_batch(path: Path, batch: int, folder: Path) -> tuple[Path, int, int]:
    """The network for a batch, and the height and width of its input."""
    import onnx

    model = onnx.load(path)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del model.graph.value_info[:]
    changed = folder / f"batch{batch}.onnx"
    onnx.save(model, changed)
    return changed, shape[2].dim_value, shape[3].dim_value


def measure(name: str, path: Path, batch: int, parameter: int, folder: Path) -> None:
    """Build and print one line of the table."""
    network, height, width = with_batch(path, batch, folder)
    arguments = [str(network), str(batch), str(parameter), str(height), str(width)]
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, *arguments], cwd=folder, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    if built.returncode != 0:
        sys.exit(f"{name}: the toolkit failed.\n{built.stdout[-1500:]}")
    layers = _LAYER.findall(built.stdout)
    frames = int(layers[1][0].strip("(").split(",")[0])
    npu, total, traffic = (sum(int(layer[column]) for layer in layers) / frames for column in (1, 2, 3))
    internal = _INTERNAL.findall(built.stdout)[-1]
    print(
        f"{name:>22} {layers[1][0].split(')')[0] + ')':>18} {npu:13,.0f} {total:13,.0f} {traffic:9,.0f} {internal:>9}"
    )


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    batch = arguments.batch
    print(
        f"{'built':>22} {'input':>18} {'NPU cycles':>13} {'all cycles':>13} {'RW KB':>9} {'internal':>9}   (per frame)"
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        measure("one frame", arguments.onnx.resolve(), 1, 1, place)
        measure(f"rknn_batch_size={batch}", arguments.onnx.resolve(), 1, batch, place)
        measure(f"ONNX batch {batch}", arguments.onnx.resolve(), batch, 1, place)


if __name__ == "__main__":
    main()

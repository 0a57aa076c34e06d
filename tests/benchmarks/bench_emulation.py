"""Emulation of INT8 against the simulator, node by node, on the bundles of real models.

    python -m tests.benchmarks.bench_emulation BUNDLE [BUNDLE ...] --image PHOTO

Every node of the emulation gets the simulator's own inputs, and its result is compared with the simulator's, by the
toolkit's accuracy analysis of one image.  The table has, for each bundle, the number of tensors and of values, the
largest and the mean difference in steps of the tensor's integers, and the share of values that are another integer; the
last column names the operator with the largest share.  Takes about half a minute and up to 1 GB of disk per bundle.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch

from rkdeploy.contract.bundle import read_bundle
from rkdeploy.host.toolkit import files
from rkdeploy.host.toolkit.emulated_operators import operators
from rkdeploy.host.toolkit.emulation import EmulatedNetwork
from rkdeploy.host.toolkit.simulator import kept_files
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.images.file import read_image
from rkdeploy.images.fit import image_fit
from tests.benchmarks.emulation_differences import NodeDifference, node_differences


def differences(folder: Path, photo: Path) -> list[NodeDifference]:
    """Differences of all tensors of a bundle."""
    bundle = read_bundle(folder)
    kept, options = kept_files(bundle)
    assert kept.data is not None
    assert kept.config is not None
    spec = bundle.spec
    image = image_fit(spec.input)(read_image(photo)).image.copy()
    _, float16 = files.read_quantization_table(str(kept.config))
    table = files.read_step1_data(str(kept.data))["quant_tab"]
    network = EmulatedNetwork(onnx.load(kept.model), table, float16, operators())
    values = (image.astype(np.float32) - np.array(spec.input.mean, np.float32)) / np.array(spec.input.std, np.float32)
    with tempfile.TemporaryDirectory() as scratch, Toolkit(log=Path(scratch) / "toolkit.log") as toolkit:
        toolkit.open_kept(kept, options)
        toolkit.analyze(image, Path(scratch) / "tensors")
        with torch.no_grad():
            given = torch.from_numpy(values.transpose(0, 3, 1, 2).copy())
            return list(node_differences(network, Path(scratch) / "tensors", given))


def row(name: str, found: list[NodeDifference]) -> str:
    """One line of the table."""
    values = sum(one.steps.size for one in found)
    mean = sum(float(one.steps.sum()) for one in found) / values
    other = sum(one.other * one.steps.size for one in found) / values
    worst = max(found, key=lambda one: one.other)
    return (
        f"| {name} | {len(found)} | {values / 1e6:.1f} M | {max(one.largest for one in found):.2f} | {mean:.6f} | "
        f"{other:.4%} | {worst.operator}, {worst.other:.2%} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--image", type=Path, required=True)
    arguments = parser.parse_args()
    print("| bundle | tensors | values | largest, steps | mean, steps | another integer | most in one tensor |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for folder in arguments.bundles:
        print(row(folder.name, differences(folder, arguments.image)), flush=True)


if __name__ == "__main__":
    main()

"""Differences between the emulation and the simulator, node by node, from the toolkit's texts of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rkdeploy.host.toolkit.emulation import EmulatedNetwork, EmulatedRun, Grid

if TYPE_CHECKING:
    import torch

_FILE = re.compile(r"^(?P<name>\S+)\s+(?P<file>\S+\.txt)\s*$", re.MULTILINE)
SIMULATED = "simulator"


@dataclass(frozen=True, slots=True)
class NodeDifference:
    """One tensor, computed from the simulator's own inputs of its node.

    Attributes:
        operator: of the node.
        tensor: name.
        steps: absolute differences in steps of the tensor's grid, flat.
    """

    operator: str
    tensor: str
    steps: NDArray[np.float32]

    @property
    def largest(self) -> float:
        """In steps."""
        return float(self.steps.max(initial=0.0))

    @property
    def other(self) -> float:
        """Share of the values that are another integer."""
        return float((self.steps > 0.5).mean())


def node_differences(network: EmulatedNetwork, tensors: Path, image: torch.Tensor) -> Iterator[NodeDifference]:
    """Differences of every tensor that the simulator stores.

    Each node gets the simulator's values of its inputs, put on their grids again, for the texts have six digits.

    Args:
        network: of the files that the simulator has open.
        tensors: folder of `Toolkit.analyze`.
        image: (1, C, H, W) float32, what the graph's input takes.
    """
    import torch

    files = {found["name"]: found["file"] for found in _FILE.finditer((tensors / "map_name_to_file.txt").read_text())}
    run = EmulatedRun(network, image, quantized=True)
    for node in network.nodes:
        results = run.compute(node)
        run.store(node, results)
        for name in node.output:
            grid, file = network.grid(name), tensors / SIMULATED / files.get(name, "-")
            if grid is None or not file.is_file() or name not in run.values:
                continue
            got = run.values[name]
            simulated = torch.from_numpy(np.loadtxt(file, dtype=np.float32)).reshape(got.shape)
            simulated = on_grid(grid, simulated)
            steps = ((got - simulated).abs() / grid.scale).flatten().numpy()
            yield NodeDifference(node.op_type, name, steps)
            run.values[name] = simulated


def on_grid(grid: Grid, values: torch.Tensor) -> torch.Tensor:
    """Nearest values of a grid."""
    return (values / grid.scale).round() * grid.scale

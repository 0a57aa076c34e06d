"""Outputs of the two sides of every comparison for one image: the float cut graph, and the simulated quantized
model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnxruntime

from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input
from rkdeploy.host.toolkit.simulator import head_tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.host.toolkit.toolkit import Toolkit

FLOAT_FIGURES_FROM = f"onnxruntime {onnxruntime.__version__} on this PC"


def simulator_figures_from(toolkit: Toolkit) -> str:
    """Source of the simulated side's figures."""
    return f"simulator (rknn-toolkit2 {toolkit.version})"


def float_tensors(session: Session, spec: ModelSpec, image: NDArray[np.uint8]) -> list[HeadTensor]:
    """The cut graph's outputs, float32, in the contract's order.

    Args:
        session: of the cut graph.
        spec: contract of the model.
        image: (1, H, W, 3) uint8 in the network's color order.

    Raises:
        GraphError: when onnxruntime fails.
    """
    found = session.run({spec.input.name: network_input(image, spec)})
    return [HeadTensor(found[output.name]) for output in spec.outputs]


def simulated_tensors(toolkit: Toolkit, spec: ModelSpec, image: NDArray[np.uint8]) -> list[HeadTensor]:
    """The outputs of the model that is open in the toolkit: exact integers if an output is quantized.

    Args:
        toolkit: with the open model.
        spec: contract of the model.
        image: (1, H, W, 3) uint8 in the network's color order.

    Raises:
        ToolkitError: no model is open, or the toolkit failed.
    """
    found = toolkit.simulate(image)
    return [head_tensor(found[output.name], output.quantization) for output in spec.outputs]

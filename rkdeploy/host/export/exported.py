"""Result of a family's export."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from rkdeploy.contract.spec import InputSpec
from rkdeploy.device.postprocess.query_decode import QUERY_ROLES
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.head import Head


@dataclass(frozen=True, slots=True)
class Exported:
    """A network with its trained decode.

    Attributes:
        model: the graph, with the outputs of the training package's own export.
        head: its raw tensors, and the meaning of its outputs.
        input: the image input.
    """

    model: onnx.ModelProto
    head: Head
    input: InputSpec

    def __post_init__(self) -> None:
        """Check that the head's tensors have their strides; otherwise the decode in the graph would be as wrong as
        ours.

        Raises:
            GraphError: naming the first tensor that does not.
        """
        size = (self.input.height, self.input.width)
        formula = self.head.prior_formula
        partial = formula is not None and bool(formula.steps_px)  # the last cells may reach beyond the input
        for tap in self.head.taps:
            covered = (tap.shape[2] * tap.stride, tap.shape[3] * tap.stride)
            expected = tuple(-(-side // tap.stride) * tap.stride for side in size) if partial else size
            if not tap.name and tap.role not in QUERY_ROLES and covered != expected:
                raise GraphError(
                    f'"{tap.node}" has {tap.shape[2]}x{tap.shape[3]} cells of stride {tap.stride}, expected to cover '
                    f"the input of {self.input.height}x{self.input.width}.",
                    "The strides in the checkpoint are not those of its layers: it is damaged, or was changed.",
                )

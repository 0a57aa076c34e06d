"""What a family's export gives."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from rkdeploy.graph.head import Head
from rkdeploy.spec import InputSpec


@dataclass(frozen=True, slots=True)
class Exported:
    """A network with its trained decode.

    Attributes:
        model: the graph, whose outputs are what the training package's own export gives.
        head: its raw tensors, and how its outputs are read.
        input: the image that it takes.
    """

    model: onnx.ModelProto
    head: Head
    input: InputSpec

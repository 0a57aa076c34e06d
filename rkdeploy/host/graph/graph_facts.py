"""Facts of a foreign graph: inputs, outputs, operators, and the last convolutions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head_walk import HeadConv, last_convolutions, tail
from rkdeploy.host.graph.session import Session

Shape = tuple[int | None, ...]
_MAX_SHOWN = 12


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """The facts by which the kind of a graph is recognized.

    Attributes:
        graph: the graph.
        inputs, outputs: shape by name, without weights; None stands for a free axis.
        ops: number of nodes of each operator.
        convs: the last convolutions before the outputs, finest level first; empty if their stride is not a whole
            number.
    """

    graph: GraphView
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    ops: Counter[str]
    convs: tuple[HeadConv, ...] = ()

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of the image input in pixels, (0, 0) if they are free or there is none."""
        shape = next((s for s in self.inputs.values() if len(s) == 4), ())
        height, width = shape[2:] if len(shape) == 4 else (None, None)
        return height or 0, width or 0

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the last convolutions of each stride, in ascending order; finest level first."""
        strides = sorted({conv.stride for conv in self.convs})
        return tuple(tuple(sorted(c.shape[1] for c in self.convs if c.stride == stride)) for stride in strides)

    @property
    def cells(self) -> int:
        """Cells of all levels."""
        return sum({conv.stride: conv.shape[2] * conv.shape[3] for conv in self.convs}.values())

    def outputs_on_noise(self, *, silent: int = 0) -> dict[str, NDArray[np.float32]]:
        """The outputs when the last convolutions give seeded noise from -3 to 3; empty if they cannot be run.

        Args:
            silent: convolutions with this number of channels give zeros instead.
        """
        rng = np.random.default_rng(0)
        noise = {
            conv.tensor: (rng.uniform(-3, 3, conv.shape) * (conv.shape[1] != silent)).astype(np.float32)
            for conv in self.convs
        }
        ends = [name for name in self.outputs if name not in noise]
        shown = {name: values for name, values in noise.items() if name in self.outputs}
        try:
            return shown | (Session(tail(self.graph, self.convs, *ends)).run(noise) if ends else {})
        except GraphError:
            return {}


def facts_of(graph: GraphView) -> GraphFacts:
    """The facts of a graph, including the last convolutions if its shapes are static."""
    try:
        convs = last_convolutions(graph, graph.outputs)
    except (GraphError, ValueError):  # no convolutions, or an input that is not an image
        convs = ()
    return GraphFacts(
        graph,
        {name: _shape(info) for name, info in graph.inputs.items()},
        {info.name: _shape(info) for info in graph.model.graph.output},
        Counter(node.op_type for node in graph.model.graph.node),
        convs,
    )


def listed(shapes: Mapping[str, Shape]) -> str:
    """Names and shapes for a message, the first dozen."""
    shown = [f"{name} ({', '.join('?' if n is None else str(n) for n in shape)})" for name, shape in shapes.items()]
    more = f", and {len(shown) - _MAX_SHOWN} more" if len(shown) > _MAX_SHOWN else ""
    return ", ".join(shown[:_MAX_SHOWN]) + more


def _shape(info: onnx.ValueInfoProto) -> Shape:
    dims = info.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims)

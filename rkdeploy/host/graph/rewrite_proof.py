"""Proof that a graph with a rewritten first layer computes the same as the trained graph.

The two graphs are walked back from their outputs together, as long as they have the same nodes and constants.  Where
they diverge, the rewritten layer's output is compared with the trained one's, channel by channel.  Equal
there and the same behind it, they are equal; and a fault of the rewritten layer shows there before any other layer
could hide it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.record import FieldError
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.errors import VerificationError
from rkdeploy.host.graph.cut import ending_in
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.rounding import UNIT_ROUNDOFF, RoundingNoise
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import NOISE_FACTOR, Images, network_input

_COPIED = 4 * UNIT_ROUNDOFF
"""Relative difference allowed for values that a layer only moves or activates, in addition to the noise of its sums."""
_HINT = "Build with --stem trained and report the model."


def verify_rewrite(
    trained: onnx.ModelProto, rewritten: onnx.ModelProto, spec: ModelSpec, images: Images
) -> FieldError | None:
    """Prove that a rewritten graph computes the same as the trained graph.

    Args:
        trained: the graph as it was trained.
        rewritten: the graph in the form that is built.
        spec: the contract, for the input.
        images: as for `verify`; at least one.

    Returns:
        The largest difference behind the rewritten layer, in proportion to the allowed one; None when the two
        graphs have the same nodes and constants.

    Raises:
        VerificationError: when a channel differs by more than float32 rounding can.
    """
    pairs = parting_tensors(trained, rewritten)
    if not pairs:
        return None
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    trained, rewritten = ending_in(trained, ours), ending_in(rewritten, theirs)
    sessions, noise = (Session(trained), Session(rewritten)), RoundingNoise(trained)
    errors: list[FieldError] = []
    for image, pixels in images:
        inputs = {spec.input.name: network_input(pixels, spec)}
        a, b = (session.run(inputs) for session in sessions)
        allowed = noise.of(inputs, a)
        for our, their in pairs:
            error = _largest(our, a[our], b[their], NOISE_FACTOR * allowed[our])
            if not error.excess <= 1:
                raise VerificationError(
                    f"The rewritten graph differs from the trained by up to {error.max_error:.3g} in channel "
                    f'{error.name} on "{image}", allowed is {error.allowed:.3g}.',
                    _HINT,
                )
            errors.append(error)
    return max(errors, key=lambda e: e.excess)


def _largest(
    name: str, trained: NDArray[np.float32], rewritten: NDArray[np.float32], noise: NDArray[np.float64]
) -> FieldError:
    """The largest difference of two tensors (1, C, ...) in proportion to the allowed one.

    Raises:
        VerificationError: when their shapes differ.
    """
    if trained.shape != rewritten.shape:
        raise VerificationError(
            f'The rewritten graph has "{name}" of shape {rewritten.shape}, the trained {trained.shape}.', _HINT
        )
    difference = np.abs(trained.astype(np.float64) - rewritten)
    allowed = noise + _COPIED * np.abs(trained) + np.finfo(np.float32).tiny
    at = int(np.argmax(np.nan_to_num(difference / allowed, nan=np.inf)))
    channel = np.unravel_index(at, trained.shape)[1]
    return FieldError(f'{channel} of "{name}"', "value", float(difference.flat[at]), float(allowed.flat[at]))


def _content(graph: GraphView, tensor: str) -> bytes | None:
    """Type, shape and values of a constant; None for a tensor that is not one."""
    constant = graph.constants.get(tensor)
    if constant is None:
        return None
    nameless = onnx.TensorProto()
    nameless.CopyFrom(constant)
    nameless.ClearField("name")
    return nameless.SerializeToString(deterministic=True)


def parting_tensors(a: onnx.ModelProto, b: onnx.ModelProto) -> tuple[tuple[str, str], ...]:
    """The tensors from which on two graphs have the same nodes and constants.

    Args:
        a: one graph.
        b: the other, with as many outputs in the same order.

    Returns:
        Pairs of tensors (of `a`, of `b`) whose producers differ.
    """
    graphs = GraphView(a), GraphView(b)
    pending = list(zip(graphs[0].outputs, graphs[1].outputs, strict=True))
    seen: set[tuple[str, str]] = set()
    parting: list[tuple[str, str]] = []
    while pending:
        pair = pending.pop()
        if pair in seen:
            continue
        seen.add(pair)
        nodes = [graph.producer(name) for graph, name in zip(graphs, pair, strict=True)]
        if nodes[0] is None and nodes[1] is None:
            continue  # both are an input or equal constants
        places = [list(node.output).index(name) if node else -1 for node, name in zip(nodes, pair, strict=True)]
        if nodes[0] is None or nodes[1] is None or places[0] != places[1] or not _same(nodes[0], nodes[1], graphs):
            parting.append(pair)
        else:
            pending.extend(zip(nodes[0].input, nodes[1].input, strict=True))
    return tuple(parting)


def _same(a: onnx.NodeProto, b: onnx.NodeProto, graphs: Sequence[GraphView]) -> bool:
    """True if two nodes do the same with their inputs, and their constants are equal."""
    if (a.op_type, len(a.input), len(a.output)) != (b.op_type, len(b.input), len(b.output)):
        return False
    if _attributes(a) != _attributes(b):
        return False
    return all(_comparable(x, y, graphs) for x, y in zip(a.input, b.input, strict=True))


def _comparable(x: str, y: str, graphs: Sequence[GraphView]) -> bool:
    """True if two inputs of nodes are both computed, or are equal constants or the same input of the graph."""
    if x in graphs[0].producers and y in graphs[1].producers:
        return True
    ours, theirs = _content(graphs[0], x), _content(graphs[1], y)
    computed = x in graphs[0].producers or y in graphs[1].producers
    return not computed and (x == y if ours is None and theirs is None else ours == theirs)


def _attributes(node: onnx.NodeProto) -> Iterable[bytes]:
    return sorted(a.SerializeToString(deterministic=True) for a in node.attribute)

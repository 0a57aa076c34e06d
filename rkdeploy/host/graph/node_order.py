"""Order of a graph's nodes: a tensor's producer before its consumers, as ONNX requires.

Converters to float16 append the casts that they add at the end (Ultralytics' half=True, onnxconverter-common), and
onnx's checker rejects such a file.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator

import onnx
from onnx import AttributeProto

from rkdeploy.errors import GraphError

_DAMAGED = "The file is damaged; export or copy it again."


def sort_nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> bool:
    """Sort the nodes in place, and those of the graphs within them; True if anything moved.

    Nodes that are already in order keep their places.

    Raises:
        GraphError: when nodes depend on each other in a cycle.
    """
    moved = False
    for node in graph.node:
        for inner in _inner_graphs(node):
            moved |= sort_nodes(inner)
    order = _sorted(list(graph.node))
    if order == list(range(len(order))):
        return moved
    nodes = [onnx.NodeProto.FromString(graph.node[index].SerializeToString()) for index in order]
    del graph.node[:]
    graph.node.extend(nodes)
    return True


def _producers(nodes: list[onnx.NodeProto]) -> dict[str, int]:
    """Index of the node that computes each tensor."""
    producer: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in producer:
                raise GraphError(f'The tensor "{name}" is the output of two nodes, expected one.', _DAMAGED)
            producer[name] = index
    return producer


def _sorted(nodes: list[onnx.NodeProto]) -> list[int]:
    """Indices of the nodes, each behind its producers and otherwise as early as before."""
    producer = _producers(nodes)
    waiting: list[int] = []
    takers = defaultdict(list)
    for index, node in enumerate(nodes):
        needed = {producer[name] for name in _taken(node) if name in producer}
        waiting.append(len(needed))
        for other in needed:
            takers[other].append(index)
    ready = [index for index, count in enumerate(waiting) if not count]  # sorted, and so a heap
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for taker in takers[index]:
            waiting[taker] -= 1
            if not waiting[taker]:
                heapq.heappush(ready, taker)
    if len(order) < len(nodes):
        stuck = next(node for node, count in zip(nodes, waiting, strict=True) if count)
        raise GraphError(f'Node "{stuck.name or stuck.output[0]}" takes part in a cycle of nodes.', _DAMAGED)
    return order


def _taken(node: onnx.NodeProto) -> set[str]:
    """Tensors that a node consumes, including those used within its graphs, which see the surrounding tensors."""
    taken = {name for name in node.input if name}
    for graph in _inner_graphs(node):
        within = {output.name for output in graph.output}.union(*(_taken(inner) for inner in graph.node))
        own = {name for inner in graph.node for name in inner.output}
        taken |= within - own
    return taken


def _inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs

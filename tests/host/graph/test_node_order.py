"""Sorting a graph's nodes."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.node_order import sort_nodes


def graph_of(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])


def node(taken: str, given: str, branch: onnx.GraphProto | None = None) -> onnx.NodeProto:
    """An operator that takes and gives the tensors of the names, one letter each."""
    made = helper.make_node("Add" if branch is None else "If", list(taken), list(given), name=given)
    if branch is not None:
        made.attribute.append(helper.make_attribute("then_branch", branch))
    return made


def order(graph: onnx.GraphProto) -> str:
    return "".join(n.name for n in graph.node)


def test_what_computes_comes_first() -> None:
    """Casts that were appended move before what takes them; the rest keeps its order."""
    graph = graph_of(node("b", "c"), node("x", "d"), node("cd", "y"), node("a", "b"), node("x", "a"))
    assert sort_nodes(graph)
    assert order(graph) == "dabcy"
    assert not sort_nodes(graph)


def test_sorted_nodes_stay() -> None:
    """An order that is one of several right ones is left alone."""
    graph = graph_of(node("x", "b"), node("x", "a"), node("ab", "y"))
    assert not sort_nodes(graph)
    assert order(graph) == "bay"


def test_graphs_within_nodes() -> None:
    """A branch is sorted too, and the tensors that it sees around it count as taken."""
    branch = graph_of(node("q", "y"), node("o", "q"))
    graph = graph_of(node("x", "y", branch), node("x", "o"))
    assert sort_nodes(graph)
    assert order(graph) == "oy"
    assert order(graph.node[1].attribute[0].g) == "qy"


def test_a_tensor_of_two_nodes() -> None:
    """It is ambiguous which of them is meant."""
    with pytest.raises(GraphError, match='The tensor "a" is the output of two nodes'):
        sort_nodes(graph_of(node("x", "a"), node("x", "a"), node("a", "y")))


def test_circle() -> None:
    """Nodes that wait for each other are named."""
    with pytest.raises(GraphError, match=r'Node "[ab]" takes part in a cycle'):
        sort_nodes(graph_of(node("b", "a"), node("a", "b"), node("a", "y")))

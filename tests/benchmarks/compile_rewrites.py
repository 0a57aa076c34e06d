"""Exact rewrites of a graph that rkdeploy does not make, for bench_compile_options.py to show why."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Static shape of every tensor between nodes."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    infos = [*graph.value_info, *graph.input, *graph.output]
    return {info.name: [d.dim_value for d in info.type.tensor_type.shape.dim] for info in infos}


def upsample_as_transposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Nearest upsampling by 2 as a transposed depthwise convolution with a kernel of ones."""
    shapes, nodes = shapes_of(model), []
    for node in model.graph.node:
        if node.op_type == "Resize" and shapes[node.output[0]][2] == 2 * shapes[node.input[0]][2]:
            channels, weight = shapes[node.input[0]][1], f"{node.name}.ones"
            model.graph.initializer.append(numpy_helper.from_array(np.ones((channels, 1, 2, 2), np.float32), weight))
            nodes.append(
                helper.make_node(
                    "ConvTranspose", [node.input[0], weight], node.output, f"{node.name}.transposed",
                    kernel_shape=[2, 2], strides=[2, 2], group=channels,
                )
            )  # fmt: skip
        else:
            nodes.append(node)
    return _with_nodes(model, nodes)


def concat_as_sum(model: onnx.ModelProto) -> onnx.ModelProto:
    """A 1x1 convolution of a concatenation as the sum of one of each part."""
    shapes = shapes_of(model)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    joins = {node.output[0]: node for node in model.graph.node if node.op_type == "Concat"}
    for node in model.graph.node:
        for name in node.input:
            if name in joins and (node.op_type != "Conv" or weights[node.input[1]].shape[2:] != (1, 1)):
                del joins[name]
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.output[0] in joins:
            continue
        if node.op_type != "Conv" or node.input[0] not in joins:
            nodes.append(node)
            continue
        parts, start, total = joins[node.input[0]].input, 0, ""
        for index, part in enumerate(parts):
            end, name = start + shapes[part][1], f"{node.name}.part{index}"
            piece = np.ascontiguousarray(weights[node.input[1]][:, start:end])
            model.graph.initializer.append(numpy_helper.from_array(piece, f"{name}.weight"))
            bias = list(node.input[2:]) if index == 0 else []
            nodes.append(helper.make_node("Conv", [part, f"{name}.weight", *bias], [name], name))
            if index:
                out = node.output[0] if index == len(parts) - 1 else f"{name}.sum"
                nodes.append(helper.make_node("Add", [total, name], [out], f"{name}.add"))
            start, total = end, name if index == 0 else f"{name}.sum"
    return _with_nodes(model, nodes)


def shortest_branch_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same nodes, each as late as its readers allow: a branch that waits at a concatenation comes last."""
    remaining, late = list(model.graph.node), []
    readers = {name for node in remaining for name in node.input}
    while remaining:
        ready = [n for n in remaining if not any(o in readers for o in n.output)]
        chosen = ready[-1]
        late.append(chosen)
        remaining.remove(chosen)
        readers = {name for node in remaining for name in node.input}
    return _with_nodes(model, late[::-1])


def _with_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(initializers)
    onnx.checker.check_model(model)
    return model

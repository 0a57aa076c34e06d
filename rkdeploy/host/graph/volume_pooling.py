"""Pools over three dimensions that span no channels, as in LPRNet, written as pools over two.

MaxPool3d with a kernel of (1, k, k) takes every n-th channel and pools them.  torch exports one of an image without its
batch axis as a MaxPool whose three numbers do not fit its input of four axes, which no runtime opens; newer exporters
add an axis before and remove it behind.  Neither is a layer that the vendor's toolkit knows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rkdeploy.host.graph.graph_view import GraphView, attributes

_SLICE_OPSET = 10
"""From it on a slice has its step, as inputs."""


def without_volume_pooling(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with every such pool as a slice and a pool; unchanged if it has none."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    found = [node for node in model.graph.node if _is_volume_pool(node)]
    if not found or opset < _SLICE_OPSET:
        return model
    graph = GraphView(model)
    planar: dict[str, tuple[list[onnx.NodeProto], list[onnx.TensorProto]]] = {}
    left_out: set[str] = set()
    for node in found:
        before = graph.producer(node.input[0])
        behind = graph.consumers(node.output[0])
        widened = before is not None and before.op_type == "Unsqueeze"
        if widened and not (len(behind) == 1 and behind[0].op_type == "Squeeze"):
            continue
        source = before.input[0] if before is not None and widened else node.input[0]
        target = behind[0].output[0] if widened else node.output[0]
        planar[node.output[0]] = _planar(node, source, target)
        left_out.update([behind[0].output[0]] if widened else [])
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        if node.output[0] in planar:
            nodes, constants = planar[node.output[0]]
            result.graph.node.extend(nodes)
            result.graph.initializer.extend(constants)
        elif node.output[0] not in left_out:
            result.graph.node.append(node)
    return result


def _is_volume_pool(node: onnx.NodeProto) -> bool:
    """True for a MaxPool over three dimensions whose kernel is one channel deep, without padding or dilation there."""
    if node.op_type != "MaxPool":
        return False
    given = attributes(node)
    kernel, pads, dilations = (given.get(name, default) for name, default in
                               (("kernel_shape", []), ("pads", [0] * 6), ("dilations", [1] * 3)))  # fmt: skip
    strides = given.get("strides", [1] * 3)
    fits = [len(kernel), len(pads), len(dilations), len(strides)] == [3, 6, 3, 3]
    return fits and kernel[0] == 1 and pads[0] == pads[3] == 0 and strides[0] > 0 and len(node.output) == 1


def _planar(node: onnx.NodeProto, source: str, target: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The slice of every n-th channel, if there is one, and the pool."""
    given = attributes(node)
    every = given.get("strides", [1])[0]
    settings: dict[str, Any] = {
        name: given[name][1:] for name in ("kernel_shape", "strides", "dilations") if name in given
    }
    if "pads" in given:
        settings["pads"] = [given["pads"][i] for i in (1, 2, 4, 5)]
    if "ceil_mode" in given:
        settings["ceil_mode"] = given["ceil_mode"]
    nodes, constants = [], []
    if every > 1:
        parts = {"starts": [0], "ends": [np.iinfo(np.int64).max], "axes": [1], "steps": [every]}
        names = [f"{target}/{part}" for part in parts]
        constants = [
            numpy_helper.from_array(np.array(v, np.int64), n) for n, v in zip(names, parts.values(), strict=True)
        ]
        nodes.append(helper.make_node("Slice", [source, *names], [f"{target}/channels"], name=f"{target}/channels"))
        source = f"{target}/channels"
    nodes.append(helper.make_node("MaxPool", [source], [target], name=node.name or target, **settings))
    return nodes, constants

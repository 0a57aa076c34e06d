"""Images with their channels last, as TensorFlow has them: such a graph gets an input with its channels first."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

_CHANNELS = 3


def with_planar_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with an NCHW image of the same name in the place of an NHWC one; other graphs as they are.

    A transposition is added.  Converters from TensorFlow put the opposite one before the first convolution, and
    simplification removes both.
    """
    constants = {constant.name for constant in model.graph.initializer}
    images = [info for info in model.graph.input if info.name not in constants]
    dims = [d.dim_value for d in images[0].type.tensor_type.shape.dim] if len(images) == 1 else []
    if len(dims) != 4 or dims[3] != _CHANNELS or dims[1] == _CHANNELS:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    (image,) = [info for info in graph.input if info.name not in constants]
    last = f"{image.name}/channels_last"
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == image.name:
                node.input[index] = last
    old = image.type.tensor_type
    sizes = [_size(old.shape.dim[axis]) for axis in (0, 3, 1, 2)]
    kind = old.elem_type or TensorProto.FLOAT
    image.CopyFrom(helper.make_tensor_value_info(image.name, kind, sizes))
    turned = helper.make_node("Transpose", [image.name], [last], name=last, perm=[0, 2, 3, 1])
    nodes = [turned, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return result


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None

"""The head of a classifier: one score per class for the whole image."""

from __future__ import annotations

from collections.abc import Sequence

from rkdeploy.contract.spec import Activation
from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import convolutions
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.emission import Emission, child
from rkdeploy.host.export.heads import four
from rkdeploy.host.graph.head import DecodedTensor, Head, Tap

CLASS_SCORES = "class_scores"
"""Name of a classifier's output in the contract."""


def classify(
    emission: Emission, module: Module, inputs: Sequence[Value], height: int, activation: Activation
) -> tuple[Value, Head]:
    """Emit linear(mean(conv(x))) and `activation`: (N, classes).

    The linear layer is written as a 1x1 convolution, which is how an NPU computes it, so that the raw scores are
    (N, classes, 1, 1) like every other head tensor.

    Args:
        emission: the graph.
        module: the Classify block.
        inputs: inputs of the block.
        height: of the network input in pixels.
        activation: last operator of the training package's own export.

    Raises:
        GraphError: when the weights do not fit together.
    """
    builder = emission.builder
    value = inputs[0] if len(inputs) == 1 else builder.concat(module.path, inputs, 1)
    pooled = child(emission, module, "pool", child(emission, module, "conv", value))
    linear = module.child("linear")
    weight = linear.array("weight")
    if weight.ndim != 2:
        raise GraphError(f'"{linear.path}.weight" has shape {weight.shape}, expected (classes, features).')
    scores = convolutions.convolution(builder, linear, pooled, weight=weight[:, :, None, None], padding=(0, 0))
    output = builder.reshape(module.path, scores, scores.shape[:2])
    if activation == "softmax":
        output = builder.add("Softmax", module.path, [output], output.shape, {"axis": 1})
    tap = Tap(linear.path, scores.name, "class_scores", four(scores), height, name=CLASS_SCORES)
    return output, Head((tap,), scores.channels, tensors=(DecodedTensor(CLASS_SCORES, "output0", activation),))

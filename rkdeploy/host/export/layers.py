"""Emitters for torch's own layers, by class name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.activations import ACTIVATIONS, nothing
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.convolutions import batch_norm, convolution, transposed_convolution
from rkdeploy.host.export.pooling import average_pool, max_pool, mean_hw, upsample, zero_pad


def linear(builder: GraphBuilder, path: str, value: Value, weight: NDArray[Any], bias: NDArray[Any] | None) -> Value:
    """Matrix product x W^T + b over the last dimension; weight (out, in)."""
    matrix = builder.constant(f"{path}.weight", np.ascontiguousarray(weight.T.astype(np.float32)))
    product = builder.add("MatMul", path, [value, matrix], (*value.shape[:-1], weight.shape[0]))
    return product if bias is None else builder.elementwise("Add", path, product, bias.astype(np.float32))


def linear_module(builder: GraphBuilder, module: Module, value: Value) -> Value:
    """nn.Linear."""
    bias = module.array("bias") if "bias" in module.tensors else None
    return linear(builder, module.path, value, module.array("weight"), bias)


LAYERS: dict[str, Callable[[GraphBuilder, Module, Value], Value]] = {
    **ACTIVATIONS,
    "Conv2d": convolution,
    "ConvTranspose2d": transposed_convolution,
    "DWConvTranspose2d": transposed_convolution,
    "BatchNorm2d": batch_norm,
    "SyncBatchNorm": batch_norm,
    "MaxPool2d": max_pool,
    "AvgPool2d": average_pool,
    "Upsample": upsample,
    "ZeroPad2d": zero_pad,
    "Linear": linear_module,
    "Dropout": nothing,
    "AdaptiveAvgPool2d": mean_hw,
}

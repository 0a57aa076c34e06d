"""Emitters for activations, by class name; those that old releases of YOLOv5 wrote themselves have the same names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.export.layer_settings import number


def _silu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    gate = builder.add("Sigmoid", module.path, [value], value.shape)
    return builder.elementwise("Mul", module.path, value, gate)


def _hardswish(builder: GraphBuilder, module: Module, value: Value) -> Value:
    gate = builder.add("HardSigmoid", module.path, [value], value.shape, {"alpha": 1 / 6, "beta": 0.5})
    return builder.elementwise("Mul", module.path, value, gate)


def _mish(builder: GraphBuilder, module: Module, value: Value) -> Value:
    soft = builder.add("Softplus", module.path, [value], value.shape)
    return builder.elementwise("Mul", module.path, value, builder.add("Tanh", module.path, [soft], value.shape))


def _leaky_relu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    slope = number(module, "negative_slope", 0.01)
    return builder.add("LeakyRelu", module.path, [value], value.shape, {"alpha": slope})


def _relu6(builder: GraphBuilder, module: Module, value: Value) -> Value:
    low = builder.constant(f"{module.path}.min", np.array(0, np.float32))
    high = builder.constant(f"{module.path}.max", np.array(6, np.float32))
    return builder.add("Clip", module.path, [value, low, high], value.shape)


def _prelu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    slope = builder.constant(f"{module.path}.slope", module.array("weight").reshape(-1, 1, 1))
    return builder.add("PRelu", module.path, [value, slope], value.shape)


def _elu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    return builder.add("Elu", module.path, [value], value.shape, {"alpha": number(module, "alpha", 1.0)})


def _gelu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    if module.attribute("approximate", "none") != "none":
        raise GraphError(f'"{module.path}" is the tanh approximation of GELU, which is not supported.')
    erf = builder.add("Erf", module.path, [builder.elementwise("Mul", module.path, value, 0.5**0.5)], value.shape)
    half = builder.elementwise("Mul", module.path, value, 0.5)
    return builder.elementwise("Mul", module.path, half, builder.elementwise("Add", module.path, erf, 1.0))


def _frelu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    spatial = convolution(builder, module.child("conv"), value, module.child("bn"))
    return builder.add("Max", module.path, [value, spatial], value.shape)


def _unary(op: str) -> Callable[[GraphBuilder, Module, Value], Value]:
    def emit(builder: GraphBuilder, module: Module, value: Value) -> Value:
        return builder.add(op, module.path, [value], value.shape)

    return emit


def nothing(_builder: GraphBuilder, _module: Module, value: Value) -> Value:
    return value


ACTIVATIONS: dict[str, Callable[[GraphBuilder, Module, Value], Value]] = {
    "SiLU": _silu,
    "Swish": _silu,
    "MemoryEfficientSwish": _silu,
    "Hardswish": _hardswish,
    "Mish": _mish,
    "MemoryEfficientMish": _mish,
    "LeakyReLU": _leaky_relu,
    "ReLU": _unary("Relu"),
    "ReLU6": _relu6,
    "Sigmoid": _unary("Sigmoid"),
    "Tanh": _unary("Tanh"),
    "PReLU": _prelu,
    "ELU": _elu,
    "GELU": _gelu,
    "FReLU": _frelu,
    "Identity": nothing,
}

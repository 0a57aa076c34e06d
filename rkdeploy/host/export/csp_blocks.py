"""Emitters for the convolutional blocks of YOLOv6 to YOLO26: C2f and its variants, ELAN, large kernels, CBFuse.

Formulas are those of the blocks' forward passes in inference mode (ultralytics.nn.modules.block and conv).  Branches of
a re-parameterized block, which differ only in their kernels, are added into one convolution: exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError, shown
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import convolutions, layer_settings, pooling
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.emission import Emission, Emitter, chain, child, emit, one

Kernel = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Weights (out, in / groups, kh, kw) and bias (out,) of a convolution with its BatchNorm folded in."""


def halves(emission: Emission, module: Module, value: Value) -> tuple[Value, ...]:
    """The first and the second half of the channels."""
    if value.channels % 2:
        raise GraphError(f'"{module.path}" ({module.class_name}) halves {value.channels} channels.')
    return emission.builder.split(module.path, value, [value.channels // 2] * 2, 1)


def joined(emission: Emission, module: Module, parts: Sequence[Value], last: str) -> Value:
    """The channels of all parts side by side, through the sub-module `last`."""
    return child(emission, module, last, emission.builder.concat(module.path, parts, 1))


def summed(emission: Emission, module: Module, a: Value, b: Value) -> Value:
    """Two tensors of one shape, added."""
    if a.shape != b.shape:
        raise GraphError(f'"{module.path}" ({module.class_name}) adds tensors of shapes {a.shape} and {b.shape}.')
    return emission.builder.elementwise("Add", module.path, a, b)


def _c1(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """m(y) + y with y = cv1(x)."""
    value = child(emission, module, "cv1", one(module, inputs))
    return summed(emission, module, child(emission, module, "m", value), value)


def _c2(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cat(m(a), b)) with a, b = halves of cv1(x)."""
    a, b = halves(emission, module, child(emission, module, "cv1", one(module, inputs)))
    return joined(emission, module, [child(emission, module, "m", a), b], "cv2")


def c2f(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cat(a, b, m0(b), m1(m0(b)), ...)) with a, b = halves of cv1(x); `m` makes it C2f, C3k2, C2fCIB or C2fPSA."""
    a, b = halves(emission, module, child(emission, module, "cv1", one(module, inputs)))
    return joined(emission, module, [a, b, *chain(emission, module.child("m"), b)], "cv2")


def _c3f(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(cat(cv2(x), y, m0(y), m1(m0(y)), ...)) with y = cv1(x)."""
    value = one(module, inputs)
    a, b = child(emission, module, "cv2", value), child(emission, module, "cv1", value)
    return joined(emission, module, [a, b, *chain(emission, module.child("m"), b)], "cv3")


def _rep_c3(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(m(cv1(x)) + cv2(x))."""
    value = one(module, inputs)
    inner = child(emission, module, "m", child(emission, module, "cv1", value))
    return child(emission, module, "cv3", summed(emission, module, inner, child(emission, module, "cv2", value)))


def _elan(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv4(cat(a, b, cv2(b), cv3(cv2(b)))) with a, b = halves of cv1(x) (RepNCSPELAN4, ELAN1)."""
    a, b = halves(emission, module, child(emission, module, "cv1", one(module, inputs)))
    c = child(emission, module, "cv2", b)
    return joined(emission, module, [a, b, c, child(emission, module, "cv3", c)], "cv4")


def _spp_elan(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv5(cat(y, p(y), p(p(y)), p(p(p(y))))) with y = cv1(x)."""
    parts = [child(emission, module, "cv1", one(module, inputs))]
    for name in ("cv2", "cv3", "cv4"):
        parts.append(child(emission, module, name, parts[-1]))
    return joined(emission, module, parts, "cv5")


def _sppf(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cat(y, p(y), ...)) with y = cv1(x) and `n` poolings, added to x if `add` is set."""
    value = one(module, inputs)
    parts = [child(emission, module, "cv1", value)]
    for _ in range(layer_settings.whole_number(module, "n", 3)):
        parts.append(child(emission, module, "m", parts[-1]))
    out = joined(emission, module, parts, "cv2")
    return summed(emission, module, out, value) if module.attribute("add", False) else out


def _average_2x2(emission: Emission, module: Module, value: Value) -> Value:
    """Mean of every 2x2 window, stride 1: one row and one column less."""
    n, c, h, w = value.shape
    return emission.builder.add(
        "AveragePool",
        module.path,
        [value],
        (n, c, h - 1, w - 1),
        {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 0, 0]},
    )


def _a_conv(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv1(mean2x2(x))."""
    return child(emission, module, "cv1", _average_2x2(emission, module, one(module, inputs)))


def _a_down(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cat(cv1(a), cv2(maxpool3x3/2(b))) with a, b = halves of mean2x2(x)."""
    a, b = halves(emission, module, _average_2x2(emission, module, one(module, inputs)))
    n, c, h, w = b.shape
    pooled = emission.builder.add(
        "MaxPool",
        module.path,
        [b],
        (n, c, (h - 1) // 2 + 1, (w - 1) // 2 + 1),
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [1, 1], "ceil_mode": 0},
    )
    parts = [child(emission, module, "cv1", a), child(emission, module, "cv2", pooled)]
    return emission.builder.concat(module.path, parts, 1)


def _sc_down(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cv1(x))."""
    return child(emission, module, "cv2", child(emission, module, "cv1", one(module, inputs)))


def _cib(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv1(x), added to x if `add` is set."""
    value = one(module, inputs)
    out = child(emission, module, "cv1", value)
    return summed(emission, module, value, out) if module.attribute("add") else out


def _cb_linear(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """A convolution whose channels are split into several tensors, for CBFuse to choose from."""
    value = convolutions.convolution(emission.builder, module.child("conv"), one(module, inputs))
    sizes = module.attribute("c2s", ())
    if not isinstance(sizes, (list, tuple)) or not all(type(n) is int for n in sizes):
        raise GraphError(f'"{module.path}" (CBLinear) cuts its channels into {shown(sizes)}.')
    parts = (value,) if len(sizes) == 1 else emission.builder.split(module.path, value, sizes, 1)
    emission.parts[value.name] = parts
    return value


def _cb_fuse(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """The sum of the last input and one tensor of each other, resized to its size (nearest)."""
    chosen = module.attribute("idx", ())
    if not isinstance(chosen, (list, tuple)) or len(chosen) != len(inputs) - 1:
        raise GraphError(f'"{module.path}" (CBFuse) chooses {shown(chosen)} of {len(inputs) - 1} layers.')
    total = inputs[-1]
    for source, index in zip(inputs[:-1], chosen, strict=True):
        value = emission.parts.get(source.name, (source,))[index]
        resized = pooling.resize_nearest(emission.builder, module.path, value, (total.shape[2], total.shape[3]))
        total = summed(emission, module, total, resized)
    return total


def _index(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:  # noqa: ARG001 - an Emitter
    """One of the inputs."""
    index = module.attribute("index", 0)
    if type(index) is not int or not 0 <= index < len(inputs):
        raise GraphError(f'"{module.path}" (Index) takes input {shown(index)} of {len(inputs)}.')
    return inputs[index]


# Re-parameterized convolutions: the sum of branches becomes one kernel.


def folded(conv: Module, norm: Module | None) -> Kernel:
    """A convolution's weights and bias with the BatchNorm behind it folded in, float64."""
    weight = conv.array("weight").astype(np.float64)
    bias = conv.array("bias").astype(np.float64) if "bias" in conv.tensors else np.zeros(weight.shape[0])
    if norm is None:
        return weight, bias
    scale, shift = convolutions.batch_norm_scale(norm)
    return weight * scale[:, None, None, None], bias * scale + shift


def _centered(kernel: NDArray[np.float64], hw: tuple[int, int]) -> NDArray[np.float64]:
    """A kernel padded with zeros to (h, w), centered."""
    top, left = (hw[0] - kernel.shape[2]) // 2, (hw[1] - kernel.shape[3]) // 2
    padded = np.zeros((*kernel.shape[:2], *hw))
    padded[:, :, top : top + kernel.shape[2], left : left + kernel.shape[3]] = kernel
    return padded


def identity_kernel(norm: Module, inputs: int) -> Kernel:
    """A BatchNorm alone, as a 1x1 convolution; `inputs` are the channels that each output sees (one group's)."""
    scale, shift = convolutions.batch_norm_scale(norm)
    weight = np.zeros((scale.size, inputs, 1, 1))
    weight[np.arange(scale.size), np.arange(scale.size) % inputs, 0, 0] = scale
    return weight, shift


def one_convolution(emission: Emission, module: Module, conv: Module, kernels: Sequence[Kernel], value: Value) -> Value:
    """`conv` with the sum of several kernels, and the block's activation."""
    shape = kernels[0][0].shape[2:]
    weight = sum(_centered(kernel, (shape[0], shape[1])) for kernel, _ in kernels)
    bias = np.sum([bias for _, bias in kernels], axis=0)
    out = convolutions.convolution(emission.builder, conv, value, weight=np.asarray(weight), bias=bias)
    return child(emission, module, "act", out) if "act" in module.children else out


def _rep_conv(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """act(conv1(x) + conv2(x) + bn(x)), or act(conv(x)) once fused."""
    value = one(module, inputs)
    if "conv" in module.children:
        return one_convolution(emission, module, module.child("conv"), [folded(module.child("conv"), None)], value)
    branches = [module.child("conv1"), module.child("conv2")]
    kernels = [folded(b.child("conv"), b.children.get("bn")) for b in branches]
    if "bn" in module.children:
        kernels.append(identity_kernel(module.child("bn"), kernels[0][0].shape[1]))
    return one_convolution(emission, module, branches[0].child("conv"), kernels, value)


def _rep_vgg_dw(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """act(conv7x7(x) + conv3x3(x)), depthwise, or act(conv(x)) once fused."""
    value = one(module, inputs)
    conv = module.child("conv")
    if "conv1" not in module.children:
        plain = conv if "weight" in conv.tensors else conv.child("conv")
        norm = conv.children.get("bn")
        return one_convolution(emission, module, plain, [folded(plain, norm)], value)
    kernels = [folded(b.child("conv"), b.children.get("bn")) for b in (conv, module.child("conv1"))]
    return one_convolution(emission, module, conv.child("conv"), kernels, value)


def _conv2(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """act(bn(conv(x) + cv2(x)))."""
    value = one(module, inputs)
    conv, norm = module.child("conv"), module.children.get("bn")
    kernels = [folded(conv, norm)]
    if "cv2" in module.children:
        weight = module.child("cv2").array("weight").astype(np.float64)
        scale = convolutions.batch_norm_scale(norm)[0] if norm is not None else np.ones(weight.shape[0])
        kernels.append((weight * scale[:, None, None, None], np.zeros(weight.shape[0])))
    return one_convolution(emission, module, conv, kernels, value)


def _light_conv(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """conv2(conv1(x))."""
    return child(emission, module, "conv2", child(emission, module, "conv1", one(module, inputs)))


def _conv_transpose(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """act(bn(conv_transpose(x)))."""
    norm = module.children.get("bn")
    norm = norm if norm is not None and norm.class_name == "BatchNorm2d" else None
    conv = module.child("conv_transpose")
    value = convolutions.transposed_convolution(emission.builder, conv, one(module, inputs), norm)
    return child(emission, module, "act", value) if "act" in module.children else value


# ResNet, as the classifiers of the same package use it.


def _resnet_block(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """relu(cv3(cv2(cv1(x))) + shortcut(x))."""
    value = one(module, inputs)
    inner = child(emission, module, "cv2", child(emission, module, "cv1", value))
    total = summed(emission, module, child(emission, module, "cv3", inner), child(emission, module, "shortcut", value))
    return emission.builder.add("Relu", module.path, [total], total.shape)


def _resnet_layer(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    return emit(emission, module.child("layer"), inputs)


CSP_BLOCKS: dict[str, Emitter] = {
    "C1": _c1,
    "C2": _c2,
    "C2f": c2f,
    "C3k2": c2f,
    "C2fCIB": c2f,
    "C3f": _c3f,
    "RepC3": _rep_c3,
    "RepNCSPELAN4": _elan,
    "ELAN1": _elan,
    "SPPELAN": _spp_elan,
    "SPPF": _sppf,
    "AConv": _a_conv,
    "ADown": _a_down,
    "SCDown": _sc_down,
    "CIB": _cib,
    "CBLinear": _cb_linear,
    "CBFuse": _cb_fuse,
    "Index": _index,
    "RepConv": _rep_conv,
    "RepVGGDW": _rep_vgg_dw,
    "Conv2": _conv2,
    "LightConv": _light_conv,
    "ConvTranspose": _conv_transpose,
    "ResNetBlock": _resnet_block,
    "ResNetLayer": _resnet_layer,
}

"""Emitter for YOLOv7's RepConv_OREPA: a dense kernel that is itself a sum of kernels, folded into one convolution.

Formulas are those of OREPA_3x3_RepConv.weight_gen and RepConv_OREPA.forward in models/common.py of WongKinYiu/yolov7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.convolutions import batch_norm_scale
from rkdeploy.host.export.csp_blocks import Kernel, folded, identity_kernel, one_convolution
from rkdeploy.host.export.emission import Emission, child, one
from rkdeploy.host.export.layer_settings import whole_number

Floats = NDArray[np.float64]


def rep_conv_orepa(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """nonlinearity(se(dense(x) + pointwise(x) + bn(x))), or of the one convolution that these were folded into."""
    if "rbr_reparam" in module.children:
        conv = module.child("rbr_reparam")
        kernels: list[Kernel] = [folded(conv, None)]
    else:
        conv, pointwise = module.child("rbr_dense"), module.child("rbr_1x1")
        kernels = [_dense_kernel(conv), folded(pointwise.child("conv"), pointwise.child("bn"))]
        if "rbr_identity" in module.children:
            kernels.append(identity_kernel(module.child("rbr_identity"), kernels[0][0].shape[1]))
    value = one_convolution(emission, module, conv, kernels, one(module, inputs))
    return child(emission, module, "nonlinearity", child(emission, module, "se", value))


def _dense_kernel(dense: Module) -> Kernel:
    """The five kernels (out, in / groups, k, k), each times its row of `vector`, with the BatchNorm behind them."""
    groups = whole_number(dense, "groups", 1)
    kernels = (
        _values(dense, "origin"),
        _values(dense, "avg_conv") * _values(dense, "avg_avg"),
        _values(dense, "pfir_conv") * _values(dense, "prior")[:, None],
        _chained(dense, groups),
        _separable(dense),
    )
    scale, shift = batch_norm_scale(dense.child("bn"))
    gains = _gains(dense, len(kernels), scale.size)
    if any(kernel.shape != kernels[0].shape for kernel in kernels) or len(kernels[0]) != scale.size:
        raise GraphError(
            f'"{dense.path}" adds kernels of {", ".join(str(k.shape) for k in kernels)} for {scale.size} channels, '
            "expected one shape."
        )
    total = sum(gain[:, None, None, None] * kernel for gain, kernel in zip(gains, kernels, strict=True))
    return np.asarray(total) * scale[:, None, None, None], shift


def _gains(dense: Module, kernels: int, channels: int) -> Floats:
    """One gain per kernel and channel.  A row behind them is not used, and upstream does not set it.

    Raises:
        GraphError: when there are fewer, or one is not a number.
    """
    tensor = dense.tensors.get("vector")
    if tensor is None or len(tensor.shape) != 2 or tensor.shape[0] < kernels or tensor.shape[1] != channels:
        shape = None if tensor is None else tensor.shape
        raise GraphError(f'"{dense.path}.vector" has shape {shape}, expected ({kernels}, {channels}).')
    dense.reads.add(f"{dense.path}.vector")
    gains = tensor.numpy()[:kernels].astype(np.float64)
    if not np.isfinite(gains).all():
        raise GraphError(f'"{dense.path}.vector" holds values that are NaN or infinite.')
    return gains


def _values(dense: Module, name: str) -> Floats:
    return dense.array(f"weight_rbr_{name}").astype(np.float64)


def _chained(dense: Module, groups: int) -> Floats:
    """A 1x1 convolution, or what it adds to the identity, followed by one of k x k: (out, in / groups, k, k)."""
    if "weight_rbr_1x1_kxk_idconv1" in dense.tensors:
        first = _values(dense, "1x1_kxk_idconv1") + dense.array("id_tensor").astype(np.float64)
    else:
        first = _values(dense, "1x1_kxk_conv1")
    second = _values(dense, "1x1_kxk_conv2")
    between, inputs = first.shape[:2]
    outputs, _, *window = second.shape
    grouped = first.reshape(groups, between // groups, inputs)
    kernel = np.einsum("gci,gochw->goihw", grouped, second.reshape(groups, outputs // groups, -1, *window))
    return np.asarray(kernel.reshape(outputs, inputs, *window))


def _separable(dense: Module) -> Floats:
    """A depthwise convolution followed by a 1x1 one: (out, in, k, k)."""
    depthwise, pointwise = _values(dense, "gconv_dw"), _values(dense, "gconv_pw")
    inputs = whole_number(dense, "in_channels", 0)
    grouped = depthwise.reshape(inputs, -1, *depthwise.shape[2:])
    return np.asarray(np.einsum("gthw,ogt->oghw", grouped, pointwise.reshape(len(pointwise), inputs, -1)))

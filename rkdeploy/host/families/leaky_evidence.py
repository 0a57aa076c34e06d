"""Slope of a state dict's activations, which its keys do not say, from the statistics that its normalizations keep.

A BatchNorm keeps the mean and variance of what it was given in training.  The first layers are run on an image with the
spectrum of photographs, once per slope: with the right one the means are nearly those that were kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Module

_SIDE: Final = 160
_LEVEL: Final = (110.0, 60.0)
"""Mean and deviation of a photograph's pixels."""
_OWN_SHARE: Final = 0.3
"""Part of each channel that the others do not have."""
_DECISIVE: Final = 1.5
_EPS: Final = 1e-5

Tensor = NDArray[np.float64]


def likeliest_slope(first: Module, separable: Module, mean: Sequence[float], slopes: Sequence[float]) -> float:
    """The slope below zero that fits the statistics of the first layers best.

    Args:
        first: a 3x3 convolution of stride 2 and its BatchNorm, the parts "0" and "1".
        separable: behind it, a depthwise 3x3 convolution, BatchNorm, activation, 1x1 convolution and BatchNorm: the
            parts "0", "1", "3" and "4".
        mean: of a pixel, which the network's input is less.
        slopes: those to try.

    Raises:
        CheckpointError: when none is much better than the others.
    """
    image = photograph_like() - np.array(mean)[:, None, None]
    given = _normalized(first.child("1"), _convolved(first.child("0"), image, 2))
    misfits = {slope: _misfit(separable, _leaky(given, slope), slope) for slope in slopes}
    best, second = sorted(misfits, key=misfits.__getitem__)[:2]
    if misfits[second] < _DECISIVE * misfits[best]:
        raise CheckpointError(
            f'The weights of "{separable.path}" do not show whether its activations are ReLU or LeakyReLU, and their '
            "names do not say it.",
            "Export ONNX where the model was trained and build from that.",
        )
    return best


def photograph_like() -> Tensor:
    """An image with the spectrum of photographs, (3, side, side), pixel values 0..255."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE)[None])
    frequency[0, 0] = 1.0

    def plane() -> Tensor:
        made = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(_SIDE, _SIDE))) / frequency)
        return np.asarray(made / made.std())

    common = plane()
    planes = [common + _OWN_SHARE * plane() for _ in range(3)]
    return np.stack([np.clip(p / p.std() * _LEVEL[1] + _LEVEL[0], 0, 255) for p in planes])


def _misfit(separable: Module, given: Tensor, slope: float) -> float:
    """Mean distance of the means of both normalizations' inputs from those that they keep, in deviations."""
    deep = _convolved(separable.child("0"), given, 1)
    normalized = _leaky(_normalized(separable.child("1"), deep), slope)
    weight = separable.child("3").array("weight").astype(np.float64)
    if weight.ndim != 4 or weight.shape[1:] != (len(normalized), 1, 1):
        raise CheckpointError(f'"{separable.path}.3" has weights {weight.shape}, expected a 1x1 convolution.')
    wide = np.tensordot(weight[:, :, 0, 0], normalized, 1)
    return float(np.mean([_distance(separable.child("1"), deep), _distance(separable.child("4"), wide)]))


def _distance(norm: Module, given: Tensor) -> float:
    kept, variance = (norm.array(name).astype(np.float64) for name in ("running_mean", "running_var"))
    if kept.shape != variance.shape or len(kept) != len(given):
        raise CheckpointError(f'"{norm.path}" keeps {len(kept)} means, expected {len(given)}.')
    return float(np.sqrt(np.mean((given.mean(axis=(1, 2)) - kept) ** 2 / (np.abs(variance) + _EPS))))


def _convolved(conv: Module, given: Tensor, stride: int) -> Tensor:
    """A 3x3 convolution with a padding of 1, depthwise where its weights have one input channel."""
    weight = conv.array("weight").astype(np.float64)
    depthwise = weight.ndim == 4 and weight.shape[1] == 1
    if weight.ndim != 4 or weight.shape[2:] != (3, 3) or len(given) != weight.shape[0 if depthwise else 1]:
        raise CheckpointError(f'"{conv.path}" has weights {weight.shape}, expected a 3x3 convolution.')
    padded = np.pad(given, ((0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (1, 3, 3))[:, ::stride, ::stride, 0]
    subscripts = "chwij,cij->chw" if depthwise else "chwij,ocij->ohw"
    return np.asarray(np.einsum(subscripts, windows, weight[:, 0] if depthwise else weight, optimize=True))


def _normalized(norm: Module, given: Tensor) -> Tensor:
    mean, variance, weight, bias = (
        norm.array(name).astype(np.float64)[:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    if any(len(v) != len(given) for v in (mean, variance, weight, bias)):
        raise CheckpointError(f'"{norm.path}" keeps {len(mean)} means, expected {len(given)}.')
    return np.asarray((given - mean) / np.sqrt(np.abs(variance) + _EPS) * weight + bias)


def _leaky(given: Tensor, slope: float) -> Tensor:
    return np.asarray(np.where(given > 0, given, slope * given))

"""Heads of the ultralytics package that give a map of the whole image: SemanticSegment and Depth (8.4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rkdeploy.contract.formulas import ClassMapSpec, DepthFormula
from rkdeploy.errors import CheckpointError, GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.emission import Emission, chain, emit
from rkdeploy.host.export.heads import four
from rkdeploy.host.export.pooling import resize_between_corners
from rkdeploy.host.graph.head import DecodedTensor, Head, Tap

SEMANTIC, DEPTH = "semantic", "depth"
"""Names of the maps in the contract."""
_LOWEST, _HIGHEST = -4.0, 5.0
"""Limits of the logarithm of depth, constants in `Depth.forward`."""


def semantic_map(
    emission: Emission, head: Module, features: Sequence[Value], class_map: ClassMapSpec, height: int
) -> tuple[Value, Head]:
    """Emit the class logits of the finest level, (1, nc, H/8, W/8), as the package's own inference gives them.

    Args:
        emission: the graph.
        head: the SemanticSegment block.
        features: its inputs, the finest level first; the other ones serve training only.
        class_map: name and classes of the map.
        height: of the network input in pixels.

    Raises:
        GraphError: when the number of planes is not the number of classes, or the weights do not fit together.
    """
    value = chain(emission, head.child("classifier"), features[0])[-1]
    classes = len(class_map.class_names)
    if value.channels not in (classes, 1 if classes == 2 else classes):
        raise GraphError(f'"{head.path}.classifier" gives {value.channels} planes for {classes} classes.')
    tap = Tap(f"{head.path}.classifier", value.name, "class_map", four(value), height // value.shape[2], name=SEMANTIC)
    found = Head((tap,), classes, tensors=(DecodedTensor(SEMANTIC, "output0", "linear"),), class_maps=(class_map,))
    return value, found


def depth_map(emission: Emission, head: Module, features: Sequence[Value], height: int) -> tuple[Value, Head]:
    """Emit the depth in meters, (1, 1, H/4, W/4), as the package's own inference gives it before it is enlarged.

    The levels are joined from the coarsest to the finest.  The raw tensor is the logarithm of depth before its limits.

    Args:
        emission: the graph.
        head: the Depth block.
        features: its inputs, the finest level first.
        height: of the network input in pixels.

    Raises:
        CheckpointError: when the calibration is not one number each, or not one that depth can be computed with.
        GraphError: when the weights do not fit together.
    """
    builder = emission.builder
    projections, refinements = head.child("proj").children, head.child("refine").children
    if not len(features) == len(projections) == len(refinements) + 1:
        raise CheckpointError(f'"{head.path}" reads {len(features)} layers, expected one for each of its levels.')
    levels = [emit(emission, projections[str(i)], [value]) for i, value in enumerate(features)]
    value = levels[-1]
    for number in range(len(levels) - 2, -1, -1):
        finer = levels[number]
        path = f"{head.path}.fusion.{number}"
        value = resize_between_corners(builder, path, value, (finer.shape[2], finer.shape[3]))
        value = chain(emission, refinements[str(number)], builder.elementwise("Add", path, value, finer))[-1]
    raw = chain(emission, head.child("head"), value)[-1]
    if raw.channels != 1:
        raise GraphError(f'"{head.path}.head" gives {raw.channels} planes, expected one of depth.')
    gain, offset = (_calibration(head, name) for name in ("cal_a", "cal_b"))
    limits = [
        builder.constant(f"{head.path}.{name}", np.array(v, np.float32))
        for name, v in (("low", _LOWEST), ("high", _HIGHEST))
    ]
    value = builder.add("Clip", head.path, [raw, *limits], raw.shape)
    value = builder.elementwise("Add", head.path, builder.elementwise("Mul", head.path, value, gain), offset)
    value = builder.add("Exp", head.path, [value], value.shape)
    tap = Tap(f"{head.path}.head", raw.name, "depth_map", four(raw), height // raw.shape[2], name=DEPTH)
    formula = DepthFormula(
        "metric", exponential=True, gain=gain, offset=offset, low=_LOWEST, high=_HIGHEST, corners=True
    )
    return value, Head((tap,), 1, tensors=(DecodedTensor(DEPTH, "output0", "linear"),), depth=formula)


def _calibration(head: Module, name: str) -> float:
    """One number of `exp(cal_a log d + cal_b)`; both were added in 8.4, their defaults change nothing."""
    values = head.array(name).ravel()
    if values.size != 1 or not (name == "cal_b" or 0 < values[0] < 1e6) or abs(values[0]) > 1e6:
        raise CheckpointError(f'"{head.path}.{name}" is {values[:4].tolist()}, expected one number, of cal_a above 0.')
    return float(values[0])

"""Last layers of an anchor-free head: which sub-modules inference reads, and their raw tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.emission import Emission, emit
from rkdeploy.host.export.point_heads import PointMaps


@dataclass(frozen=True, slots=True)
class PointBranches:
    """The sub-modules of a head that inference reads; each has one part per level.

    Attributes:
        boxes: distribution logits, or the four distances.
        scores: class logits.
        extra: keypoints, mask coefficients or the angle; None for plain detection.
        last: last convolutions of `extra`, where they are outside of it.
        distribution: the constant weights of the bins, as the head stores them; None if it does not.
    """

    boxes: Module
    scores: Module
    extra: Module | None = None
    last: Module | None = None
    distribution: Module | None = None


def point_levels(
    emission: Emission, head: Module, branches: PointBranches, strides: Sequence[int], features: Sequence[Value]
) -> list[PointMaps]:
    """The raw tensors of all levels.

    Args:
        emission: the graph.
        head: the head.
        branches: its sub-modules in use.
        strides: input pixels per cell of each level.
        features: the layers that the levels read.

    Raises:
        CheckpointError: when there are not as many parts as levels, or the bins are not weighted 0, 1, 2, ...
    """
    if not len(features) == len(strides) == len(branches.boxes.children) == len(branches.scores.children):
        raise CheckpointError(f'"{head.path}" reads {len(features)} layers, expected one for each of its levels.')
    levels = []
    for number, (value, stride) in enumerate(zip(features, strides, strict=True)):
        name = str(number)
        boxes, scores = (emit(emission, branch.child(name), [value]) for branch in (branches.boxes, branches.scores))
        more = None
        if branches.extra is not None:
            more = emit(emission, branches.extra.child(name), [value])
            more = emit(emission, branches.last.child(name), [more]) if branches.last is not None else more
        levels.append(PointMaps(f"{head.path}.{number}", stride, boxes, scores, more))
    _require_plain_expectation(branches.distribution, levels[0].boxes.channels // 4)
    return levels


def _require_plain_expectation(distribution: Module | None, bins: int) -> None:
    """Check that a distribution's bins count 0, 1, 2, ..., as every decode assumes; the head stores them.

    Raises:
        CheckpointError: for other weights.
    """
    if bins == 1 or distribution is None:
        return
    weights = distribution.child("conv").array("weight").ravel()
    if not np.array_equal(weights, np.arange(bins)):
        raise CheckpointError(
            f'"{distribution.path}" weights {bins} bins with {shown(weights.tolist())}, expected 0, 1, 2, ...',
            "It was trained, or the file is damaged: they are constants in every release.",
        )

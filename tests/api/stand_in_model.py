"""A `Model` whose network is a stand-in: it answers with the class whose number is the image's gray value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkdeploy.api.model import Model
from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.spec import NpuModel
from rkdeploy.device.postprocess.thresholds import Thresholds
from tests.device.stream.stand_ins import SPEC, StandInRuntime

BUNDLE = Bundle(Path("stand-in"), SPEC, NpuModel(file="x.rknn", target="rk3588", dtype="int8"))


class Opened:
    """Makes the contexts of a model, and keeps them to be looked at.

    Args:
        contexts: how many there are.
        before: called with the image's value before it is answered; may wait or raise.
    """

    def __init__(self, contexts: int = 1, before: Callable[[int], object] | None = None) -> None:
        self.contexts, self.before = contexts, before
        self.groups: list[list[StandInRuntime]] = []

    def __call__(self) -> list[StandInRuntime]:
        self.groups.append([StandInRuntime(self.before) for _ in range(self.contexts)])
        return self.groups[-1]


def stand_in_model(opened: Opened, thresholds: Thresholds | None = None) -> Model:
    """A model on stand-ins."""
    return Model(BUNDLE, thresholds or Thresholds(), "stand-in", opened)


def gray(value: int, side: int = 32) -> NDArray[np.uint8]:
    """An image of one gray value, (side, side, 3)."""
    return np.full((side, side, 3), value, np.uint8)

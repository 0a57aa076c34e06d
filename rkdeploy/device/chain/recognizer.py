"""A further model of a chain: what it is, and which detections it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.chain.crop_rule import CropRule
from rkdeploy.device.postprocess.detections import Detections, NestedResult
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import Runtime


@dataclass(frozen=True, slots=True)
class Recognizer:
    """A further model of a chain.

    Attributes:
        name: of its bundle.
        spec: the contract.
        thresholds: limits of what it detects, if it is a detector itself.
        runtimes: one per core, not entered.
        rule: which detections it looks at, and how they are cut out.
    """

    name: str
    spec: ModelSpec
    thresholds: Thresholds
    runtimes: Sequence[Runtime]
    rule: CropRule

    def result(self, detections: Detections) -> NestedResult:
        """Its result for one object."""
        return NestedResult(self.name, self.spec.class_names, detections)

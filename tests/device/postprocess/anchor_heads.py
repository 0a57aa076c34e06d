"""Small anchor heads for the tests of the decode: a contract, and tensors cut from given fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.roles import OutputRole
from rkdeploy.contract.spec import Activation, Anchors, HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.runtime.protocol import HeadTensor

ANCHORS = Anchors((((10.0, 13.0), (33.0, 23.0)), ((30.0, 61.0), (59.0, 119.0))))
STRIDES = (8, 16)
LAYOUTS: dict[str, tuple[OutputRole, ...]] = {
    "map": ("anchor_map",),
    "boxes and scores": ("anchor_boxes", "anchor_scores"),
    "xy, wh and scores": ("anchor_xy", "anchor_wh", "anchor_scores"),
}
MASK_LAYOUTS: dict[str, tuple[OutputRole, ...]] = {
    "map": ("anchor_map",),
    "boxes, scores and coefficients": ("anchor_boxes", "anchor_scores", "anchor_coefficients"),
}


def field_span(role: OutputRole, class_count: int, coefficient_count: int = 0) -> slice:
    """Indices of x, y, w, h, objectness, class 0, ..., coefficient 0, ... in a tensor of this role."""
    return {
        "anchor_map": slice(0, 5 + class_count + coefficient_count),
        "anchor_coefficients": slice(5 + class_count, 5 + class_count + coefficient_count),
        "anchor_boxes": slice(0, 4),
        "anchor_xy": slice(0, 2),
        "anchor_wh": slice(2, 4),
        "anchor_scores": slice(4, 5 + class_count),
    }[role]


@dataclass(frozen=True)
class AnchorHead:
    """Two levels of two anchors each.

    Attributes:
        class_count: number of classes.
        input_hw: network input in pixels.
        roles: the tensors of each level.
        activation: of all tensors.
        coefficient_count: mask coefficients; where there are any, a tensor of prototypes comes last.
    """

    class_count: int = 3
    input_hw: tuple[int, int] = (32, 64)
    roles: tuple[OutputRole, ...] = ("anchor_map",)
    activation: Activation = "linear"
    coefficient_count: int = 0

    @property
    def spec(self) -> ModelSpec:
        """The contract."""
        outputs = []
        for level, stride in enumerate(STRIDES):
            for role in self.roles:
                span = field_span(role, self.class_count, self.coefficient_count)
                height, width = (side // stride for side in self.input_hw)
                shape = (1, 2 * (span.stop - span.start), height, width)
                outputs.append(HeadOutput(f"{role}.{level}", role, level, stride, shape, self.activation))
        if self.coefficient_count:
            outputs.append(HeadOutput("prototypes", "prototypes", 0, 4, self.prototype_shape))
        return ModelSpec(
            family="yolov5",
            task="detect",
            class_names=tuple(f"class {number}" for number in range(self.class_count)),
            input=InputSpec("images", *self.input_hw),
            outputs=tuple(outputs),
            anchors=ANCHORS,
        )

    @property
    def prototype_shape(self) -> tuple[int, int, int, int]:
        """Of the prototypes."""
        return (1, self.coefficient_count, self.input_hw[0] // 4, self.input_hw[1] // 4)

    def full(self, value: float) -> list[NDArray[np.float32]]:
        """Fields of each level, (2 anchors, 5 + nc + nm, H, W), all of one value."""
        field_count = 5 + self.class_count + self.coefficient_count
        return [
            np.full((2, field_count, *(side // stride for side in self.input_hw)), value, np.float32)
            for stride in STRIDES
        ]

    def random(self, seed: int) -> list[NDArray[np.float32]]:
        """Fields of each level, (2 anchors, 5 + nc + nm, H, W), normally distributed logits."""
        rng = np.random.default_rng(seed)
        return [rng.normal(-0.5, 2.5, fields.shape).astype(np.float32) for fields in self.full(0.0)]

    def tensors(
        self, levels: Sequence[NDArray[Any]], dtype: str = "float32", scale: float = 1.0, zero_point: int = 0
    ) -> list[HeadTensor]:
        """Head tensors from the fields of each level, converted to `dtype` as they are."""
        tensors = []
        for fields in levels:
            for role in self.roles:
                part = fields[:, field_span(role, self.class_count, self.coefficient_count)]
                values = part.reshape(1, -1, *part.shape[2:]).astype(dtype)
                tensors.append(HeadTensor(np.ascontiguousarray(values), scale, zero_point))
        if self.coefficient_count:
            tensors.append(HeadTensor(np.zeros(self.prototype_shape, dtype), scale, zero_point))
        return tensors

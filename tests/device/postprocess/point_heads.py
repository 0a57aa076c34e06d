"""Small anchor-free heads for the tests of the decode: a contract, tensors, and the formulas written out in double."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AngleFormula, KeypointLayout, PointFormula
from rkdeploy.contract.roles import OutputRole
from rkdeploy.contract.spec import Activation, HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.runtime.protocol import HeadTensor

STRIDES = (8, 16)
SIGMOID_ANGLE = AngleFormula(sigmoid=True, gain=np.pi, offset=-np.pi / 4)
RAW_ANGLE = AngleFormula(sigmoid=False, gain=1.0, offset=0.0)
Level = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class PointHead:
    """Two levels.

    Attributes:
        class_count: number of classes.
        input_hw: network input in pixels.
        reg_max: bins of a side's distribution; 1 for distances themselves.
        keypoints, angle: as in the contract.
        coefficient_count: mask coefficients; where there are any, a tensor of prototypes comes last.
        activation: of the scores, the visibilities and, where it has a sigmoid, the angle.
        end_to_end, points: as in the contract; with `points` boxes are center and size, and there is objectness.
    """

    class_count: int = 3
    input_hw: tuple[int, int] = (32, 64)
    reg_max: int = 4
    keypoints: KeypointLayout | None = None
    angle: AngleFormula | None = None
    coefficient_count: int = 0
    activation: Activation = "linear"
    end_to_end: bool = False
    points: PointFormula | None = None

    @property
    def box_role(self) -> OutputRole:
        """Of the boxes."""
        if self.points is not None:
            return "center_boxes"
        return "ltrb_boxes" if self.reg_max == 1 else "dfl_boxes"

    @property
    def channels(self) -> dict[OutputRole, int]:
        """Channels of each role of a level, in the order of the outputs."""
        channels: dict[OutputRole, int] = {
            self.box_role: 4 if self.points is not None else 4 * self.reg_max,
            "scores": self.class_count,
        }
        if self.points is not None:
            channels["objectness"] = 1
        if self.keypoints is not None:
            channels["keypoint_xy"] = 2 * self.keypoints.count
            if self.keypoints.scored:
                channels["keypoint_scores"] = self.keypoints.count
        if self.coefficient_count:
            channels["mask_coefficients"] = self.coefficient_count
        if self.angle is not None:
            channels["angles"] = 1
        return channels

    def activation_of(self, role: str) -> Activation:
        """Of the outputs of a role."""
        has = role in ("scores", "objectness", "keypoint_scores") or (role == "angles" and self.angle is not None)
        return self.activation if has and not (role == "angles" and self.angle == RAW_ANGLE) else "linear"

    @property
    def spec(self) -> ModelSpec:
        """The contract."""
        outputs = []
        for level, stride in enumerate(STRIDES):
            height, width = (side // stride for side in self.input_hw)
            for role, channels in self.channels.items():
                shape = (1, channels, height, width)
                outputs.append(HeadOutput(f"{role}.{level}", role, level, stride, shape, self.activation_of(role)))
        if self.coefficient_count:
            outputs.append(HeadOutput("prototypes", "prototypes", 0, 4, self.prototype_shape))
        return ModelSpec(
            family="yolov8",
            task="detect",
            class_names=tuple(f"class {number}" for number in range(self.class_count)),
            input=InputSpec("images", *self.input_hw),
            outputs=tuple(outputs),
            end_to_end=self.end_to_end,
            keypoints=self.keypoints,
            angle=self.angle,
            points=self.points,
        )

    @property
    def prototype_shape(self) -> tuple[int, int, int, int]:
        """Of the prototypes."""
        return (1, self.coefficient_count, self.input_hw[0] // 4, self.input_hw[1] // 4)

    def full(self, value: float) -> list[dict[str, NDArray[np.float32]]]:
        """The tensors of each level by role, (C, H, W), all of one value."""
        return [
            {
                role: np.full((channels, *(side // stride for side in self.input_hw)), value, np.float32)
                for role, channels in self.channels.items()
            }
            for stride in STRIDES
        ]

    def random(self, seed: int) -> list[dict[str, NDArray[np.float32]]]:
        """A random head with normally distributed logits; distances are positive."""
        rng = np.random.default_rng(seed)
        levels = self.full(0.0)
        for level in levels:
            for role, values in level.items():
                values[:] = rng.normal(-0.5, 2.5, values.shape)
                if role == "ltrb_boxes":
                    np.abs(values, out=values)
        return levels

    def tensors(
        self, levels: Sequence[Level], dtype: str = "float32", scale: float = 1.0, zero_point: int = 0
    ) -> list[HeadTensor]:
        """Head tensors from the tensors of each level, converted to `dtype` as they are."""
        tensors = [
            HeadTensor(np.ascontiguousarray(level[role][None].astype(dtype)), scale, zero_point)
            for level in levels
            for role in self.channels
        ]
        if self.coefficient_count:
            tensors.append(HeadTensor(np.zeros(self.prototype_shape, dtype), scale, zero_point))
        return tensors

    def reference(self, levels: Sequence[Level]) -> dict[str, NDArray[np.float64]]:
        """Upstream's formulas (ultralytics 8.4, nn/modules/head.py and utils/tal.py) in double, cell by cell."""
        rows: dict[str, list[Any]] = {}
        for level, stride in zip(levels, STRIDES, strict=True):
            _, height, width = level["scores"].shape
            for y in range(height):
                for x in range(width):
                    raw = {role: values[:, y, x].astype(np.float64) for role, values in level.items()}
                    for name, value in self._row(raw, x, y, stride).items():
                        rows.setdefault(name, []).append(value)
        return {name: np.array(values) for name, values in rows.items()}

    def _row(self, raw: Mapping[str, NDArray[np.float64]], x: int, y: int, stride: int) -> dict[str, Any]:
        if self.points is not None:
            return self._centered(raw, x, y, stride)
        if self.reg_max == 1:
            left, top, right, bottom = raw["ltrb_boxes"]
        else:
            bins = np.exp(raw["dfl_boxes"].reshape(4, self.reg_max))
            left, top, right, bottom = (bins / bins.sum(axis=1, keepdims=True)) @ np.arange(self.reg_max)
        row: dict[str, Any] = {}
        if self.angle is None:
            x1, y1, x2, y2 = x + 0.5 - left, y + 0.5 - top, x + 0.5 + right, y + 0.5 + bottom
            row["xy"] = np.array([(x1 + x2) / 2, (y1 + y2) / 2]) * stride
            row["wh"] = np.array([x2 - x1, y2 - y1]) * stride
        else:
            angle = raw["angles"][0]
            if self.angle.sigmoid:
                angle = sigmoid(angle)
            angle = angle * self.angle.gain + self.angle.offset
            xf, yf = (right - left) / 2, (bottom - top) / 2
            cx = xf * np.cos(angle) - yf * np.sin(angle) + x + 0.5
            cy = xf * np.sin(angle) + yf * np.cos(angle) + y + 0.5
            row["xy"] = np.array([cx, cy]) * stride
            row["wh"] = np.array([left + right, top + bottom]) * stride
            row["angle"] = np.array([angle])
        row["scores"] = sigmoid(raw["scores"])
        row |= self._keypoint_row(raw, x, y, stride)
        if self.coefficient_count:
            row["coefficients"] = raw["mask_coefficients"]
        return row

    def _centered(self, raw: Mapping[str, NDArray[np.float64]], x: int, y: int, stride: int) -> dict[str, Any]:
        """Megvii's formulas (YOLOX 0.3, models/yolo_head.py); OpenCV's of YuNet (face_detect.cpp) with the root."""
        assert self.points is not None
        box, objectness, scores = raw["center_boxes"], sigmoid(raw["objectness"]), sigmoid(raw["scores"])
        row: dict[str, Any] = {
            "xy": (box[:2] + np.array((x, y)) + self.points.offset) * stride, "wh": np.exp(box[2:]) * stride,
        }  # fmt: skip
        if self.points.score == "product":
            row |= {"objectness": objectness, "scores": scores}
        else:
            row["scores"] = np.sqrt(objectness * scores)
        return row | self._keypoint_row(raw, x, y, stride)

    def _keypoint_row(self, raw: Mapping[str, NDArray[np.float64]], x: int, y: int, stride: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if self.keypoints is not None:
            pairs = raw["keypoint_xy"].reshape(-1, 2)
            pairs = (pairs * self.keypoints.gain + (x, y) + np.float64(self.keypoints.offset)) * stride
            row["keypoint_xy"] = pairs.ravel()
            if self.keypoints.scored:
                row["keypoint_scores"] = sigmoid(raw["keypoint_scores"])
        return row


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


HEADS = {
    "distributions": PointHead(),
    "distances": PointHead(reg_max=1),
    "one class": PointHead(class_count=1, reg_max=16),
    "keypoints": PointHead(keypoints=KeypointLayout(5, scored=True)),
    "unscored keypoints": PointHead(reg_max=1, keypoints=KeypointLayout(3, scored=False, gain=1.0, offset=0.5)),
    "masks": PointHead(coefficient_count=6),
    "rotated": PointHead(angle=SIGMOID_ANGLE),
    "rotated by the raw angle": PointHead(reg_max=1, angle=RAW_ANGLE),
    "end to end": PointHead(reg_max=1, end_to_end=True),
    "centers": PointHead(points=PointFormula(0.0, "product")),
    "centers, root, keypoints": PointHead(
        class_count=1, points=PointFormula(0.0, "root"), keypoints=KeypointLayout(5, scored=False, gain=1.0, offset=0.0)
    ),
}

"""Layout of a head without YOLO's anchors: the contract's outputs, checked to be complete and of the right size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from rkdeploy.contract.roles import ImageRole, PointRole
from rkdeploy.contract.spec import HeadOutput, ModelSpec
from rkdeploy.device.postprocess.raw_values import coefficient_count, outputs_with
from rkdeploy.errors import RkdeployError

BOX_ROLES: Final = ("dfl_boxes", "ltrb_boxes", "center_boxes", "prior_boxes", "decoded_boxes")
POINT_ROLES: Final = frozenset(get_args(PointRole))
_IMAGE_ROLES: Final = frozenset(get_args(ImageRole))
_SIGMOID_ROLES: Final = frozenset(("scores", "objectness", "keypoint_scores", "angles"))
"""Roles whose sigmoid may already be in the graph."""


@dataclass(frozen=True, slots=True)
class PointPart:
    """One head tensor of a level, and its index in the contract."""

    index: int
    output: HeadOutput


@dataclass(frozen=True, slots=True)
class PointLevel:
    """One detection level.  It has the rows `start` to `end` - 1 of the head, in the order y, x, box of the cell.

    Attributes:
        parts: by role.
        grid: rows, columns.
        per_cell: boxes per cell.
        stride: input pixels per cell.
        start, end: first row, and the row behind the last.
    """

    parts: Mapping[str, PointPart]
    grid: tuple[int, int]
    per_cell: int
    stride: int
    start: int
    end: int


def point_levels(spec: ModelSpec) -> tuple[PointLevel, ...]:
    """The levels of the contract, finest first; all have the same roles.

    Raises:
        RkdeployError: when the contract's outputs, keypoints, angle, prototypes and input size do not fit together.
    """
    if not spec.class_names:
        raise RkdeployError("The contract holds no class names.")
    if spec.angle is not None and spec.angle.gain == 0.0:
        raise RkdeployError("The contract's formula of the angle has gain 0.")
    _require_anchors(spec)
    if spec.angle is not None and any(o.role in ("center_boxes", "prior_boxes") for o in spec.outputs):
        raise RkdeployError("The contract has an angle, which boxes of center and size do not take.")
    if spec.end_to_end and any(output.role == "objectness" for output in spec.outputs):
        raise RkdeployError("The contract is end to end and has objectness, which no decoder reads.")
    for output in spec.outputs:
        if output.role not in POINT_ROLES | _IMAGE_ROLES:
            raise RkdeployError(
                f'Output "{output.name}" has role "{output.role}", which an anchor-free head does not have.'
            )
    head = outputs_with(spec.outputs, POINT_ROLES)
    numbers = sorted({output.level for _, output in head})
    if numbers != list(range(len(numbers))):
        raise RkdeployError(f"The contract has outputs for the levels {numbers}, expected 0, 1, ... without a gap.")
    levels: list[PointLevel] = []
    start = 0
    for number in numbers:
        parts = [PointPart(index, output) for index, output in head if output.level == number]
        _require_roles(number, [part.output.role for part in parts], spec)
        per_cell = _per_cell(spec, number)
        for part in parts:
            _require_output(part.output, spec, per_cell)
        stride = parts[0].output.stride
        if any(part.output.stride != stride for part in parts):
            raise RkdeployError(f"Level {number} of the contract has outputs of different strides.")
        grid = (parts[0].output.shape[2], parts[0].output.shape[3])
        end = start + grid[0] * grid[1] * per_cell
        levels.append(PointLevel({part.output.role: part for part in parts}, grid, per_cell, stride, start, end))
        start = end
    for role in BOX_ROLES:
        if (
            len({level.parts[role].output.shape[1] // level.per_cell if role in level.parts else 0 for level in levels})
            > 1
        ):
            raise RkdeployError(f"The {role} outputs of the contract's levels have different numbers of channels.")
    return tuple(levels)


def _per_cell(spec: ModelSpec, level: int) -> int:
    """Boxes per cell of a level."""
    if spec.anchors is not None:
        return len(spec.anchors.levels_px[level])
    return spec.points.per_cell if spec.points is not None else 1


def _require_anchors(spec: ModelSpec) -> None:
    """Check that there are anchors where boxes are relative to them, and none elsewhere, and that all of it fits."""
    has_priors = any(output.role == "prior_boxes" for output in spec.outputs)
    layout, formula = spec.keypoints, spec.prior_formula
    if layout is not None and layout.by_anchor and not has_priors:
        raise RkdeployError("The contract's keypoints are measured by anchors, but its head has none.")
    if layout is not None and layout.by_anchor and layout.offset != 0.5:
        raise RkdeployError(f"The contract's keypoints have offset {layout.offset}, expected 0.5: the anchors' middle.")
    if has_priors != (spec.anchors is not None):
        raise RkdeployError(
            "The contract's boxes are relative to anchors, of which it has none."
            if has_priors
            else "The contract has anchors, but an anchor-free head."
        )
    if (formula is not None) and not has_priors:
        raise RkdeployError("The contract has a formula of anchors, but an anchor-free head.")
    if spec.anchors is None:
        return
    levels = len({output.level for _, output in outputs_with(spec.outputs, POINT_ROLES)})
    if len(spec.anchors.levels_px) != levels or (formula and len(formula.steps_px) not in (0, levels)):
        steps = f" and {len(formula.steps_px)} steps" if formula is not None else ""
        raise RkdeployError(
            f"The contract has anchors for {len(spec.anchors.levels_px)} levels{steps}, but outputs for {levels}."
        )


def _require_roles(number: int, roles: list[str], spec: ModelSpec) -> None:
    expected = [next((role for role in BOX_ROLES if role in roles), "dfl_boxes"), "scores"]
    if "objectness" in roles and spec.points is not None and spec.points.score != "softmax":
        expected.append("objectness")
    if spec.keypoints is not None:
        expected += ["keypoint_xy", "keypoint_scores"] if spec.keypoints.scored else ["keypoint_xy"]
    if coefficient_count(spec):
        expected.append("mask_coefficients")
    if spec.angle is not None:
        expected.append("angles")
    if sorted(roles) != sorted(expected):
        raise RkdeployError(
            f"Level {number} of the contract has {', '.join(roles)}; expected {', '.join(expected)} "
            f"({_described(spec)})."
        )


def _described(spec: ModelSpec) -> str:
    keypoints = "no keypoints" if spec.keypoints is None else f"{spec.keypoints.count} keypoints"
    coefficients = coefficient_count(spec)
    masks = f"{coefficients} prototypes" if coefficients else "no prototypes"
    return f"{keypoints}, {masks}, {'no angle' if spec.angle is None else 'an angle'}"


def _require_output(output: HeadOutput, spec: ModelSpec, per_cell: int) -> None:
    channels = output.shape[1]
    if output.role == "dfl_boxes" and per_cell == 1:
        expected_channels = channels if channels % 4 == 0 and channels >= 8 else 64
    else:
        expected_channels = (
            per_cell
            * {
                "dfl_boxes": 64,
                "ltrb_boxes": 4,
                "center_boxes": 4,
                "prior_boxes": 4,
                "decoded_boxes": 4,
                "objectness": 1,
                "scores": len(spec.class_names),
                "keypoint_xy": 2 * spec.keypoints.count if spec.keypoints else 0,
                "keypoint_scores": spec.keypoints.count if spec.keypoints else 0,
                "mask_coefficients": coefficient_count(spec),
                "angles": 1,
            }[output.role]
        )
    expected = (1, expected_channels, -(-spec.input.height // output.stride), -(-spec.input.width // output.stride))
    if output.shape != expected:
        raise RkdeployError(
            f'Output "{output.name}" has shape {output.shape} in the contract, expected {expected} for {output.role} '
            f"with {len(spec.class_names)} classes, {_described(spec)}, at stride {output.stride}, "
            f"{spec.input.width}x{spec.input.height}."
        )
    shares = spec.points is not None and spec.points.score == "softmax"
    allowed = ("linear", "sigmoid") if output.role in _SIGMOID_ROLES and not shares else ("linear",)
    if output.activation not in allowed:
        raise RkdeployError(
            f'Output "{output.name}" has activation "{output.activation}", expected {" or ".join(allowed)} '
            f"for {output.role}."
        )

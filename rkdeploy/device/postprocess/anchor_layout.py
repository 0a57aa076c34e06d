"""Layout of an anchor head: the contract's outputs, checked to be complete and of the right size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from rkdeploy.contract.roles import AnchorRole, ImageRole
from rkdeploy.contract.spec import HeadOutput, ModelSpec
from rkdeploy.device.postprocess.raw_values import coefficient_count, outputs_with
from rkdeploy.errors import RkdeployError

OBJECTNESS: Final = 4
"""Index of the objectness in an anchor's fields x, y, w, h, objectness, class 0, ..., coefficient 0, ..."""
BOX_FIELDS: Final = 4
_IMAGE_ROLES: Final = frozenset(get_args(ImageRole))
_ANCHOR_ROLES: Final = frozenset(get_args(AnchorRole))


@dataclass(frozen=True, slots=True)
class AnchorPart:
    """One head tensor: the fields `first` to `end` - 1 of each anchor."""

    index: int
    output: HeadOutput
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class AnchorLevel:
    """One detection level.  Its cells are the rows `start` to `end` - 1 of the head, in the order anchor, y, x.

    Attributes:
        parts: in the order of their fields; together they hold all fields.
        scores: the part that holds the objectness and the classes.
        grid: anchors, rows, columns.
        start, end: first row, and the row behind the last.
    """

    parts: tuple[AnchorPart, ...]
    scores: AnchorPart
    grid: tuple[int, int, int]
    start: int
    end: int


def anchor_levels(spec: ModelSpec) -> tuple[AnchorLevel, ...]:
    """The levels of the contract, finest first.

    Raises:
        RkdeployError: when the contract's outputs, anchors, prototypes and input size do not fit together.
    """
    if spec.anchors is None:
        raise RkdeployError(f'The contract of family "{spec.family}" holds no anchors.')
    if not spec.class_names:
        raise RkdeployError("The contract holds no class names.")
    if spec.end_to_end:
        raise RkdeployError("The contract is end to end; anchor heads are not.")
    gains = 1 if spec.anchor_formula is None else len(spec.anchor_formula.center_gains)
    if gains not in (1, len(spec.anchors.levels_px)):
        raise RkdeployError(
            f"The contract has {gains} gains of centers for {len(spec.anchors.levels_px)} levels, expected as many."
        )
    for output in spec.outputs:
        if output.role not in _ANCHOR_ROLES | _IMAGE_ROLES:
            raise RkdeployError(f'Output "{output.name}" has role "{output.role}", which an anchor head does not have.')
    if bin_fields(spec) and (spec.keypoints is not None or coefficient_count(spec)):
        raise RkdeployError("The contract has bins of sizes next to keypoints or masks, which is not supported.")
    head = outputs_with(spec.outputs, _ANCHOR_ROLES)
    spans = _spans(spec, apart=any(output.role == "anchor_coefficients" for _, output in head))
    field_count = max(end for _, end in spans.values())
    levels: list[AnchorLevel] = []
    start = 0
    for number, anchors_px in enumerate(spec.anchors.levels_px):
        parts = sorted(
            (_part_of(index, output, len(anchors_px), spans, spec) for index, output in head if output.level == number),
            key=lambda part: part.first,
        )
        joints = [part.end for part in parts]
        if [part.first for part in parts] != [0, *joints[:-1]] or joints[-1:] != [field_count]:
            roles = ", ".join(part.output.role for part in parts) or "no output"
            raise RkdeployError(
                f"Level {number} of the contract has {roles}; expected anchor_map, or anchor_boxes and anchor_scores, "
                "or anchor_xy, anchor_wh and anchor_scores" + _others_expected(spec)
            )
        scores = next(part for part in parts if part.first <= OBJECTNESS < part.end)
        grid = (len(anchors_px), parts[0].output.shape[2], parts[0].output.shape[3])
        end = start + grid[0] * grid[1] * grid[2]
        levels.append(AnchorLevel(tuple(parts), scores, grid, start, end))
        start = end
    if not levels or any(output.level not in range(len(levels)) for _, output in head):
        named = sorted({output.level for _, output in head})
        raise RkdeployError(f"The contract has anchors for {len(levels)} levels, but outputs for the levels {named}.")
    return tuple(levels)


def keypoint_fields(spec: ModelSpec) -> tuple[int, int, int]:
    """Indices of the first field of keypoints, of the first of their scores, and the one behind all fields."""
    first = BOX_FIELDS + 1 + len(spec.class_names) + coefficient_count(spec)
    count = spec.keypoints.count if spec.keypoints is not None else 0
    scored = count if spec.keypoints is not None and spec.keypoints.scored else 0
    return first, first + 2 * count, first + 2 * count + scored


def bin_fields(spec: ModelSpec) -> int:
    """Fields of an anchor that are bins of its width and height; they lie behind the classes."""
    bins = spec.anchor_formula.bins if spec.anchor_formula is not None else None
    return 2 * len(bins.centers) if bins is not None else 0


def _spans(spec: ModelSpec, *, apart: bool) -> dict[str, tuple[int, int]]:
    """First field and the field behind the last, by role.

    Args:
        spec: the contract.
        apart: whether mask coefficients have a tensor of their own, instead of a place in `anchor_map`.
    """
    scores_end = BOX_FIELDS + 1 + len(spec.class_names)
    points, point_scores, end = keypoint_fields(spec)
    return {
        "anchor_map": (0, scores_end if apart else points),
        "anchor_boxes": (0, BOX_FIELDS),
        "anchor_xy": (0, 2),
        "anchor_wh": (2, BOX_FIELDS),
        "anchor_scores": (OBJECTNESS, scores_end),
        "anchor_coefficients": (scores_end, points),
        "anchor_keypoint_xy": (points, point_scores),
        "anchor_keypoint_scores": (point_scores, end),
        "anchor_size_bins": (end, end + bin_fields(spec)),
    }


def _others_expected(spec: ModelSpec) -> str:
    """The other tensors that a level has, as the end of a sentence."""
    others = ["anchor_coefficients"] if coefficient_count(spec) else []
    others += ["anchor_size_bins"] if bin_fields(spec) else []
    if spec.keypoints is not None:
        others += ["anchor_keypoint_xy", "anchor_keypoint_scores"] if spec.keypoints.scored else ["anchor_keypoint_xy"]
    return f", and {', '.join(others)} next to the scores." if others else "."


def _part_of(
    index: int, output: HeadOutput, anchor_count: int, spans: Mapping[str, tuple[int, int]], spec: ModelSpec
) -> AnchorPart:
    coefficients = coefficient_count(spec)
    first, end = spans[output.role]
    scores_end = BOX_FIELDS + 1 + len(spec.class_names)
    if output.role == "anchor_coefficients" and not coefficients:
        raise RkdeployError(f'Output "{output.name}" holds mask coefficients, but the contract has no prototypes.')
    if output.role == "anchor_map" and end > scores_end and output.activation != "linear":
        raise RkdeployError(
            f'Output "{output.name}" has activation "{output.activation}", expected linear for mask coefficients.'
        )
    if first == end and output.role.startswith("anchor_keypoint"):
        raise RkdeployError(f'Output "{output.name}" holds {output.role}, but the contract has no such keypoints.')
    if first == end and output.role == "anchor_size_bins":
        raise RkdeployError(f'Output "{output.name}" holds bins of sizes, but the contract has none.')
    exponents = spec.anchor_formula is not None and spec.anchor_formula.size == "exp"
    if exponents and first < BOX_FIELDS and end > 2 and output.activation != "linear":
        raise RkdeployError(
            f'Output "{output.name}" has activation "{output.activation}", expected linear for the exponents of sizes.'
        )
    shares = spec.anchor_formula is not None and spec.anchor_formula.classes == "softmax"
    if shares and first <= BOX_FIELDS + 1 < end and output.activation != "linear":
        raise RkdeployError(
            f'Output "{output.name}" has activation "{output.activation}", expected linear for classes of a softmax.'
        )
    if output.role == "anchor_keypoint_xy" and output.activation != "linear":
        raise RkdeployError(
            f'Output "{output.name}" has activation "{output.activation}", expected linear for keypoints.'
        )
    expected = (
        1,
        anchor_count * (end - first),
        spec.input.height // output.stride,
        spec.input.width // output.stride,
    )
    if output.shape != expected:
        masks = f", {coefficients} mask coefficients" if coefficients else ""
        raise RkdeployError(
            f'Output "{output.name}" has shape {output.shape} in the contract, expected {expected} for {output.role} '
            f"with {anchor_count} anchors and {len(spec.class_names)} classes{masks} at stride {output.stride}, "
            f"{spec.input.width}x{spec.input.height}."
        )
    return AnchorPart(index, output, first, end)

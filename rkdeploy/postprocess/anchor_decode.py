"""Decode of YOLOv5's anchor head, in the tensors' own domain.

Formula (YOLOv5 v7.0, models/yolo.py, `Detect.forward`), with s = sigmoid(raw) of each field:

    centre xy = (2 s - 0.5 + cell) * stride        size wh = (2 s)^2 * anchor        score = s_objectness * s_class

all in pixels of the network input.  A score cannot exceed its objectness, so only cells whose objectness exceeds the
lowest class threshold matter.  That threshold is carried into each tensor's raw values (integers stay integers), the
objectness planes are compared as they are, and only the few cells that pass are gathered, dequantized and decoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import BackendError, RkdeployError
from rkdeploy.postprocess.decoder import Candidates, DenseDecode
from rkdeploy.runtime.protocol import HeadTensor
from rkdeploy.spec import HeadOutput, ModelSpec

_OBJECTNESS: Final = 4
_BOX_FIELDS: Final = 4
_DTYPES: Final = frozenset(np.dtype(name) for name in ("int8", "uint8", "int16", "float16", "float32"))


@dataclass(frozen=True, slots=True)
class _Part:
    """One head tensor: the fields `first` to `end` - 1 of an anchor's x, y, w, h, objectness, class 0, class 1, ..."""

    index: int
    output: HeadOutput
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class _Level:
    """One detection level; its cells are the rows `start` to `end` - 1 of the head, in the order anchor, y, x."""

    parts: tuple[_Part, ...]
    scores: _Part
    grid: tuple[int, int, int]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Scaling:
    """What follows from the tensors' dtypes and quantization and the lowest threshold: the same in every frame.

    Attributes:
        key: what it follows from.
        limits: of each level, see `_raw_limit`.
        zero_points, scales: (6, levels) of x, y, w, h, objectness and classes; None when no tensor is quantized.
    """

    key: tuple[Any, ...]
    limits: tuple[Any | None, ...]
    zero_points: NDArray[np.float32] | None
    scales: NDArray[np.float32] | None


class AnchorDecoder:
    """Reads the head tensors of one YOLOv5-style model.  Keeps buffers between calls: one decoder serves one thread.

    Rows are in upstream's order: level, then anchor, then y, then x.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Args: spec: the contract.

        Raises:
            RkdeployError: when the contract's outputs, anchors and input size do not fit together.
        """
        self._class_count = len(spec.class_names)
        self._outputs = spec.outputs
        self._levels = _levels_of(spec)
        self._level_ends = [level.end for level in self._levels]
        self._all_linear = all(output.activation == "linear" for output in spec.outputs)
        row_count = self._level_ends[-1]
        self._passes = np.empty(row_count, np.bool_)
        self._scaling: _Scaling | None = None
        self._gathered = np.empty((0, _BOX_FIELDS + 1 + self._class_count), np.float32)
        self._first_class = np.empty(0, np.intp)  # where each gathered row's classes begin in flat memory
        # What is needed to know of each row.  Fields lie along the first axis here and in the arrays below: numpy is
        # several times slower on (N, 2) than on (2, N).
        self._anchor = np.empty(row_count, np.intp)
        self._cell = np.empty(row_count, np.intp)  # y * W + x
        self._level = np.empty(row_count, np.intp)
        self._geometry = np.empty((5, row_count), np.float32)  # x, y of the cell - 0.5; the anchor's w, h; the stride
        assert spec.anchors is not None
        for number, (level, anchors_px) in enumerate(zip(self._levels, spec.anchors.levels_px, strict=True)):
            rows = slice(level.start, level.end)
            anchor, y, x = (axis.ravel() for axis in np.indices(level.grid))
            self._anchor[rows] = anchor
            self._cell[rows] = y * level.grid[2] + x
            self._level[rows] = number
            self._geometry[:2, rows] = np.stack((x, y)) - 0.5
            self._geometry[2:4, rows] = np.array(anchors_px, np.float32).T[:, anchor]
            self._geometry[4, rows] = level.scores.output.stride

    def candidates(self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]) -> Candidates:
        """The boxes whose score is greater than the threshold of their class.

        As in upstream's detect.py a row is a candidate for its best class only: first the best class is chosen (the
        highest class logit; the first of several equal ones), then its score is compared with the threshold of that
        class.  A row whose best class fails is not tried for its second.  Both comparisons are strict: objectness >
        the lowest threshold of all classes, and objectness * class probability > the threshold of the class.

        Args:
            tensors: one for every output of the contract, in its order.
            class_thresholds: (nc,) float32.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        self._check(tensors)
        lowest = class_thresholds.min()
        scaling = self._scaling_of(tensors, lowest)
        for level, limit in zip(self._levels, scaling.limits, strict=True):
            passes = self._passes[level.start : level.end]
            if limit is None:
                passes.fill(False)
            else:
                _mark_from(level.scores, tensors[level.scores.index], level.grid, limit, passes)
        rows = self._passes.nonzero()[0]
        ends = rows.searchsorted(self._level_ends).tolist()
        fields, class_ids = self._gather_best(tensors, rows, ends)
        if scaling.zero_points is not None and scaling.scales is not None:
            levels = self._level.take(rows)
            fields -= scaling.zero_points.take(levels, axis=1)
            fields *= scaling.scales.take(levels, axis=1)
        self._activate(fields, ends)
        objectness = fields[_OBJECTNESS]
        scores = objectness * fields[_OBJECTNESS + 1]
        # The raw comparison lets rounding cases through; here the rule is applied as it is written.
        kept = ((scores > class_thresholds.take(class_ids)) & (objectness > lowest)).nonzero()[0]
        xywh = self._xywh(rows.take(kept), fields[:_BOX_FIELDS].take(kept, axis=1))
        return Candidates(_xyxy_from_xywh(xywh), scores.take(kept), class_ids.take(kept).astype(np.int32))

    def decode_dense(self, tensors: Sequence[HeadTensor]) -> DenseDecode:
        """Every row, by the same arithmetic as `candidates`.  For verification; slow.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        self._check(tensors)
        fields = np.empty((_BOX_FIELDS + 1 + self._class_count, self._level_ends[-1]), np.float32)
        for level in self._levels:
            rows = slice(level.start, level.end)
            for part in level.parts:
                tensor = tensors[part.index]
                raw = _gather(part, tensor, level.grid, self._anchor[rows], self._cell[rows])
                _dequantize(tensor, raw.T, fields[part.first : part.end, rows])
        self._activate(fields, self._level_ends)
        return DenseDecode(
            np.ascontiguousarray(self._xywh(np.arange(fields.shape[1]), fields[:_BOX_FIELDS]).T),
            fields[_OBJECTNESS].copy(),
            np.ascontiguousarray(fields[_OBJECTNESS + 1 :].T),
        )

    def _scaling_of(self, tensors: Sequence[HeadTensor], lowest: np.float32) -> _Scaling:
        """What the quantization and the lowest threshold mean for the raw values, kept from frame to frame."""
        key = (lowest, *[(tensor.scale, tensor.zero_point, tensor.values.dtype) for tensor in tensors])
        if self._scaling is not None and self._scaling.key == key:
            return self._scaling
        limits = tuple(_raw_limit(level.scores, tensors[level.scores.index], lowest) for level in self._levels)
        zero_points = np.empty((_BOX_FIELDS + 2, len(self._levels)), np.float32)
        scales = np.empty_like(zero_points)
        for number, level in enumerate(self._levels):
            for part in level.parts:
                zero_points[part.first : part.end, number] = tensors[part.index].zero_point
                scales[part.first : part.end, number] = tensors[part.index].scale
        if (zero_points == 0.0).all() and (scales == 1.0).all():
            self._scaling = _Scaling(key, limits, None, None)
        else:
            self._scaling = _Scaling(key, limits, zero_points, scales)
        return self._scaling

    def _gather_best(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp], ends: list[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Raw x, y, w, h, objectness and best class of the given rows as float32, (6, n), and the best class, (n,).

        Args:
            tensors: of the whole head.
            rows: ascending, (n,).
            ends: where each level's rows end in `rows`.
        """
        count = len(rows)
        if count > len(self._gathered):
            # A buffer of its own: memory of this size would come from the system anew in every call.
            self._gathered = np.empty((2 * count, self._gathered.shape[1]), np.float32)
            self._first_class = np.arange(2 * count) * self._gathered.shape[1] + _OBJECTNESS + 1
        gathered = self._gathered[:count]
        anchors, cells = self._anchor.take(rows), self._cell.take(rows)
        for level, start, end in zip(self._levels, [0, *ends], ends, strict=False):
            if end == start:
                continue
            for part in level.parts:
                gathered[start:end, part.first : part.end] = _gather(
                    part, tensors[part.index], level.grid, anchors[start:end], cells[start:end]
                )
        # Raw values are ordered as the probabilities are: the best class is known before dequantizing.  float32 holds
        # every dtype's values exactly, and numpy finds its maximum in half the time it takes for int8.
        class_ids = gathered[:, _OBJECTNESS + 1 :].argmax(axis=1)
        fields = np.empty((_BOX_FIELDS + 2, count), np.float32)
        fields[: _OBJECTNESS + 1] = gathered[:, : _OBJECTNESS + 1].T
        gathered.ravel().take(self._first_class[:count] + class_ids, out=fields[_OBJECTNESS + 1], mode="clip")
        return fields, class_ids

    def _activate(self, fields: NDArray[np.float32], ends: list[int]) -> None:
        """Real values to probabilities, in place.

        Args:
            fields: (5 + ..., N) x, y, w, h, objectness and some classes; rows sorted by level.
            ends: where each level's rows end.
        """
        if self._all_linear:
            _sigmoid_in_place(fields)  # at once: on a few rows the calls cost more than the arithmetic
            return
        for level, start, end in zip(self._levels, [0, *ends], ends, strict=False):
            for part in level.parts:
                if part.output.activation == "linear":
                    _sigmoid_in_place(fields[part.first : part.end, start:end])

    def _xywh(self, rows: NDArray[np.intp], probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """The formula: (4, N) x, y, w, h after the sigmoid, of the given rows, to (4, N) in input pixels."""
        geometry = self._geometry.take(rows, axis=1)
        xywh = probabilities * np.float32(2.0)
        xy, wh = xywh[:2], xywh[2:]
        xy += geometry[:2]
        xy *= geometry[4]
        wh *= wh
        wh *= geometry[2:4]
        return xywh

    def _check(self, tensors: Sequence[HeadTensor]) -> None:
        if len(tensors) != len(self._outputs):
            raise BackendError(f"The runtime returned {len(tensors)} outputs, expected {len(self._outputs)}.")
        for output, tensor in zip(self._outputs, tensors, strict=True):
            values = tensor.values
            if tensor.shape != output.shape:
                raise BackendError(
                    f'Output "{output.name}" has shape {tensor.shape}, expected {output.shape} '
                    f"for {output.role} at stride {output.stride}.",
                    "The model file and its contract do not belong together: build the bundle again.",
                )
            if values.dtype not in _DTYPES:
                known = ", ".join(sorted(dtype.name for dtype in _DTYPES))
                raise BackendError(f'Output "{output.name}" has dtype {values.dtype}, expected one of {known}.')
            if not (tensor.scale > 0.0 and math.isfinite(tensor.scale)):
                raise BackendError(f'Output "{output.name}" has scale {tensor.scale}, expected a positive number.')


def _levels_of(spec: ModelSpec) -> tuple[_Level, ...]:
    """The levels of the contract, finest first, each checked to be complete and of the right size."""
    if spec.anchors is None:
        raise RkdeployError(f'The contract of family "{spec.family}" holds no anchors.')
    if not spec.class_names:
        raise RkdeployError("The contract holds no class names.")
    levels: list[_Level] = []
    start = 0
    for number, anchors_px in enumerate(spec.anchors.levels_px):
        outputs = [(index, output) for index, output in enumerate(spec.outputs) if output.level == number]
        parts = sorted(
            (_part_of(index, output, len(anchors_px), spec) for index, output in outputs), key=lambda part: part.first
        )
        joints = [part.end for part in parts]
        field_count = _BOX_FIELDS + 1 + len(spec.class_names)
        if [part.first for part in parts] != [0, *joints[:-1]] or joints[-1:] != [field_count]:
            roles = ", ".join(part.output.role for part in parts) or "no output"
            raise RkdeployError(
                f"Level {number} of the contract has {roles}; expected anchor_map, or anchor_boxes and anchor_scores, "
                "or anchor_xy, anchor_wh and anchor_scores."
            )
        grid = (len(anchors_px), parts[0].output.shape[2], parts[0].output.shape[3])
        end = start + grid[0] * grid[1] * grid[2]
        levels.append(_Level(tuple(parts), parts[-1], grid, start, end))
        start = end
    if not levels or any(output.level not in range(len(levels)) for output in spec.outputs):
        named = sorted({output.level for output in spec.outputs})
        raise RkdeployError(f"The contract has anchors for {len(levels)} levels, but outputs for the levels {named}.")
    return tuple(levels)


def _part_of(index: int, output: HeadOutput, anchor_count: int, spec: ModelSpec) -> _Part:
    field_count = _BOX_FIELDS + 1 + len(spec.class_names)
    spans = {
        "anchor_map": (0, field_count),
        "anchor_boxes": (0, _BOX_FIELDS),
        "anchor_xy": (0, 2),
        "anchor_wh": (2, _BOX_FIELDS),
        "anchor_scores": (_OBJECTNESS, field_count),
    }
    if output.role not in spans:
        raise RkdeployError(f'Output "{output.name}" has role "{output.role}", which an anchor head does not have.')
    first, end = spans[output.role]
    expected = (
        1,
        anchor_count * (end - first),
        spec.input.height // output.stride,
        spec.input.width // output.stride,
    )
    if output.shape != expected:
        raise RkdeployError(
            f'Output "{output.name}" has shape {output.shape} in the contract, expected {expected} for {output.role} '
            f"with {anchor_count} anchors and {len(spec.class_names)} classes at stride {output.stride}, "
            f"{spec.input.width}x{spec.input.height}."
        )
    return _Part(index, output, first, end)


def _gather(
    part: _Part,
    tensor: HeadTensor,
    grid: tuple[int, int, int],
    anchors: NDArray[np.intp],
    cells: NDArray[np.intp],
) -> NDArray[Any]:
    """The raw fields of the given cells, (n, fields), read from the tensor without converting the rest of it.

    Args:
        part: which fields the tensor holds.
        tensor: in any layout.
        grid: anchors, rows and columns of the level.
        anchors: of each cell, ascending, (n,).
        cells: y * W + x, (n,).
    """
    field_count = part.end - part.first
    values = tensor.values
    if tensor.packed_channels is None:
        # Splitting an axis never copies, whatever the strides: NHWC memory is read as it lies.
        if values.strides[2] == grid[2] * values.strides[3]:  # nor does merging these: one index less to follow
            flat: NDArray[Any] = values.reshape(grid[0], field_count, grid[1] * grid[2]).transpose(0, 2, 1)
            return np.asarray(flat[anchors, cells])
        y, x = np.divmod(cells, grid[2])
        rows: NDArray[Any] = values.reshape(grid[0], field_count, grid[1], grid[2]).transpose(0, 2, 3, 1)
        return np.asarray(rows[anchors, y, x])
    y, x = np.divmod(cells, grid[2])
    lanes = values.shape[4]
    gathered = np.empty((len(cells), field_count), values.dtype)
    ends = anchors.searchsorted(range(1, grid[0] + 1)).tolist()
    for anchor, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        # Whole blocks, 16 bytes at a time, are read faster than the very lanes.
        channel = anchor * field_count
        first = channel // lanes
        blocks = values[0, first : (channel + field_count - 1) // lanes + 1].transpose(1, 2, 0, 3)
        channels = blocks[y[start:end], x[start:end]].reshape(end - start, -1)
        gathered[start:end] = channels[:, channel - first * lanes :][:, :field_count]
    return gathered


def _mark_from(
    part: _Part, tensor: HeadTensor, grid: tuple[int, int, int], limit: Any, passes: NDArray[np.bool_]
) -> None:
    """Write into `passes` (rows of the level,) where the raw objectness is at or above `limit`."""
    field_count = part.end - part.first
    first = _OBJECTNESS - part.first
    marks = passes.reshape(grid)
    if tensor.packed_channels is None:
        planes = tensor.values.reshape(grid[0], field_count, grid[1], grid[2])[:, first]
        np.greater_equal(planes, limit, out=marks)
        return
    lanes = tensor.values.shape[4]
    for anchor in range(grid[0]):
        block, lane = divmod(first + anchor * field_count, lanes)
        np.greater_equal(tensor.values[0, block, :, :, lane], limit, out=marks[anchor])


def _raw_limit(part: _Part, tensor: HeadTensor, threshold: np.float32) -> Any | None:
    """Smallest raw value whose probability may exceed `threshold`, as the tensor's dtype; None when no value can.

    Every value that exceeds the threshold in float32 arithmetic is at or above the limit.  float32 rounds the
    probability by a few units in 1e-7, and the real value too: the limit gives way by ten times that.
    """
    lowest = float(threshold) * (1.0 - 1e-6)
    if part.output.activation == "sigmoid":
        real = lowest
    elif lowest >= 1.0:
        return None
    else:
        # Below that the sigmoid's own cut-off decides: everything passes on to the exact rule.
        real = math.log(lowest) - math.log1p(-lowest) if lowest > 1e-34 else -math.inf
    raw = real / tensor.scale
    raw += tensor.zero_point - abs(raw) * 1e-6 if math.isfinite(raw) else 0.0
    dtype = tensor.values.dtype
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        if abs(raw) > largest:
            return None if raw > 0 else dtype.type(-np.inf)
        return np.nextafter(dtype.type(raw), dtype.type(-np.inf))
    info = np.iinfo(dtype)
    if raw > info.max:
        return None
    return dtype.type(info.min if raw <= info.min else math.ceil(raw))


def _dequantize(tensor: HeadTensor, raw: NDArray[Any], real: NDArray[np.float32]) -> None:
    """Raw values of one tensor into `real`, by the arithmetic of `HeadTensor.dequantized`."""
    np.subtract(raw, np.float32(tensor.zero_point), out=real, dtype=np.float32)
    if tensor.scale != 1.0:
        np.multiply(real, np.float32(tensor.scale), out=real)


def _sigmoid_in_place(real: NDArray[np.float32]) -> None:
    """1 / (1 + exp(-x)).  Below -80 the probability is 0 for every purpose, and exp would overflow."""
    np.maximum(real, np.float32(-80.0), out=real)
    np.negative(real, out=real)
    np.exp(real, out=real)
    np.add(real, np.float32(1.0), out=real)
    np.reciprocal(real, out=real)


def _xyxy_from_xywh(xywh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre and size (4, N) to corners (N, 4)."""
    half = xywh[2:] * np.float32(0.5)
    xyxy = np.empty((xywh.shape[1], 4), np.float32)
    np.subtract(xywh[:2], half, out=xyxy.T[:2])
    np.add(xywh[:2], half, out=xyxy.T[2:])
    return xyxy

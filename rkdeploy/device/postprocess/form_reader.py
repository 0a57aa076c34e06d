"""Outputs in another program's form, read as tensors of our own form: one quantity of one level each.

Joined tensors are cut into their channels, tensors with the cells of all levels into levels.  These are views of the
runtime's memory with the scale of the whole tensor, so the decoders read them as they read any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from rkdeploy.contract.spec import HeadOutput, ModelSpec, OutputPart
from rkdeploy.device.postprocess.raw_values import require_tensors
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.device.postprocess.decoder import Candidates, Decoder, DenseField, RowDetails


@dataclass(frozen=True, slots=True)
class _Cut:
    """One tensor of the own form, and where it lies.

    Attributes:
        index: of the form's output.
        output: the own form's.
        channels: a slice, or indices.
        cells: first cell and the one behind the last, of a tensor with several levels; None for all.
    """

    index: int
    output: HeadOutput
    channels: slice | list[int]
    cells: tuple[int, int] | None


class FormReader:
    """Reader of one model's outputs.

    Attributes:
        spec: the contract of the tensors that it returns.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Check the outputs.

        Args:
            spec: contract of a form.

        Raises:
            RkdeployError: when a joined tensor's parts or levels do not fit its shape.
        """
        self._outputs = spec.outputs
        self._cuts = tuple(cut for index, output in enumerate(spec.outputs) for cut in _cuts_of(index, output, spec))
        whole = all(not output.parts and not output.level_strides for output in spec.outputs)
        self._kept = [cut.index for cut in self._cuts] if whole else None
        self.spec = replace(spec, outputs=tuple(cut.output for cut in self._cuts), form="rkdeploy")

    def __call__(self, tensors: Sequence[HeadTensor]) -> Sequence[HeadTensor]:
        """The tensors of the own form.

        Args:
            tensors: one per output of the form's contract, in its order.

        Raises:
            BackendError: when a tensor is not what the contract says.
        """
        if self._kept is not None and len(self._kept) == len(self._outputs) == len(tensors):
            return tensors
        require_tensors(self._outputs, tensors)
        if self._kept is not None:
            return [tensors[index] for index in self._kept]
        raw = [tensor.nchw() for tensor in tensors]
        return [
            HeadTensor(_cut_out(raw[cut.index], cut), tensors[cut.index].scale, tensors[cut.index].zero_point)
            for cut in self._cuts
        ]


class FormDecoder:
    """Decoder of outputs in another program's form: see `rkdeploy.device.postprocess.decoder.Decoder`."""

    def __init__(self, reader: FormReader, decoder: Decoder) -> None:
        self._reader, self._decoder = reader, decoder

    def candidates(self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]) -> Candidates:
        """See `Decoder.candidates`."""
        return self._decoder.candidates(self._reader(tensors), class_thresholds)

    def details(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> RowDetails:
        """See `Decoder.details`."""
        return self._decoder.details(self._reader(tensors), rows)

    def decode_dense(self, tensors: Sequence[HeadTensor]) -> tuple[DenseField, ...]:
        """See `Decoder.decode_dense`."""
        return self._decoder.decode_dense(self._reader(tensors))


def _cuts_of(index: int, output: HeadOutput, spec: ModelSpec) -> list[_Cut]:
    """The own form's tensors in one output."""
    if output.role == "score_sum":
        return []
    if output.role == "joined" and not output.parts:
        raise RkdeployError(f'Output "{output.name}" of the contract is joined, but names no parts.')
    if not output.level_strides and len(output.shape) != 4:
        raise RkdeployError(f'Output "{output.name}" has shape {output.shape} in the contract, expected (1, C, H, W).')
    channel_count = prod(output.shape[1:-1]) if output.level_strides else output.shape[1]
    for part in output.parts:
        if part.role in ("joined", "score_sum") or max(part.channels) >= channel_count:
            raise RkdeployError(
                f'Output "{output.name}" of the contract has {channel_count} channels, which do not hold its part '
                f'"{part.role}".'
            )
    if not output.parts and not output.level_strides:
        return [_Cut(index, output, slice(None), None)]
    parts = output.parts or (OutputPart(output.role, tuple(range(channel_count)), output.activation),)
    return [
        _Cut(index, _own_output(output, part, level, stride, grid), _as_slice(part.channels), cells)
        for level, stride, grid, cells in _levels_of(output, spec)
        for part in parts
    ]


def _levels_of(output: HeadOutput, spec: ModelSpec) -> list[tuple[int, int, tuple[int, int], tuple[int, int] | None]]:
    """Level, stride, rows and columns, and cells of each level of an output."""
    if not output.level_strides:
        return [(output.level, output.stride, (output.shape[2], output.shape[3]), None)]
    found: list[tuple[int, int, tuple[int, int], tuple[int, int] | None]] = []
    start = 0
    for level, stride in enumerate(output.level_strides):
        grid = (-(-spec.input.height // stride), -(-spec.input.width // stride))
        end = start + grid[0] * grid[1]
        found.append((level, stride, grid, (start, end)))
        start = end
    if start != output.shape[-1]:
        raise RkdeployError(
            f'Output "{output.name}" of the contract has {output.shape[-1]} cells, expected {start} for the strides '
            f"{', '.join(map(str, output.level_strides))}."
        )
    return found


def _own_output(output: HeadOutput, part: OutputPart, level: int, stride: int, grid: tuple[int, int]) -> HeadOutput:
    return replace(
        output,
        name=f"{output.name}/{part.role}/{stride}",
        role=part.role,
        level=level,
        stride=stride,
        shape=(1, len(part.channels), *grid),
        activation=part.activation,
        parts=(),
        level_strides=(),
    )


def _as_slice(channels: tuple[int, ...]) -> slice | list[int]:
    """A slice where the channels lie side by side, which needs no copy."""
    first, end = channels[0], channels[0] + len(channels)
    return slice(first, end) if channels == tuple(range(first, end)) else list(channels)


def _cut_out(raw: NDArray[Any], cut: _Cut) -> NDArray[Any]:
    if cut.cells is None:
        return raw[:, cut.channels]
    rows = raw.reshape(1, -1, raw.shape[-1])
    start, end = cut.cells
    return rows[:, cut.channels, start:end].reshape(cut.output.shape)

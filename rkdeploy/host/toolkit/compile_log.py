"""Parser of the toolkit's build log: layers, memory, totals.

A verbose build ends with three tables and two totals:

    Network Layer Information Table     one row per layer: op, type, NPU or CPU, Cycles(DDR/NPU/Total), RW(KB)
    Feature Tensor Information Table    one row per tensor between layers, with its place in memory
    Const Tensor Information Table      weights and biases, with their places
    Total Internal Memory Size: 7600KB
    Total Weight Memory Size: 1866.5KB

rknn-toolkit2 2.3.2 and 2.5.0 print the same format.  Missing rows are not guessed: the rows' numbers must be
without a gap, every tensor must belong to the layer with its number in the layer table, and the tensors must
fill the memory given by the totals.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rkdeploy.contract.compiled_model import CompiledLayer, CompiledModel, PlacedTensor, Shape
from rkdeploy.contract.toolkit_table import (
    LAYER_HEADING,
    PrintedTable,
    cycles_of,
    node_name_of,
    read_table,
    traffic_kib_of,
)
from rkdeploy.errors import ToolkitError, shown

_LAYERS, _FEATURES, _CONSTANTS = (
    f"{what} Information Table" for what in ("Network Layer", "Feature Tensor", "Const Tensor")
)
_TENSOR_HEADING: Final = re.compile(r"\bID\s+User\s")
_PLACE: Final = re.compile(r"\|\s*0x([0-9a-f]{1,12})[ *]0x([0-9a-f]{1,12})\s+0x([0-9a-f]{1,12})\s*$", re.ASCII)
_TOTAL: Final = re.compile(r"Total (Internal|Weight) Memory Size: (\d{1,12}(?:\.\d{1,6})?)KB", re.ASCII)
_SHAPE: Final = re.compile(r"\((\d{1,9}(?:,\d{1,9}){0,7})?\)", re.ASCII)
_MAX_LOG_BYTES: Final = 64 << 20
_SPARE_KIB: Final = (0, 2)
"""Difference of the weight total to its tensors: 2 KiB on rk3588, nothing on rk3566, rk3568 and rk3562."""
_SPARSE_SPARE_KIB_A_LAYER: Final = 4
"""The largest difference on chips with sparse weights (rk3576): 0.6 to 0.8 KiB per layer and 2.3 KiB per Swish, not
listed.
"""
_SPARSE: Final = "sparseratio"
_ALIGNED_KIB: Final = 1 / 16
"""Weights begin and end at multiples of 64 bytes."""


def read_compile_log(log: Path) -> CompiledModel:
    """The compiler's tables for the last model in a toolkit's log.

    Raises:
        ToolkitError: the log cannot be read, has no such tables, or has lost rows.
    """
    try:
        with log.open("rb") as stream:
            data = stream.read(_MAX_LOG_BYTES + 1)
    except OSError as error:
        raise ToolkitError(f'The toolkit\'s log "{log}" cannot be read: {error.strerror}.') from None
    if len(data) > _MAX_LOG_BYTES:
        raise ToolkitError(f'The toolkit\'s log "{log}" is larger than {_MAX_LOG_BYTES >> 20} MiB.')
    return parse_compile_log(data.decode("utf-8", "replace"))


def parse_compile_log(text: str) -> CompiledModel:
    """The compiler's tables in a log's text.

    Raises:
        ToolkitError: the text has no such tables, has lost rows, or has places and shapes that cannot be.
    """
    try:
        return _parsed(text)
    except ValueError as error:
        raise _unreadable(str(error)) from error


def _parsed(text: str) -> CompiledModel:
    lines = text.splitlines()
    begin = max((i for i, line in enumerate(lines) if _LAYERS in line), default=None)
    if begin is None:
        raise _unreadable(f'it has no "{_LAYERS}"')
    table = _table(lines, begin, LAYER_HEADING, _LAYERS)
    layers = tuple(_layer(cells) for cells in table.rows)
    features = _tensors(lines, table.end, _FEATURES, layers)
    constants = _tensors(lines, table.end, _CONSTANTS, layers)
    totals = {found[1]: float(found[2]) for line in lines[table.end :] if (found := _TOTAL.search(line))}
    if totals.keys() != {"Internal", "Weight"}:
        raise _unreadable("it does not state both memory totals")
    model = CompiledModel(layers, features, constants, totals["Internal"], totals["Weight"])
    _require_whole(model, sparse=_SPARSE in table.rows[0])
    return model


def _table(lines: Sequence[str], begin: int, heading: re.Pattern[str], title: str) -> PrintedTable:
    table = read_table(lines, heading, begin)
    if table is None or not table.rows:
        raise _unreadable(f'its "{title}" has no rows')
    return table


def _layer(cells: dict[str, str]) -> CompiledLayer:
    number = int(cells["id"])
    cycles, read_kib = cycles_of(cells), traffic_kib_of(cells)
    ddr, npu, total = cycles
    if ddr is None or npu is None or total is None or read_kib is None:
        raise _unreadable(f"layer {number} has no cycles or no traffic")
    output = _shapes(cells.get("outputshape", ""))
    return CompiledLayer(
        number=number,
        op=cells.get("optype", ""),
        name=node_name_of(cells),
        dtype=cells.get("datatype", ""),
        target=cells.get("target", ""),
        input_shapes=_shapes(cells.get("inputshape", "")),
        output_shape=output[0] if output else (),
        ddr_cycles=ddr,
        npu_cycles=npu,
        total_cycles=total,
        read_kib=read_kib,
    )


def _tensors(lines: Sequence[str], begin: int, title: str, layers: Sequence[CompiledLayer]) -> tuple[PlacedTensor, ...]:
    start = next((i for i in range(begin, len(lines)) if title in lines[i]), None)
    if start is None:
        raise _unreadable(f'it has no "{title}"')
    table = _table(lines, start, _TENSOR_HEADING, title)
    places = [_PLACE.search(line) for line in lines[table.end - len(table.rows) : table.end]]
    ops = {layer.number: layer.op for layer in layers}
    tensors = []
    for cells, place in zip(table.rows, places, strict=True):
        number, user = int(cells["id"]), cells.get("user", "")
        if place is None:
            raise _unreadable(f'"{title}" has a row for layer {number} without a place in memory')
        first, end, size = (int(group, 16) for group in place.groups())
        if ops.get(number) != user or end - first != size:
            raise _unreadable(f'"{title}" and "{_LAYERS}" disagree on layer {number}, {shown(user)}')
        shape = _shapes(cells.get("origshape", ""))
        name, dtype = cells.get("tensor", ""), cells.get("datatype", "")
        tensors.append(PlacedTensor(number, name, dtype, shape[0] if shape else (), first, end))
    return tuple(tensors)


def _require_whole(model: CompiledModel, *, sparse: bool) -> None:
    """Reject a log that lost rows: the rest would look like a smaller model.

    Raises:
        ToolkitError: for such a log.
    """
    numbers = [layer.number for layer in model.layers]
    if numbers != list(range(len(numbers))):
        raise _unreadable(f"its {len(numbers)} layers are not numbered from 0 without a gap")
    fed = {tensor.layer for tensor in model.features}
    for layer in model.layers:
        if layer.number not in fed and layer.op != "InputOperator":
            raise _unreadable(f"no feature tensor goes into layer {layer.number}, {shown(layer.op)}")
    internal, constants = (max(t.end for t in tensors) / 1024 for tensors in (model.features, model.constants))
    constants = -(-constants // _ALIGNED_KIB) * _ALIGNED_KIB
    if _printed(internal) != model.internal_kib:
        raise _unreadable(f"its feature tensors end at {internal:g} KiB, its total is {model.internal_kib:g} KiB")
    if sparse:
        whole = 0 <= model.weight_kib - _printed(constants) <= _SPARSE_SPARE_KIB_A_LAYER * len(numbers)
    else:
        whole = model.weight_kib in {_printed(constants + spare) for spare in _SPARE_KIB}
    if not whole:
        raise _unreadable(f"its constants end at {constants:g} KiB, its total is {model.weight_kib:g} KiB")
    covered = 0
    for tensor in sorted(model.constants, key=lambda tensor: tensor.start):
        if tensor.start - covered >= _ALIGNED_KIB * 1024:
            raise _unreadable(f"bytes {covered} to {tensor.start} of its constants are not covered")
        covered = max(covered, tensor.end)


def _printed(kib: float) -> float:
    """A size as the toolkit prints it, with six digits."""
    return float(f"{kib:.6g}")


def _shapes(cell: str) -> tuple[Shape, ...]:
    return tuple(tuple(int(n) for n in m[1].split(",")) if m[1] else () for m in _SHAPE.finditer(cell))


def _unreadable(why: str) -> ToolkitError:
    return ToolkitError(
        f"The toolkit's log does not describe the compiled model: {why}.",
        "Per-layer predictions need the log of a verbose build by rknn-toolkit2 2.3.2 or 2.5.0.",
    )

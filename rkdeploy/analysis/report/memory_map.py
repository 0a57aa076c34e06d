"""Address and life of each tensor in the model's memory."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rkdeploy.contract.bounds import Text
from rkdeploy.contract.compiled_model import Address, Number

if TYPE_CHECKING:
    from rkdeploy.contract.compiled_model import CompiledLayer, CompiledModel, PlacedTensor


@dataclass(frozen=True, slots=True)
class TensorLife:
    """A tensor between layers.

    Attributes:
        name: in the graph.
        dtype: `INT8`.
        start, end: bytes from the beginning of the block; `end` is one behind.
        first_layer, last_layer: numbers of the layer that writes it and of the last one that reads it.
    """

    name: Text
    dtype: Text
    start: Address
    end: Address
    first_layer: Number
    last_layer: Number


def tensor_lives(compiled: CompiledModel) -> tuple[TensorLife, ...]:
    """The tensors between layers, in the order in which they are first read.

    The compiler prints who reads a tensor, not who writes it.  The writer is taken to be the layer before the first
    reader whose output has the tensor's shape, and whose name begins most like the tensor's.  Never is a tensor said to
    live before its place was last read as another one.
    """
    readers: dict[tuple[str, int, int], list[PlacedTensor]] = defaultdict(list)
    for tensor in compiled.features:
        readers[tensor.name, tensor.start, tensor.end].append(tensor)
    writers = [layer for layer in compiled.layers if layer.output_shape]
    taken: set[int] = set()
    by_layer: dict[int, list[PlacedTensor]] = defaultdict(list)
    for tensor in compiled.features:
        by_layer[tensor.layer].append(tensor)
    lives = []
    for (name, start, end), reads in sorted(readers.items(), key=lambda item: (item[1][0].layer, item[0])):
        first_read, last_read = min(r.layer for r in reads), max(r.layer for r in reads)
        writer = _writer(reads[0], first_read, writers, taken)
        if writer is None:
            written = first_read
        else:
            written = min(writer.number, first_read)
            if writer.op != "Split":  # which has several outputs
                taken.add(writer.number)
        others = (number for number in range(written + 1, first_read) if _overlap(reads[0], by_layer[number]))
        lives.append(TensorLife(name, reads[0].dtype, start, end, max(others, default=written), last_read))
    return tuple(lives)


def peak_bytes(lives: tuple[TensorLife, ...]) -> tuple[int, int]:
    """The most bytes that are alive at once, and the number of the layer where."""
    change: dict[int, int] = defaultdict(int)
    for life in lives:
        change[life.first_layer] += life.end - life.start
        change[life.last_layer + 1] -= life.end - life.start
    alive, best, at = 0, 0, 0
    for layer in sorted(change):
        alive += change[layer]
        if alive > best:
            best, at = alive, layer
    return best, at


def weight_bytes(compiled: CompiledModel) -> dict[int, int]:
    """Bytes of weights, biases and tables by the number of the layer that reads them; a shared one counts once."""
    found: dict[int, int] = defaultdict(int)
    seen: set[tuple[int, int]] = set()
    for tensor in compiled.constants:
        if (tensor.start, tensor.end) not in seen:
            seen.add((tensor.start, tensor.end))
            found[tensor.layer] += tensor.end - tensor.start
    return dict(found)


def _writer(tensor: PlacedTensor, before: int, writers: list[CompiledLayer], taken: set[int]) -> CompiledLayer | None:
    fits = [w for w in writers if w.number < before and w.output_shape == tensor.shape and w.number not in taken]
    fits = fits or [w for w in writers if w.number < before]
    return max(fits, key=lambda w: (_alike(w.name, tensor.name), w.number), default=None)


def _alike(a: str, b: str) -> int:
    """Length of the common beginning of two names."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _overlap(tensor: PlacedTensor, others: list[PlacedTensor]) -> bool:
    """True if another tensor overlaps this one."""
    place = (tensor.name, tensor.start)
    return any(t.start < tensor.end and tensor.start < t.end and (t.name, t.start) != place for t in others)

"""Tensors of a checkpoint, read from the file on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import CheckpointError, shown

# Storage dtypes of torch and the numpy types of their bytes.  numpy has no bfloat16: its 16 bits are the upper half
# of a float32, and `to_float32` restores it.
NUMPY_DTYPES: dict[str, str] = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint8": "|u1",
    "bool": "|b1",
}


_MAX_EXPANDED = 1 << 20  # largest tensor that repeats few numbers; upstream's largest have a few hundred
_MAX_DIMENSIONS = 16
_MAX_EXTENT = 1 << 48  # product of the sizes that are not zero: beyond, numpy rejects even an empty array


@dataclass(slots=True)
class Storage:
    """A flat run of elements in the file, shared by every tensor that views it.

    Attributes:
        key: the archive's name for it.
        dtype: torch's name of the element type; empty while an untyped storage waits for its tensor's type.
        numel: number of elements that the pickle declares (bytes, for an untyped storage).
        read: returns the raw bytes as a uint8 array; set by the archive.
    """

    key: str
    dtype: str
    numel: int
    read: Callable[[], NDArray[np.uint8]] | None = field(default=None, repr=False)

    def elements(self, dtype: str) -> NDArray[Any]:
        """All elements, (numel,), in the file's own type.  A view of the file if it is not compressed."""
        if self.read is None:
            raise CheckpointError(f'Storage "{self.key}" is named in the checkpoint but its data is not in the file.')
        raw = self.read()
        numpy_dtype = np.dtype(NUMPY_DTYPES[dtype])
        if raw.size % numpy_dtype.itemsize:
            raise CheckpointError(f'Storage "{self.key}" has {raw.size} bytes, which is not a whole number of {dtype}.')
        return raw.view(numpy_dtype)


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A strided view of a storage.  The data is read when it is converted to numpy.

    Attributes:
        storage: the storage with the elements.
        dtype: torch's name of the element type.
        shape: dimensions.
        stride: step in elements for each dimension, never negative.
        offset: index of the first element.
    """

    storage: Storage
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def numpy(self) -> NDArray[Any]:
        """The tensor in its own type (bfloat16 and float16 as float32), contiguous, shape `shape`.

        Raises:
            CheckpointError: when the view reaches outside its storage.
        """
        elements = self.storage.elements(self.dtype)
        last = (
            self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True)) if self.numel else -1
        )
        if last >= elements.size:
            raise CheckpointError(
                f'A tensor of shape {self.shape} needs element {last} of storage "{self.storage.key}", '
                f"which holds {elements.size}. The file is truncated or damaged."
            )
        if not self.numel:
            return np.zeros(self.shape, np.float32)
        itemsize = elements.itemsize
        view: NDArray[Any] = np.ndarray(
            self.shape, elements.dtype, elements, self.offset * itemsize, [s * itemsize for s in self.stride]
        )
        view.setflags(write=False)
        if self.dtype == "bfloat16":
            return (view.astype(np.uint32) << 16).view(np.float32).reshape(self.shape)
        if self.dtype == "float16":
            return view.astype(np.float32)
        return np.ascontiguousarray(view).reshape(self.shape)


def make_tensor(storage: Storage, offset: object, shape: object, stride: object, dtype: str) -> LazyTensor:
    """Check a view as described in the pickle and make it a `LazyTensor`.

    Raises:
        CheckpointError: negative or non-integer sizes and strides, or more elements than the storage has.
    """

    def whole_numbers(value: object, what: str) -> tuple[int, ...]:
        if (
            not isinstance(value, (tuple, list))
            or len(value) > _MAX_DIMENSIONS
            or not all(type(v) is int and 0 <= v < 2**48 for v in value)
        ):
            raise CheckpointError(f"A tensor has {what} {shown(value)}, expected up to 16 non-negative integers.")
        return tuple(value)

    sizes = whole_numbers(shape, "shape")
    steps = whole_numbers(stride, "stride")
    (start,) = whole_numbers((offset,), "offset")
    if len(sizes) != len(steps):
        raise CheckpointError(f"A tensor has {len(sizes)} sizes and {len(steps)} strides, expected as many of each.")
    if dtype not in NUMPY_DTYPES:
        raise CheckpointError(f'A tensor has the element type "{dtype}", expected one of {", ".join(NUMPY_DTYPES)}.')
    tensor = LazyTensor(storage, dtype, sizes, steps, start)
    if prod(max(n, 1) for n in sizes) > _MAX_EXTENT:
        raise CheckpointError(f"A tensor has the shape {shown(sizes)}, which is not possible for a tensor.")
    # Only an expanded tensor (stride 0) may have more elements than its storage.
    limit = _MAX_EXPANDED if 0 in steps else storage.numel
    if tensor.numel > limit:
        raise CheckpointError(
            f'A tensor of shape {sizes} is larger than its storage "{storage.key}" ({storage.numel}).'
        )
    return tensor

"""Reader of darknet's `.weights`: the numbers of a cfg's sections, in order.

Layout (AlexeyAB/darknet, src/parser.c, load_weights_upto and load_convolutional_weights), all little endian:

- int32 major, minor, revision; images seen in training: uint64 if 10 major + minor >= 2, else uint32
- for each [convolutional]: biases (filters); with batch_normalize also scales, means and variances (filters each), the
  biases then being those of the normalization; then the kernels (filters, channels / groups, size, size)

all float32.  The file does not say where a section begins: its length must be that of the cfg.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint.darknet_channels import input_channels
from rkdeploy.host.checkpoint.darknet_sections import Convolutional, DarknetCfg
from rkdeploy.host.checkpoint.module_tree import Module, module_from_state_dict
from rkdeploy.host.checkpoint.tensor import LazyTensor, Storage, make_tensor

_MAX_BYTES = 4 << 30
_FLOAT = 4
_NEW_COUNTER = 2  # of 10 * major + minor: from here on 64 bits


def read_darknet_weights(path: Path, cfg: DarknetCfg) -> Module:
    """The weights as the state dict that PyTorch's codes name them by, `module_list.<section>.Conv2d.weight`.

    Args:
        path: the `.weights`.
        cfg: the network that they belong to, in darknet's dialect.

    Raises:
        CheckpointError: unreadable, or of another length than the cfg says.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f'Cannot read "{path}": it is not a file, or there is none.')
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise CheckpointError(f'"{path.name}" has {size:,} bytes, more than any trained model has.')
        start = _header(path, size)
        runs = list(_runs(cfg))
        expected = start + _FLOAT * sum(prod(run.shape) for run in runs)
        if size != expected:
            raise _wrong_length(path, cfg, size, expected)
        data: NDArray[np.uint8] = np.memmap(path, np.uint8, "r", offset=start)
    except OSError as error:
        raise CheckpointError(f'Cannot read "{path}": {error.strerror or error}.') from error
    return module_from_state_dict(_tensors(runs, data))


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive numbers of the file: name and shape of the tensor that they are."""

    name: str
    shape: tuple[int, ...]


def _header(path: Path, size: int) -> int:
    """Bytes before the first number."""
    with path.open("rb") as stream:
        words = np.frombuffer(stream.read(12), "<i4")
    if len(words) < 3 or not all(0 <= word < 1 << 16 for word in words):
        shown = ", ".join(str(word) for word in words)
        raise CheckpointError(
            f'"{path.name}" begins with {shown or "nothing"}, expected the three numbers of a darknet version.',
            "A .weights file is written by darknet; for a PyTorch checkpoint keep its suffix .pt.",
        )
    header = 20 if 10 * int(words[0]) + int(words[1]) >= _NEW_COUNTER else 16
    if size < header:
        raise CheckpointError(f'"{path.name}" has {size} bytes, expected a header of {header} and weights.')
    return header


def _runs(cfg: DarknetCfg) -> Iterator[_Run]:
    """All runs of the file, in order."""
    for section, channels in zip(cfg.sections, input_channels(cfg), strict=True):
        if not isinstance(section, Convolutional):
            continue
        path, filters = f"module_list.{section.index}", (section.filters,)
        if section.batch_normalize:
            for name in ("bias", "weight", "running_mean", "running_var"):
                yield _Run(f"{path}.BatchNorm2d.{name}", filters)
        else:
            yield _Run(f"{path}.Conv2d.bias", filters)
        side = section.sizes[0]
        yield _Run(f"{path}.Conv2d.weight", (section.filters, channels // section.groups, side, side))


def _wrong_length(path: Path, cfg: DarknetCfg, size: int, expected: int) -> CheckpointError:
    kind = "shorter" if size < expected else "longer"
    return CheckpointError(
        f'"{path.name}" has {size:,} bytes, expected {expected:,} by {cfg.name}: it is {kind} by '
        f"{abs(size - expected):,} bytes.",
        "Weights and cfg are of different models (classes, anchors or filters differ), the file was cut off in a "
        "download, or it holds the first layers only, as training starts from (yolov4.conv.137).",
    )


def _tensors(runs: list[_Run], data: NDArray[np.uint8]) -> Mapping[str, LazyTensor]:
    storage = Storage("weights", "float32", data.size // _FLOAT, lambda: data)
    tensors: dict[str, Any] = {}
    offset = 0
    for run in runs:
        count = prod(run.shape)
        strides = [prod(run.shape[axis + 1 :]) for axis in range(len(run.shape))]
        tensors[run.name] = make_tensor(storage, offset, run.shape, strides, "float32")
        offset += count
    return tensors

"""The only way in which foreign ONNX files are read, rewritten and run: a child process with limits.

onnx, onnxsim and onnxruntime are C++ that trusts its input: a stride of zero, a constant of 8 GiB or an endless
loop takes the process down.  Here that is a `GraphError`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import onnx

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.foreign_sizes import total_bytes
from rkdeploy.system.limited_process import LimitedProcessError, Limits, run_limited

_GIB = 1 << 30
_MIB = 1 << 20
# Each a few times the measured need of YOLOv5n (7 MiB) on two busy cores: 0.3 GiB and 2 to 7 s for reading, then
# 3 GiB and 64 s for an image of 1920 x 1920, which four sessions run.
_BASE_BYTES = 4 * _GIB
_BYTES_PER_FILE_BYTE = 16
_BYTES_PER_TENSOR_BYTE = 4
_SHARE_OF_MEMORY = 0.75  # largest fraction of the machine's memory
_BASE_SECONDS = 120.0
_SECONDS_PER_MIB = 1.0
_SECONDS_PER_MIB_AND_MEGAPIXEL = 10.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Runs:
    """A network that the work runs.

    Attributes:
        images: number of runs.
        pixels: per image.
        tensor_bytes: of all tensors between its nodes.
    """

    images: int = 0
    pixels: int = 0
    tensor_bytes: int = 0

    @classmethod
    def of(cls, model: onnx.ModelProto, images: int) -> Runs:
        """Runs of a simplified graph, with inferred shapes."""
        dims = model.graph.input[0].type.tensor_type.shape.dim
        return cls(images, math.prod(d.dim_value for d in dims[2:]), total_bytes(model))


_NO_RUNS = Runs()


def run_foreign(file: Path, work: Callable[[], Answer], answer: type[Answer], runs: Runs = _NO_RUNS) -> Answer:
    """Run `work` in a child process with limits on memory and time, and return its answer.

    The child is a fork: `work` sees this process's memory, and leaves no trace in it.  It may raise `RkdeployError`s,
    which are raised here unchanged.

    Args:
        file: the ONNX file that the work is about, for messages and for the limits.
        work: called in the child.
        answer: the type that it returns, of types that msgspec decodes (dataclasses, tuples, numbers, text) and models.
        runs: of the whole network, which need time and memory of their own.

    Raises:
        GraphError: the work crashed, exceeded the limits, or failed unexpectedly.
        RkdeployError: any known failure that the work raised.
    """
    try:
        encoded = run_limited(lambda: msgspec.msgpack.encode(work(), enc_hook=_model_to_bytes), limits_for(file, runs))
        return msgspec.msgpack.decode(encoded, type=answer, dec_hook=_model_from_bytes)
    except LimitedProcessError as error:
        raise GraphError(
            f'"{file.name}" cannot be used: {error.message}.',
            "If other programs fail on it too, the file is damaged or malicious; if they do not, report it.",
        ) from error
    except msgspec.MsgspecError as error:
        raise GraphError(f'"{file.name}" cannot be used: the process that read it gave a broken answer.') from error


def limits_for(file: Path, runs: Runs = _NO_RUNS) -> Limits:
    """Limits for work on a file, by its size, that of its external weights, and the runs.

    A missing file gets the smallest limits; reading it reports the error.
    """
    size = 0
    beside = file.parent.glob("*") if file.is_file() else ()
    for path in beside:
        if path.is_file() and path.name.startswith(file.stem) and path.name.startswith((file.name, f"{file.stem}.")):
            size += path.stat().st_size
    wanted = _BASE_BYTES + _BYTES_PER_FILE_BYTE * size + _BYTES_PER_TENSOR_BYTE * runs.tensor_bytes
    most = int(_SHARE_OF_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    mib, megapixels = size / _MIB, runs.images * runs.pixels / 1e6
    seconds = _BASE_SECONDS + _SECONDS_PER_MIB * mib + _SECONDS_PER_MIB_AND_MEGAPIXEL * mib * megapixels
    return Limits(min(wanted, most), seconds)


def _model_to_bytes(value: Any) -> bytes:
    if isinstance(value, onnx.ModelProto):
        return value.SerializeToString()
    raise NotImplementedError(f"{type(value)} in an answer")  # the exception that msgspec expects


def _model_from_bytes(kind: type, value: Any) -> Any:
    if kind is onnx.ModelProto:
        return onnx.ModelProto.FromString(value)
    raise NotImplementedError(f"{kind} in an answer")

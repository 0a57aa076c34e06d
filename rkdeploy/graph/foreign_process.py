"""The one door through which ONNX files from elsewhere are read, rewritten and run: a child process with limits.

onnx, onnxsim and onnxruntime are C++ that trusts its input: a stride of zero, a constant of 8 GiB or a loop without an
end takes the process with it.  Here that is a `GraphError`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import onnx

from rkdeploy.errors import GraphError
from rkdeploy.limited_process import LimitedProcessError, Limits, run_limited

_GIB = 1 << 30
_BASE_BYTES = 4 * _GIB  # activations, and what the libraries take for themselves; measured are 0.2 to 1.6 GiB
_TIMES_FILE = 16  # copies of the weights while a graph is rewritten; measured are 7 to 9
_MOST_BYTES = 32 * _GIB
_BASE_SECONDS = 120.0  # measured are 0.1 to 6 on two cores
_SECONDS_PER_MIB = 1.0

Answer = TypeVar("Answer")


def run_foreign(file: Path, work: Callable[[], Answer], answer: type[Answer]) -> Answer:
    """What `work` returns, computed in a child process with limits on memory and time.

    The child is a fork: `work` sees what this process has, and leaves no trace in it.  It may raise `RkdeployError`s,
    which arrive as they are.

    Args:
        file: the ONNX file that the work is about, for messages and for the limits.
        work: called in the child.
        answer: the type that it returns, of what msgspec decodes (dataclasses, tuples, numbers, text) and models.

    Raises:
        GraphError: the work crashed, took more than the limits, or met something unforeseen.
        RkdeployError: whatever known failure the work raised.
    """
    try:
        encoded = run_limited(lambda: msgspec.msgpack.encode(work(), enc_hook=_model_to_bytes), limits_for(file))
        return msgspec.msgpack.decode(encoded, type=answer, dec_hook=_model_from_bytes)
    except LimitedProcessError as error:
        raise GraphError(
            f'"{file.name}" cannot be used: {error.message}.',
            "The file is damaged, or made to do harm, if other programs fail on it too; if they do not, report it.",
        ) from error
    except msgspec.MsgspecError as error:
        raise GraphError(f'"{file.name}" cannot be used: the process that read it gave a broken answer.') from error


def limits_for(file: Path) -> Limits:
    """Limits for work on a file, by its size and that of the weights beside it.

    A file that is not there gets the least; reading it says what is wrong.
    """
    size = 0
    beside = file.parent.glob("*") if file.is_file() else ()
    for path in beside:
        if path.is_file() and path.name.startswith(file.stem) and path.name.startswith((file.name, f"{file.stem}.")):
            size += path.stat().st_size
    most = min(_BASE_BYTES + _TIMES_FILE * size, _MOST_BYTES)
    return Limits(most, _BASE_SECONDS + _SECONDS_PER_MIB * size / (1 << 20))


def _model_to_bytes(value: Any) -> bytes:
    if isinstance(value, onnx.ModelProto):
        return value.SerializeToString()
    raise NotImplementedError(f"{type(value)} in an answer")  # how msgspec wants to be told


def _model_from_bytes(kind: type, value: Any) -> Any:
    if kind is onnx.ModelProto:
        return onnx.ModelProto.FromString(value)
    raise NotImplementedError(f"{kind} in an answer")

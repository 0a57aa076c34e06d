"""Common part of the backends that run the cut ONNX graph in floating point."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rkdeploy.device.runtime.contract_check import require_image
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec

_FOREIGN_HINT: Final = "The ONNX file does not belong to this contract.  Build the bundle again."
_OPENCV_HINT: Final = (
    "OpenCV computes some networks in other shapes: try --backend onnxruntime.  If that says the same, the ONNX file "
    "does not belong to this contract: build the bundle again."
)


class FloatRuntime(ABC):
    """The float network on the CPU, run by a library.  See `rkdeploy.device.runtime.protocol.Runtime`.

    Args:
        onnx: a graph with the contract's input (float32, (1, 3, H, W)) and at least its outputs.
        spec: the contract.
    """

    name: str

    def __init__(self, onnx: Path, spec: ModelSpec) -> None:
        self.notes: tuple[str, ...] = ()
        self.figures_from = f"{self.name} on this PC"
        self._onnx = onnx
        self._spec = spec
        self._input = FloatInput(spec.input)
        self._opened: Any = None

    def __enter__(self) -> Self:
        self._opened = self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened = None

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Run one image.  See `rkdeploy.device.runtime.protocol.Runtime.infer`.

        Raises:
            BackendError: when the shape of the image or of an output differs from the contract's, or the run fails.
        """
        if self._opened is None:
            raise BackendError(f'The backend "{self.name}" is not open.')
        names = [output.name for output in self._spec.outputs]
        values = self._run(names, self._input.fill(image))
        return _head_tensors(values, self._spec.outputs, self.name)

    @abstractmethod
    def _open(self) -> Any:
        """The library's network.

        Raises:
            BackendError: when the file is missing, damaged, or of another contract.
        """

    @abstractmethod
    def _run(self, names: list[str], values: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        """The named outputs for the network's input (1, 3, H, W).

        Raises:
            BackendError: when the library fails.
        """


class FloatInput:
    """Converter of the contract's image to the network's input, into one buffer that is reused.

    (1, H, W, 3) uint8 -> (1, 3, H, W) float32 with (pixel - mean) / std per channel.  A `.rknn` has this built in.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._buffer = np.empty((1, 3, spec.height, spec.width), np.float32)
        self._mean = np.array(spec.mean, np.float32).reshape(1, 3, 1, 1)
        self._std = np.array(spec.std, np.float32).reshape(1, 3, 1, 1)

    def fill(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's input, valid until the next call.

        Raises:
            BackendError: when the image has another shape or type than the contract says, or is not contiguous.
        """
        require_image(image, self._spec)
        np.subtract(image.transpose(0, 3, 1, 2), self._mean, out=self._buffer)
        np.divide(self._buffer, self._std, out=self._buffer)
        return self._buffer


def _head_tensors(
    values: Sequence[NDArray[Any]], outputs: Sequence[HeadOutput], backend: str
) -> tuple[HeadTensor, ...]:
    """The raw outputs as checked float32 head tensors.

    Raises:
        BackendError: when the shape of a tensor differs from the contract's.
    """
    for value, output in zip(values, outputs, strict=True):
        if value.shape != output.shape:
            raise BackendError(
                f'Output "{output.name}" has shape {value.shape} from {backend}, expected {output.shape}.',
                _OPENCV_HINT if backend == "opencv_dnn" else _FOREIGN_HINT,
            )
    return tuple(HeadTensor(np.ascontiguousarray(value, np.float32)) for value in values)


def require_outputs(outputs: Sequence[HeadOutput], present: Sequence[str], onnx: Path) -> None:
    """Check that the graph has all of the contract's outputs.

    Raises:
        BackendError: when it lacks one.
    """
    missing = [output.name for output in outputs if output.name not in present]
    if missing:
        raise BackendError(
            f'"{onnx}" has no output {_quoted(missing)}; it has {_quoted(present) or "none"}.',
            "Give the cut graph that was built with this contract.",
        )


def require_file(onnx: Path) -> None:
    """Check that the file exists.

    Raises:
        BackendError: when it does not.
    """
    if not onnx.is_file():
        raise BackendError(f'ONNX file "{onnx}" does not exist.')


def one_line(text: object) -> str:
    """A library's multi-line error as one line of at most 400 characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= 400 else f"{line[:397]}..."


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)

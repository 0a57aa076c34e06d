"""The cut graph in floating point, run by ONNX Runtime on this PC: the reference for the NPU's results."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rkdeploy.device.runtime.float_graph import FloatInput, head_tensors, one_line, require_file, require_outputs
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.runtime.protocol import HeadTensor, RuntimeOptions

_FATAL_ONLY = 4


def open_bundle(bundle: Bundle, core: object, options: RuntimeOptions) -> OnnxRuntime:
    """The float network of a bundle, with the cut of the built model."""
    del core, options  # not used: no NPU cores, no options
    return OnnxRuntime(bundle.cut_onnx, bundle.spec)


class OnnxRuntime:
    """ONNX Runtime on the CPU.  See `rkdeploy.device.runtime.protocol.Runtime`.

    Args:
        onnx: a graph with the contract's input (float32, (1, 3, H, W)) and at least its outputs.
        spec: the contract.

    Entering raises:
        BackendError: when the package is missing, or the file is missing, damaged, or of another contract.
    """

    name = "onnxruntime"

    def __init__(self, onnx: Path, spec: ModelSpec) -> None:
        self.notes: tuple[str, ...] = ()
        self.figures_from = "onnxruntime on this PC"
        self._onnx = onnx
        self._spec = spec
        self._input = FloatInput(spec.input)
        self._session: Any = None

    def __enter__(self) -> Self:
        try:
            onnxruntime = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise BackendError(
                f'The backend "{self.name}" needs the package "onnxruntime", which cannot be imported: {error}.',
                'Install it with: pip install "rkdeploy[graph]"',
            ) from error
        require_file(self._onnx)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores
        try:
            session = onnxruntime.InferenceSession(str(self._onnx), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            raise BackendError(f'onnxruntime cannot open "{self._onnx}": {one_line(error)}') from error
        self._check_input(session.get_inputs())
        require_outputs(self._spec.outputs, [output.name for output in session.get_outputs()], self._onnx)
        self.figures_from = f"onnxruntime {onnxruntime.__version__} on this PC"
        self._session = session
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Run one image.  See `rkdeploy.device.runtime.protocol.Runtime.infer`.

        Raises:
            BackendError: when the shape of the image or of an output differs from the contract's, or the run fails.
        """
        if self._session is None:
            raise BackendError(f'The backend "{self.name}" is not open.')
        feed = {self._spec.input.name: self._input.fill(image)}
        names = [output.name for output in self._spec.outputs]
        try:
            values = self._session.run(names, feed)
        except Exception as error:  # its exceptions share no base class
            raise BackendError(f'onnxruntime failed on "{self._onnx}": {one_line(error)}') from error
        return head_tensors(values, self._spec.outputs, self.name)

    def _check_input(self, inputs: Any) -> None:
        expected = [1, 3, self._spec.input.height, self._spec.input.width]
        found = [f'"{tensor.name}" {tensor.type} {tensor.shape}' for tensor in inputs]
        fits = (
            len(inputs) == 1
            and inputs[0].name == self._spec.input.name
            and inputs[0].type == "tensor(float)"
            and len(inputs[0].shape) == 4
            # a string or None is a dynamic size
            and all(not isinstance(a, int) or a == b for a, b in zip(inputs[0].shape, expected, strict=True))
        )
        if not fits:
            raise BackendError(
                f'"{self._onnx}" has the input {", ".join(found) or "none"}, expected one: '
                f'"{self._spec.input.name}" tensor(float) {expected}.',
                "Give the cut graph that was built with this contract.",
            )

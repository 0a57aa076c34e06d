"""The cut graph in floating point, run by ONNX Runtime on this PC: the reference for the NPU's results."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rkdeploy.device.runtime.float_graph import FloatRuntime, one_line, require_file, require_outputs
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.runtime.protocol import RuntimeOptions

_FATAL_ONLY = 4


def open_bundle(bundle: Bundle, core: object, options: RuntimeOptions) -> OnnxRuntime:
    """The float network of a bundle, with the cut of the built model."""
    del core, options  # not used: no NPU cores, no options
    return OnnxRuntime(bundle.cut_onnx, bundle.spec)


class OnnxRuntime(FloatRuntime):
    """ONNX Runtime on the CPU.

    Entering raises:
        BackendError: when the package is missing, or the file is missing, damaged, or of another contract.
    """

    name = "onnxruntime"

    def _open(self) -> Any:
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
        return session

    def _run(self, names: list[str], values: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = self._opened.run(names, {self._spec.input.name: values})
        except Exception as error:  # its exceptions share no base class
            raise BackendError(f'onnxruntime failed on "{self._onnx}": {one_line(error)}') from error
        return outputs

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

"""The cut graph in floating point, run by OpenCV: needs no package beyond what a board already has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rkdeploy.device.runtime.float_graph import FloatInput, head_tensors, one_line, require_file, require_outputs
from rkdeploy.errors import BackendError
from rkdeploy.images.file import opencv_log_silenced

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.runtime.protocol import HeadTensor, RuntimeOptions

_UNKNOWN_LAYER = re.compile(r'Can\'t create layer "[^"]*" of type "([^"]+)"')
_NODE = re.compile(r"Node \[([^\]@]+)[^\]]*\]:\(([^)]*)\)")
_WHERE = re.compile(r"OpenCV\([^)]*\) \S+:\d+: error: |\(-\d+:[^)]*\) |in function '[^']*'|^\s*>|\s>\s")


def open_bundle(bundle: Bundle, core: object, options: RuntimeOptions) -> OpencvDnn:
    """The float network of a bundle, with the cut of the built model."""
    del core, options  # not used: no NPU cores, no options
    return OpencvDnn(bundle.cut_onnx, bundle.spec)


class OpencvDnn:
    """OpenCV's dnn module on the CPU.  See `rkdeploy.device.runtime.protocol.Runtime`.

    Args:
        onnx: a graph with the contract's input (float32, (1, 3, H, W)) and at least its outputs.
        spec: the contract.

    Entering raises:
        BackendError: when the file is missing, damaged, of another contract, or has a layer that OpenCV cannot read.
    """

    name = "opencv_dnn"

    def __init__(self, onnx: Path, spec: ModelSpec) -> None:
        self.notes: tuple[str, ...] = ()
        self.figures_from = f"OpenCV {cv2.__version__} dnn on this PC"
        self._onnx = onnx
        self._spec = spec
        self._input = FloatInput(spec.input)
        self._net: cv2.dnn.Net | None = None

    def __enter__(self) -> Self:
        require_file(self._onnx)
        try:
            data = np.fromfile(self._onnx, np.uint8)
            with opencv_log_silenced():
                net = cv2.dnn.readNetFromONNX(data)
                net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
                net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
                present = (*net.getUnconnectedOutLayersNames(), *net.getLayerNames())
        except cv2.error as error:
            raise BackendError(
                f'OpenCV {cv2.__version__} cannot read "{self._onnx}": {_reason(error)}.',
                "Use the backend onnxruntime for this model." if _NODE.search(str(error)) else "",
            ) from error
        except OSError as error:
            raise BackendError(f'ONNX file "{self._onnx}" cannot be read: {error.strerror}.') from error
        require_outputs(self._spec.outputs, [name for name in present if not name.startswith("onnx_node")], self._onnx)
        self._net = net
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._net = None

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """Run one image.  See `rkdeploy.device.runtime.protocol.Runtime.infer`.

        Raises:
            BackendError: when the shape of the image or of an output differs from the contract's, or the run fails.
        """
        if self._net is None:
            raise BackendError(f'The backend "{self.name}" is not open.')
        blob = self._input.fill(image)
        names = [output.name for output in self._spec.outputs]
        try:
            with opencv_log_silenced():
                self._net.setInput(blob, self._spec.input.name)
                outputs = list(self._net.getUnconnectedOutLayersNames())
                # OpenCV 5 gives all outputs of a graph or none.
                asked = outputs if set(names) <= set(outputs) else names
                values = dict(zip(asked, self._net.forward(asked), strict=True))
        except cv2.error as error:
            raise BackendError(
                f'OpenCV {cv2.__version__} failed on "{self._onnx}": {_reason(error)}.',
                "Use the backend onnxruntime for this model.",
            ) from error
        return head_tensors([values[name] for name in names], self._spec.outputs, self.name)


def _reason(error: cv2.error) -> str:
    """OpenCV's error message in one line, without its source files and error numbers."""
    text = str(error)
    node = _NODE.search(text)
    where = f' (node "{node[2].split("!")[-1]}", {node[1]})' if node else ""
    if unknown := _UNKNOWN_LAYER.search(text):
        return f'it does not know the layer "{unknown[1]}"{where}'
    said = text.rsplit("error: ", 1)[-1]
    return one_line(_WHERE.sub(" ", said)).rstrip(".> ") + where

"""The cut graph in floating point, run by OpenCV: needs no package beyond what a board already has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from rkdeploy.device.runtime.float_graph import FloatRuntime, one_line, require_file, require_outputs
from rkdeploy.errors import BackendError
from rkdeploy.images.file import opencv_log_silenced

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.runtime.protocol import RuntimeOptions

_UNKNOWN_LAYER = re.compile(r'Can\'t create layer "[^"]*" of type "([^"]+)"')
_NODE = re.compile(r"Node \[([^\]@]+)[^\]]*\]:\(([^)]*)\)")
_WHERE = re.compile(r"OpenCV\([^)]*\) \S+:\d+: error: |\(-\d+:[^)]*\) |in function '[^']*'|^\s*>|\s>\s")


def open_bundle(bundle: Bundle, core: object, options: RuntimeOptions) -> OpencvDnn:
    """The float network of a bundle, with the cut of the built model."""
    del core, options  # not used: no NPU cores, no options
    return OpencvDnn(bundle.cut_onnx, bundle.spec)


class OpencvDnn(FloatRuntime):
    """OpenCV's dnn module on the CPU.

    Entering raises:
        BackendError: when the file is missing, damaged, of another contract, or has a layer that OpenCV cannot read.
    """

    name = "opencv_dnn"

    def __init__(self, onnx: Path, spec: ModelSpec) -> None:
        super().__init__(onnx, spec)
        self.figures_from = f"OpenCV {cv2.__version__} dnn on this PC"

    def _open(self) -> cv2.dnn.Net:
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
        return net

    def _run(self, names: list[str], values: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        net: cv2.dnn.Net = self._opened
        try:
            with opencv_log_silenced():
                net.setInput(values, self._spec.input.name)
                outputs = list(net.getUnconnectedOutLayersNames())
                # OpenCV 5 gives all outputs of a graph or none.
                asked = outputs if set(names) <= set(outputs) else names
                found = dict(zip(asked, net.forward(asked), strict=True))
        except cv2.error as error:
            raise BackendError(
                f'OpenCV {cv2.__version__} failed on "{self._onnx}": {_reason(error)}.',
                "Use the backend onnxruntime for this model.",
            ) from error
        return [found[name] for name in names]


def _reason(error: cv2.error) -> str:
    """OpenCV's error message in one line, without its source files and error numbers."""
    text = str(error)
    node = _NODE.search(text)
    where = f' (node "{node[2].split("!")[-1]}", {node[1]})' if node else ""
    if unknown := _UNKNOWN_LAYER.search(text):
        return f'it does not know the layer "{unknown[1]}"{where}'
    said = text.rsplit("error: ", 1)[-1]
    return one_line(_WHERE.sub(" ", said)).rstrip(".> ") + where

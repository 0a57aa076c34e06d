"""onnxruntime sessions, with the same settings everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from rkdeploy.errors import GraphError

# Seen in 1.20: fuses a Pad of zeros into the MaxPool behind it, which pads with minus infinity, and changes the values
# (4 px in yolov3-tiny).  A proof must not rest on two graphs with the same fault.
_WRONG_OPTIMIZERS = ["Pad_Fusion"]

_EXPORT_AGAIN = "Export the file again, or copy it again. If other programs run it, report it."
_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory")  # std::bad_alloc, and onnxruntime's arena


class Session:
    """A model in onnxruntime on the CPU.

    Args:
        model: the graph.
        optimized: False runs it as it is written: nothing is computed in advance, not even its constants.

    Raises:
        GraphError: when onnxruntime rejects the model.
    """

    def __init__(self, model: onnx.ModelProto, *, optimized: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # failures are raised as exceptions
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads occupy a core each
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_WRONG_OPTIMIZERS,
            )
        except Exception as error:  # onnxruntime's exceptions share no base class below Exception
            raise GraphError(f"onnxruntime cannot open the graph: {reason(error)}", _EXPORT_AGAIN) from error
        self.output_names = tuple(o.name for o in self._session.get_outputs())

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """All outputs by name.

        Raises:
            GraphError: when onnxruntime fails on the inputs.
        """
        try:
            values = self._session.run(None, dict(inputs))
        except Exception as error:  # as above
            raise GraphError(f"onnxruntime cannot run the graph: {reason(error)}", _EXPORT_AGAIN) from error
        return dict(zip(self.output_names, values, strict=True))


def reason(error: Exception) -> str:
    """The first line of a C++ library's error message, whose exception types do not distinguish failures."""
    if any(words in str(error) for words in _NO_MEMORY):
        return "it needs more memory than available, or than a file of this size may use."
    return str(error).strip().partition("\n")[0][:300]

"""A stand-in for the package rknn-toolkit-lite2 with its observed contract, for machines that it does not exist for.

As the real one (2.5.0) it never raises, ignores the return code of `rknn_run`, runs on after a failed `init_runtime`,
returns float32 only, and keeps its library and context in `rknn_runtime.lib` and `.context`.  The library is the
stand-in of librknnrt, called through ctypes.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rkdeploy.device.runtime.librknnrt import abi


class RKNNRuntime:
    """The package's own runtime object."""

    def __init__(self) -> None:
        self.lib = ctypes.CDLL(os.environ["RKDEPLOY_LIBRKNNRT"])
        for name in ("rknn_query", "rknn_run", "rknn_inputs_set", "rknn_outputs_get", "rknn_outputs_release"):
            getattr(self.lib, name).argtypes = abi.PROTOTYPES[name][1]
        self.context: int | None = None


class RKNNLite:
    """See the module."""

    def __init__(self, verbose: bool = False) -> None:
        self.rknn_data: bytes | None = None
        self.rknn_runtime: Any = None
        self._buffers: list[Any] = []

    def load_rknn(self, path: str, key_path: str | None = None) -> int:
        self.rknn_data = Path(path).read_bytes()
        return 0

    def init_runtime(self, target: str | None = None, core_mask: int = 0) -> int:
        assert self.rknn_data is not None
        if target is not None:
            return -1
        runtime = self.rknn_runtime = RKNNRuntime()
        context = ctypes.c_uint64(0)
        code = runtime.lib.rknn_init(ctypes.byref(context), self.rknn_data, len(self.rknn_data), 0, None)
        if code != 0:
            os.write(2, f"E Catch exception when init runtime!\nException: RKNN init failed. code: {code}\n".encode())
            return -1
        runtime.context = context.value
        mask: int = runtime.lib.rknn_set_core_mask(ctypes.c_uint64(context.value), core_mask)
        return -1 if mask != 0 else 0

    def get_sdk_version(self) -> str | None:
        version = abi.SdkVersion()
        lib, context = self.rknn_runtime.lib, self.rknn_runtime.context
        if lib.rknn_query(context, abi.Query.SDK_VERSION, ctypes.byref(version), ctypes.sizeof(version)) != 0:
            return None
        rule = "=" * 46
        api, drv = version.api_version.decode(), version.drv_version.decode()
        return f"{rule}\nRKNN VERSION:\n  API: {api}\n  DRV: {drv}\n{rule}\n"

    def inference(self, inputs: list[Any], reuse_outputs: bool = False) -> list[Any] | None:
        if self.rknn_runtime is None or inputs[0].ndim != 4:
            return None
        lib, context = self.rknn_runtime.lib, self.rknn_runtime.context
        counts = abi.InputOutputNum()
        if lib.rknn_query(context, abi.Query.IN_OUT_NUM, ctypes.byref(counts), ctypes.sizeof(counts)) != 0:
            return None
        image = np.ascontiguousarray(inputs[0])
        feed = abi.Input(index=0, buf=image.ctypes.data, size=image.nbytes, type=abi.UINT8, fmt=1)
        if lib.rknn_inputs_set(context, 1, ctypes.byref(feed)) != 0:
            return None
        lib.rknn_run(context, None)  # as the real one: whatever it answers
        shapes = []
        for index in range(counts.n_output):
            attr = abi.TensorAttr(index=index)
            if lib.rknn_query(context, abi.Query.OUTPUT_ATTR, ctypes.byref(attr), ctypes.sizeof(attr)) != 0:
                return None
            shapes.append(tuple(attr.dims[: attr.n_dims]))
        if not self._buffers or not reuse_outputs:
            self._buffers = [np.zeros(shape, np.float32) for shape in shapes]
        outputs = (abi.Output * len(shapes))()
        for index, buffer in enumerate(self._buffers):
            outputs[index] = abi.Output(1, 1, index, buffer.ctypes.data, buffer.nbytes)
        if lib.rknn_outputs_get(context, len(outputs), outputs, None) != 0:
            return None
        lib.rknn_outputs_release(context, len(outputs), outputs)
        return list(self._buffers)

    def release(self) -> None:
        if self.rknn_runtime is not None and self.rknn_runtime.context is not None:
            self.rknn_runtime.lib.rknn_destroy(ctypes.c_uint64(self.rknn_runtime.context))
        self.rknn_runtime = None


def install() -> dict[str, Any]:
    """Modules that make `import rknnlite.api` find this file, for `monkeypatch.setitem(sys.modules, ...)`."""
    this = sys.modules[__name__]
    return {"rknnlite": this, "rknnlite.api": this}

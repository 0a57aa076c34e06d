"""Finding backends by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rkdeploy.errors import BackendError
from rkdeploy.runtime.registry import BACKENDS, backend_module


@pytest.mark.parametrize("name", ["onnxruntime", "opencv_dnn"])
def test_a_backend_is_found_by_its_name(name: str) -> None:
    """A name gives the module that is registered for it."""
    assert backend_module(name).__name__ == BACKENDS[name]


@pytest.mark.parametrize(("name", "hint"), [("opencv-dnn", '"opencv_dnn"'), ("OnnxRuntime", '"onnxruntime"'), ("", "")])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str, hint: str) -> None:
    """An unknown name gives the list, and the nearest one where there is one."""
    with pytest.raises(BackendError, match=r"expected one of .*onnxruntime, opencv_dnn") as caught:
        backend_module(name)
    assert hint in caught.value.hint


def test_backends_are_imported_only_when_chosen() -> None:
    """Importing the registry, or a backend's module, imports no optional package."""
    code = (
        "import sys, rkdeploy.runtime.registry as r\n"
        "assert not any(module in sys.modules for module in r.BACKENDS.values())\n"
        "r.backend_module('onnxruntime'); r.backend_module('opencv_dnn')\n"
        "assert not {'onnx', 'onnxruntime', 'torch', 'yaml'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

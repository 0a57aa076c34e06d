"""The board side imports numpy, OpenCV, msgspec and the command line's packages, and nothing of the host side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rkdeploy

PACKAGE = Path(rkdeploy.__file__).parent
BLOCKED = ("onnx", "onnxruntime", "onnxsim", "torch", "rknn", "rknnlite", "yaml", "scipy", "ruamel")
BOARD_SIDE = ("errors", "contract", "system", "images", "device")
NEEDS_A_COMPILER = ("rkdeploy.device.postprocess.native.compile",)
COMMANDS = ("rkdeploy.cli.main", "rkdeploy.cli.run")


def modules() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] in BOARD_SIDE:
            found.append(".".join(("rkdeploy", *parts)).removesuffix(".__init__"))
    return [name for name in found if name not in NEEDS_A_COMPILER] + list(COMMANDS)


def test_there_is_something_to_import() -> None:
    """The list below is taken from the folders, and holds what it must."""
    assert {
        "rkdeploy.contract.bundle",
        "rkdeploy.device.runtime.librknnrt.context",
        "rkdeploy.device.runtime.rknnlite",
    } <= set(modules())
    assert len(modules()) > 40


@pytest.mark.parametrize("one_by_one", [False, True])
def test_board_modules_import_without_the_host_side(one_by_one: bool) -> None:
    """Every module of the board side imports where the host's packages are blocked; the essential ones each alone."""
    groups = [[name] for name in COMMANDS] if one_by_one else [modules()]
    for names in groups:
        code = (
            f"import sys, importlib\nfor name in {BLOCKED!r}: sys.modules[name] = None\n"
            f"for name in {names!r}: importlib.import_module(name)\n"
            "assert 'rkdeploy.host.toolkit.simulator' not in sys.modules and 'rkdeploy.host.graph' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

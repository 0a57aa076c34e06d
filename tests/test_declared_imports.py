"""Everything that rkdeploy imports is declared: for its base, or for the extra that the importing part belongs to."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rkdeploy

PACKAGE = Path(rkdeploy.__file__).parent
_PYAV = ("pyav_capture", "video_capture", "video_decoder")
EXTRAS = {
    **dict.fromkeys(("host", "analysis/estimate", "analysis/explain", "analysis/inspection"), ("graph",)),
    "api/result.py": ("supervision",),
    "api/supervision_style.py": ("supervision",),
    "datasets": ("eval",),
    "accuracy": ("eval",),
    "analysis/page": ("report",),
    "analysis/tune": ("tune", "graph"),
    "device/runtime/onnxruntime.py": ("graph",),
    "device/runtime/rknnlite.py": ("board",),
    **dict.fromkeys((f"device/stream/sources/{name}.py" for name in _PYAV), ("video",)),
    "device/messages/mqtt_sink.py": ("mqtt",),
    "device/web": ("web",),
    "doctor/video_trial.py": ("video",),
    "doctor/trials.py": ("graph", "eval", "report", "web"),  # it tries them all
    "host/toolkit/worker.py": ("toolkit",),
    "host/toolkit/files.py": ("toolkit", "graph"),
    "host/toolkit/late_torch.py": ("toolkit",),
    "host/toolkit/emulation.py": ("toolkit", "graph"),
    "host/toolkit/emulated_operators.py": ("toolkit",),
    "host/toolkit/bias_correction.py": ("toolkit",),
    "host/toolkit/range_search.py": ("toolkit",),
}
"""Folder or file below the package -> the extras whose packages it may import in addition to the base's."""
LOOSE = {
    "av": "av",  # pyav-rkmpp on a board
    "cv2": "opencv-python",
    "rknnlite": "rknn-toolkit-lite2",
    "tomli": "tomli",  # Python 3.10 only
    "google": "protobuf",
}  # not installed under that name


def imported(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports, `importlib.import_module("name")` included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "import_module":
            found |= {
                part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)
            }
    return {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) - {"rkdeploy"}


@cache
def declared(extra: str) -> set[str]:
    """The distributions that an extra asks for; an empty one is the base.  The toolkit brings what it asks for."""
    if extra == "toolkit":
        asked = [Requirement(text) for text in requires("rknn-toolkit2") or ()]
        return {canonicalize_name(one.name) for one in asked} | {"rknn-toolkit2"}
    asked = [Requirement(text) for text in requires("rkdeploy") or ()]
    on_boards = [
        {"extra": extra, "platform_machine": "aarch64", "python_version": version} for version in ("3.10", "3.11")
    ]
    return {
        canonicalize_name(one.name) for one in asked if one.marker is None or any(map(one.marker.evaluate, on_boards))
    }


def distributions(name: str) -> set[str]:
    """The distributions that bring an importable name."""
    if name in LOOSE:
        return {LOOSE[name]}
    return {canonicalize_name(one) for one in _installed().get(name, ())}


@cache
def _installed() -> Mapping[str, list[str]]:
    return packages_distributions()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_a_file_imports_is_declared(path: Path) -> None:
    """Each imported package is one of the base's or of the part's extras."""
    place = path.relative_to(PACKAGE)
    extras = next((EXTRAS[at] for one in (place, *place.parents) if (at := one.as_posix()) in EXTRAS), ())
    allowed = set().union(*map(declared, ("", *extras)))
    missing = sorted(name for name in imported(path) if not distributions(name) & allowed)
    assert not missing, f"{place} imports {missing}, which {('the base', *extras)} do not declare"


def test_an_import_that_is_not_declared(tmp_path: Path) -> None:
    """The comparison sees each way of importing, and tells the base from the extras."""
    path = tmp_path / "module.py"
    path.write_text(
        "import json, numpy.typing\nfrom onnx import helper\nfrom . import near\n"
        'def late():\n    import scipy.stats\n    importlib.import_module("yaml")\n'
    )
    assert imported(path) == {"numpy", "onnx", "scipy", "yaml"}
    assert distributions("numpy") <= declared("")
    assert not distributions("onnx") & declared("")
    assert distributions("onnx") <= declared("graph")
    assert "rknn-toolkit-lite2" in declared("board") - declared("web")

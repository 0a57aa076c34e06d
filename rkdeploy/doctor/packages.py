"""What is judged of Python and its packages, by their metadata.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rkdeploy.doctor.finding import Finding
from rkdeploy.postprocess.native.library import COMPILE_MODULE, DECODE_VARIABLE

if TYPE_CHECKING:
    from rkdeploy.doctor.system import System

_OPENCV: Final = ("opencv-python", "opencv-python-headless", "opencv-contrib-python")
_VERSION: Final = re.compile(r"\d+(?:\.\d+)*")
Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Pin:
    """What rknn-toolkit2 tolerates of a package.

    Attributes:
        package: its name.
        least, most: bounds, both included; an empty one is open.  `80-` means everything below 80.
        install: the tested version (constraints.txt), as pip takes it.
        why: what happens otherwise.
    """

    package: str
    least: str
    most: str
    install: str
    why: str


_NEEDED: Final = {"numpy": "1.24", "msgspec": "0.19", "typer": "0.15", "rich": "13.7"}
_TOOLKIT_PINS: Final = (
    _Pin("numpy", "", "1.26.4", "numpy==1.26.4", "the toolkit is compiled for numpy 1"),
    _Pin("onnx", "1.16.1", "1.18.0", "onnx==1.18.0", "1.19 removed onnx.mapping, which the toolkit imports"),
    _Pin("protobuf", "4.21.6", "4.25.4", "protobuf==4.25.4", "later ones refuse the toolkit's descriptors"),
    _Pin("setuptools", "", "80-", "setuptools<80", "the toolkit imports pkg_resources, which later ones lack"),
)


def check_python(system: System) -> list[Finding]:
    """The interpreter's version."""
    text = f"Python {'.'.join(map(str, system.python))} ({system.python_path})"
    if (3, 10) <= system.python[:2] <= (3, 12):
        return [Finding("Python", "ok", text)]
    cure = "board/install.sh --python python3.11" if system.is_board else "make PYTHON=python3.11 setup"
    return [Finding("Python", "problem", text, "3.10 to 3.12: the vendor's packages exist for no other", cure)]


def check_packages(system: System) -> list[Finding]:
    """What rkdeploy itself needs on every machine."""
    findings, good = [], []
    for name, least in _NEEDED.items():
        got = system.packages.get(name)
        if got is not None and numbers(got) >= numbers(least):
            good.append(f"{name} {got}")
            continue
        findings.append(
            Finding("packages", "problem", f"{name} {got or 'is not installed'}", f"{name} {least} or later",
                    _pip(system, f'"{name}>={least}"'))
        )  # fmt: skip
    opencv = [name for name in _OPENCV if name in system.packages]
    good += [f"{name} {system.packages[name]}" for name in opencv]
    if not opencv:
        package = "opencv-python-headless" if system.is_board else "opencv-python"
        findings.append(Finding("packages", "problem", "OpenCV is not installed", package, _pip(system, package)))
    elif len(opencv) > 1:
        findings.append(
            Finding(
                "packages", "warning", f"{' and '.join(opencv)} are both installed: they overwrite each other's cv2",
                "one of them",
                f"{system.python_path} -m pip uninstall -y {' '.join(opencv)}\n{_pip(system, opencv[0])}",
            )
        )  # fmt: skip
    return [Finding("packages", "ok", ", ".join(good)), *findings] if good else findings


def check_decode(system: System) -> list[Finding]:
    """Whether the decode's C library is in use."""
    decode = system.decode
    if not decode.by:
        return [Finding("decode", "problem", decode.why, "a decode that is there",
                        decode.hint or f"unset {DECODE_VARIABLE}")]  # fmt: skip
    if decode.by == "native" or decode.asked_for:
        return [Finding("decode", "ok" if decode.by == "native" else "note", f"{decode.by}: {decode.why}")]
    return [
        Finding("decode", "note", f"numpy: {decode.why}", "the C library, which is several times faster",
                f"{system.python_path} -m {COMPILE_MODULE}    (needs a C compiler: apt install gcc)")
    ]  # fmt: skip


def check_toolkit(system: System) -> list[Finding]:
    """rknn-toolkit2 and the versions that it tolerates.  A board needs none of it."""
    trial = system.toolkit
    here = "rknn-toolkit2" in system.packages
    if trial is None and not here:
        if system.is_board:
            return []
        return [
            Finding("rknn-toolkit2", "note", "not installed: rkdeploy build and the simulator need it",
                    cure=_pip(system, '-c constraints.txt ".[host]"'))
        ]  # fmt: skip
    findings: list[Finding] = []
    works = trial is None or trial.version is not None
    if trial is None:
        findings.append(
            Finding("rknn-toolkit2", "note", f"{system.packages['rknn-toolkit2']}; its import was not tried")
        )
    elif trial.version is not None:
        findings.append(
            Finding("rknn-toolkit2", "ok", f"{trial.version}, imported in a process of its own ({trial.python})")
        )
    else:
        findings.append(Finding("rknn-toolkit2", "problem", trial.error, "a toolkit that can be imported", trial.hint))
    if here and (trial is None or trial.python == system.python_path):
        findings += _pins(system, works=works)
    return findings + _graph_packages(system)


def _pins(system: System, *, works: bool) -> list[Finding]:
    findings = []
    for pin in _TOOLKIT_PINS:
        got = system.packages.get(pin.package)
        if got is not None and _holds(pin, got):
            continue
        bounds = " to ".join(filter(None, (pin.least, pin.most))) if pin.least else f"at most {pin.most}"
        expected = f"{pin.package} {'below 80' if pin.most.endswith('-') else bounds}: {pin.why}"
        found = f"{pin.package} {got or 'is not installed'}{', and the toolkit works all the same' if works else ''}"
        findings.append(
            Finding(
                "toolkit pins", "warning" if works else "problem", found, expected, _pip(system, f'"{pin.install}"')
            )
        )
    if "torch" not in system.packages:
        findings.append(
            Finding(
                "toolkit pins", "warning" if works else "problem", "torch is not installed", "the CPU build of torch",
                _pip(system, "torch --index-url https://download.pytorch.org/whl/cpu"),
            )
        )  # fmt: skip
    numpy, opencv = system.packages.get("numpy"), system.packages.get("opencv-python")
    if numpy is not None and opencv is not None and numbers(opencv) >= (4, 12) and numbers(numpy) < (2,):
        findings.append(
            Finding(
                "toolkit pins", "warning", f"opencv-python {opencv} asks for numpy 2, and numpy is {numpy}",
                "opencv-python below 4.12: pip would bring numpy 2 back", _pip(system, '"opencv-python==4.11.0.86"'),
            )
        )  # fmt: skip
    return findings or [
        Finding("toolkit pins", "ok", ", ".join(f"{p.package} {system.packages[p.package]}" for p in _TOOLKIT_PINS))
    ]


def _graph_packages(system: System) -> list[Finding]:
    if "onnxsim" in system.packages and "ml_dtypes" not in system.packages:
        return [
            Finding("packages", "problem", "onnxsim is installed, ml_dtypes is not", "onnxsim imports it",
                    _pip(system, "ml_dtypes"))
        ]  # fmt: skip
    missing = [name for name in ("onnx", "onnxsim", "onnxruntime") if name not in system.packages]
    if not missing or system.is_board:
        return []
    text = f"{', '.join(missing)} not installed: rkdeploy build needs them"
    return [Finding("packages", "note", text, cure=_pip(system, '-c constraints.txt ".[graph]"'))]


def _holds(pin: _Pin, got: str) -> bool:
    version = numbers(got)
    if pin.most.endswith("-"):
        return version < numbers(pin.most)
    return version >= numbers(pin.least) and version <= numbers(pin.most)


def numbers(text: str) -> Numbers:
    """The leading numbers of a version, (1, 26, 4); empty without any."""
    found = _VERSION.match(text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _pip(system: System, what: str) -> str:
    return f"{system.python_path} -m pip install {what}"

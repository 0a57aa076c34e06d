"""Checks of Python and its packages: their versions, and the results of trial runs.  Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

from rkdeploy.device.postprocess.native.decode_library import COMPILE_MODULE, DECODE_VARIABLE
from rkdeploy.doctor.finding import Finding
from rkdeploy.doctor.system import OPENCV
from rkdeploy.host.toolkit.process import ELSEWHERE_HINT, NEWEST_PYTHON

if TYPE_CHECKING:
    from rkdeploy.doctor.system import System
    from rkdeploy.doctor.trial_process import Trial

_VERSION: Final = re.compile(r"\d+(?:\.\d+)*")
Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Pin:
    """Versions of a package that rknn-toolkit2 tolerates.

    Attributes:
        package: name of the package.
        least, most: bounds, both included; an empty one is open.  `80-` means everything below 80.
        install: the tested version (constraints.txt), as pip takes it.
        why: consequence of other versions.
    """

    package: str
    least: str
    most: str
    install: str
    why: str


_TOOLKIT_PINS: Final = (
    _Pin("numpy", "", "1.26.4", "numpy==1.26.4", "the toolkit is compiled for numpy 1"),
    _Pin("onnx", "1.16.1", "1.18.0", "onnx==1.18.0", "1.19 removed onnx.mapping, which the toolkit imports"),
    _Pin("protobuf", "4.21.6", "4.25.4", "protobuf==4.25.4", "later versions reject the toolkit's descriptors"),
    _Pin("setuptools", "", "80-", "setuptools<80", "the toolkit imports pkg_resources, which later versions lack"),
)


def check_python(system: System) -> list[Finding]:
    """The interpreter's version, and whether the vendor has packages for it."""
    text = f"Python {'.'.join(map(str, system.python))} ({system.python_path})"
    if not _within(system.tested.python, ".".join(map(str, system.python))):
        fix = "board/install.sh --python python3.11" if system.is_board else "make PYTHON=python3.11 setup"
        return [Finding("Python", "problem", text, f"Python {_words(system.tested.python)}, as tested", fix)]
    if system.python[:2] <= NEWEST_PYTHON or system.is_board or system.toolkit is not None:
        return [Finding("Python", "ok", text)]
    return [
        Finding(
            "Python",
            "note",
            f"{text}; rknn-toolkit2, which rkdeploy build needs, ends with Python 3.12",
            fix=ELSEWHERE_HINT,
        )
    ]


def check_packages(system: System) -> list[Finding]:
    """The packages of every installed extra against the tested versions, and a check for a single OpenCV."""
    findings, good = [], []
    for tested in system.tested.packages:
        got, name = _installed(system, tested.package)
        if got is None and tested.extra:
            continue  # an extra that is not installed
        if got is not None and _within(tested.bounds, got):
            good.append(f"{name} {got}")
            continue
        findings.append(
            Finding(
                "packages",
                "problem" if got is None else "warning",
                f"{name} {got or 'is not installed'}",
                f"{name} {_words(tested.bounds)}, as tested",
                _pip(system, f'"{name}{tested.bounds}"'),
            )
        )
    findings += _opencv_packages(system)
    shown = ", ".join(dict.fromkeys(good))
    return [Finding("packages", "ok", shown), *findings] if shown else findings


def _installed(system: System, package: str) -> tuple[str | None, str]:
    """Version and name of a package, or of another one that provides the same modules."""
    if package not in OPENCV:
        return system.packages.get(package), package
    wanted = "opencv-python-headless" if system.is_board else package
    name = next((name for name in OPENCV if name in system.packages), wanted)
    return system.packages.get(name), name


def _opencv_packages(system: System) -> list[Finding]:
    found = [name for name in OPENCV if name in system.packages]
    if len(found) < 2:
        return []
    return [
        Finding(
            "packages",
            "warning",
            f"{' and '.join(found)} are both installed: they overwrite each other's cv2",
            "one of them",
            f"{system.python_path} -m pip uninstall -y {' '.join(found)}\n{_pip(system, found[0])}",
        )
    ]


def check_work(system: System) -> list[Finding]:
    """Results of the trial runs of the commands."""
    works = [trial.command for trial in system.work if not trial.error]
    findings = [
        Finding(
            "trial run",
            "problem",
            f"rkdeploy {trial.command}: {trial.error}",
            f"{_asked_for(system, trial.extra)}, as tested",
            _cure(system, trial),
        )
        for trial in system.work
        if trial.error
    ]
    return [Finding("trial run", "ok", ", ".join(works)), *findings] if works else findings


def _cure(system: System, trial: Trial) -> str:
    if "cannot open shared object file" in trial.error:  # a system library, which pip does not install
        return (
            f"{system.python_path} -m pip uninstall -y opencv-python\n{_pip(system, 'opencv-python-headless')}\n"
            "or, for OpenCV with windows: sudo apt-get install libgl1 libglib2.0-0 libxcb1"
        )
    return _pip(system, _asked_for(system, trial.extra, quoted=True))


def _asked_for(system: System, extra: str, *, quoted: bool = False) -> str:
    """The packages of an extra with their bounds, in words or as pip takes them."""
    asked = [one for one in system.tested.packages if one.extra == extra]
    named = [(_installed(system, one.package)[1], one.bounds) for one in asked]
    if quoted:
        return " ".join(f'"{name}{bounds}"' for name, bounds in named) or "rkdeploy"
    return ", ".join(f"{name} {_words(bounds)}" for name, bounds in named) or "the packages that rkdeploy asks for"


def _within(bounds: str, version: str) -> bool:
    """True if a version is within bounds in pip's notation; False for an invalid version."""
    try:
        return SpecifierSet(bounds).contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _words(bounds: str) -> str:
    """`<3,>=1.26` as `1.26 to below 3`."""
    parts = {part.operator: part.version for part in SpecifierSet(bounds)}
    if set(parts) == {">=", "<"}:
        return f"{parts['>=']} to below {parts['<']}"
    return bounds


def check_decode(system: System) -> list[Finding]:
    """Check whether the decode's C library is in use."""
    decode = system.decode
    if not decode.by:
        return [
            Finding("decode", "problem", decode.why, "a decoder that exists", decode.hint or f"unset {DECODE_VARIABLE}")
        ]
    if decode.by == "native" or decode.asked_for:
        return [Finding("decode", "ok" if decode.by == "native" else "note", f"{decode.by}: {decode.why}")]
    return [
        Finding(
            "decode",
            "note",
            f"numpy: {decode.why}",
            "the C library, which is several times faster",
            f"{system.python_path} -m {COMPILE_MODULE}    (needs a C compiler: apt install gcc)",
        )
    ]


def check_toolkit(system: System) -> list[Finding]:
    """rknn-toolkit2 and the versions that it tolerates.  Not needed on a board."""
    trial = system.toolkit
    here = "rknn-toolkit2" in system.packages
    if trial is None and not here:
        if system.is_board:
            return []
        return [
            Finding(
                "rknn-toolkit2",
                "note",
                "not installed: rkdeploy build and the simulator need it",
                fix=ELSEWHERE_HINT
                if system.python[:2] > NEWEST_PYTHON
                else _pip(system, '-c constraints.txt ".[host]"'),
            )
        ]
    findings: list[Finding] = []
    works = trial is None or trial.version is not None
    if trial is None:
        findings.append(
            Finding("rknn-toolkit2", "note", f"{system.packages['rknn-toolkit2']}; its import was not tried")
        )
    elif trial.version is not None:
        findings.append(
            Finding("rknn-toolkit2", "ok", f"{trial.version}, imported in its own process ({trial.python})")
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
        found = f"{pin.package} {got or 'is not installed'}{', and the toolkit works nevertheless' if works else ''}"
        findings.append(
            Finding(
                "toolkit pins", "warning" if works else "problem", found, expected, _pip(system, f'"{pin.install}"')
            )
        )
    if "torch" not in system.packages:
        findings.append(
            Finding(
                "toolkit pins",
                "warning" if works else "problem",
                "torch is not installed",
                "the CPU build of torch",
                _pip(system, "torch --index-url https://download.pytorch.org/whl/cpu"),
            )
        )
    numpy, opencv = system.packages.get("numpy"), system.packages.get("opencv-python")
    if numpy is not None and opencv is not None and numbers(opencv) >= (4, 12) and numbers(numpy) < (2,):
        findings.append(
            Finding(
                "toolkit pins",
                "warning",
                f"opencv-python {opencv} asks for numpy 2, and numpy is {numpy}",
                "opencv-python below 4.12: pip would install numpy 2 again",
                _pip(system, '"opencv-python==4.11.0.86"'),
            )
        )
    return findings or [
        Finding("toolkit pins", "ok", ", ".join(f"{p.package} {system.packages[p.package]}" for p in _TOOLKIT_PINS))
    ]


def _graph_packages(system: System) -> list[Finding]:
    if "onnxsim" in system.packages and "ml_dtypes" not in system.packages:
        return [
            Finding(
                "packages",
                "problem",
                "onnxsim is installed, ml_dtypes is not",
                "onnxsim imports it",
                _pip(system, "ml_dtypes"),
            )
        ]
    missing = [name for name in ("onnx", "onnxsim", "onnxruntime") if name not in system.packages]
    if not missing or system.is_board:
        return []
    text = f"{', '.join(missing)} not installed: rkdeploy build needs them"
    return [Finding("packages", "note", text, fix=_pip(system, '-c constraints.txt ".[graph]"'))]


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

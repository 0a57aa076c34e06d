"""Tests rkdeploy's wheel in fresh environments with the lowest and the newest versions that pyproject.toml allows.

    make test-resolutions
    .venv/bin/python -m tests.resolutions [--quick] [--python 3.13] [PART...]

PART is `base` or an extra; all are tested without one.  No toolkit is needed: its own pins are tested by `make test`.
`--quick`, which is one of the tests, takes all extras at once and a handful of tests.  Packages come as wheels only: a
bound that makes pip compile is a wrong bound.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.uv import run_uv

ROOT: Final = Path(__file__).parents[1]
NOT_THE_BOUNDS: Final = ("pytest", "hypothesis", "ziglang")  # with a C compiler; as in the tests' own environment
EVERY_PART: Final = "all"
RESOLUTIONS: Final = {"lowest": "lowest-direct", "newest": "highest"}
BASE: Final = (
    "tests/contract/test_bundle.py",
    "tests/images/test_image_file.py",
    "tests/api/test_stream.py",
    "tests/images/test_preprocess.py",
    "tests/contract/test_embedded_contract.py",
    "tests/cli/test_console.py",
    "tests/device/drawing",
    "tests/host/checkpoint/test_reader.py",
    "tests/device/postprocess/test_postprocessor.py",
    "tests/device/postprocess/test_mask_reader.py",
    "tests/device/postprocess/test_nms.py",
    "tests/device/runtime/test_backends.py",
    "tests/device/runtime/test_replay.py",
    "tests/board/test_abi.py",
    "tests/board/test_faults.py",
    "tests/board/test_librknnrt.py",
    "tests/board/test_rknnlite.py",
    "tests/device/stream/test_result_json.py",
    "tests/device/stream/test_sinks.py",
    "tests/device/stream/test_sources.py",
    "tests/doctor/test_doctor_checks.py",
    "tests/doctor/test_doctor_work.py",
    "tests/test_schema.py",
)
TESTS: Final[dict[str, tuple[str, ...]]] = {
    "base": BASE,
    "board": ("tests/board/test_librknnrt.py", "tests/board/test_rknnlite.py"),
    "web": (
        "tests/device/web/test_web_access.py",
        "tests/device/web/test_web_frame_buffer.py",
        "tests/device/web/test_web_view.py",
    ),
    "graph": (
        "tests/host/graph",
        "tests/host/export/test_rewrites.py",
        "tests/device/runtime/test_float_backends.py",
        "tests/host/building/test_agreement_meter.py",
    ),
    "eval": ("tests/accuracy/test_truth_matching.py", "tests/datasets/test_yolo_labels.py"),
    "report": ("tests/analysis/report/test_report_forms.py", "tests/analysis/page/test_texts.py"),
    "tune": (
        "tests/analysis/tune/test_search.py",
        "tests/analysis/tune/test_study.py",
        "tests/analysis/tune/test_pareto.py",
    ),
    "supervision": ("tests/api/test_styles.py",),
    "mqtt": ("tests/device/messages/test_mqtt.py",),
    "video": ("tests/device/stream/test_video_packages.py", "tests/device/stream/test_sources.py"),
    EVERY_PART: (
        "tests/device/messages/test_mqtt.py::test_addresses",
        "tests/api/test_styles.py",
        "tests/images/test_image_file.py",
        "tests/test_schema.py",
        "tests/board/test_librknnrt.py",
        "tests/host/graph/test_head.py",
        "tests/device/runtime/test_float_backends.py",
        "tests/accuracy/test_truth_matching.py",
        "tests/doctor/test_doctor_work.py::test_every_command_works_here",
        "tests/analysis/page/test_texts.py",
        "tests/analysis/tune/test_study.py::test_a_stopped_search_goes_on",
        "tests/device/web/test_web_frame_buffer.py",
        "tests/device/stream/test_video_packages.py",
    ),
}
"""Part -> the tests that its packages are enough for."""


def main(arguments: Sequence[str]) -> int:
    """Run; the exit code is 1 when anything failed."""
    options = _options(arguments)
    failed = []
    with tempfile.TemporaryDirectory(prefix="rkdeploy-resolutions-") as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        tree = copy_tests(folder / "tree")
        for part in options.parts:
            for label in RESOLUTIONS:
                environment = folder / f"{part}-{label}"
                if not test_part(environment, tree, wheel, part, label, options.python):
                    failed.append(f"{part} {label}")
                shutil.rmtree(environment, ignore_errors=True)
    print(f"failed: {', '.join(failed)}" if failed else "Every resolution passed.")
    return 1 if failed else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Test the lowest and the newest versions that pyproject.toml allows.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(TESTS)}")
    parser.add_argument("--quick", action="store_true", help="all extras at once, and a handful of tests")
    parser.add_argument("--python", default=sys.executable, help="version or interpreter of the environments")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(TESTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    options.parts = options.parts or ([EVERY_PART] if options.quick else [part for part in TESTS if part != EVERY_PART])
    return options


def build_wheel(folder: Path) -> Path:
    """The wheel of this tree."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True)
    return next(folder.glob("rkdeploy-*.whl"))


def copy_tests(tree: Path) -> Path:
    """This tree without the package, so that what is imported is what was installed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith("rkdeploy/") and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)
    return tree


def resolve(part: str, label: str, python: str) -> list[str]:
    """The packages of an extra, one per line, as pip takes them."""
    extras = [one for one in TESTS if one not in {"base", EVERY_PART}] if part == EVERY_PART else [part]
    if part == "tune":
        extras = ["tune", "graph"]  # a search builds
    asked = [word for extra in extras if extra != "base" for word in ("--extra", extra)]
    command = ["pip", "compile", "--quiet", "--no-annotate", "--no-header", "--only-binary", ":all:"]
    wanted = ["--resolution", RESOLUTIONS[label], "--python", python, *asked]
    return run_uv([*command, *wanted, "pyproject.toml"], cwd=ROOT).splitlines()


def test_part(environment: Path, tree: Path, wheel: Path, part: str, label: str, python: str) -> bool:
    """True if the tests of an extra pass in a new environment."""
    pins = resolve(part, label, python)
    print(f"\n== {part}, {label}: {' '.join(pins)}", flush=True)
    inside = str(environment / "bin" / "python")
    run_uv(["venv", "--quiet", "--python", python, environment])
    tools = [f"{name}=={version(name)}" for name in NOT_THE_BOUNDS]
    (environment / "pins.txt").write_text("\n".join(pins))
    install = ["pip", "install", "--quiet", "--only-binary", ":all:", "--python", inside]
    run_uv([*install, "--requirement", environment / "pins.txt", *tools, wheel])
    command = [inside, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *TESTS[part]]
    return subprocess.run(command, cwd=tree, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A table of how the model files of a folder build: at defaults, or with other settings, a column each.

    python -m tests.benchmarks.build_folder MODELS --calib PHOTOS [--calib-for dna1.pt=OTHER_PHOTOS]
    python -m tests.benchmarks.build_folder MODELS --calib PHOTOS --setting "FP16=--dtype fp16" --setting "mmse=..."
    python -m tests.benchmarks.build_folder MODELS --calib PHOTOS --options-for "yolox_nano.onnx=--preset yolox"

Each file is built by the command line, in a process of its own, as a user would.  A darknet cfg of the same name next
to a file is given with it.  The table is Markdown: what `rkdeploy inspect` calls the file, and for each setting what
came of the build: the standing, AP, AP50 with its interval and the number of objects, or the first line of the refusal.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SUFFIXES = (".pt", ".pth", ".onnx")
_SECONDS = 900


def rkdeploy(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, "-m", "rkdeploy", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)


def kind_of(file: Path) -> str:
    """The kind of the file by `inspect`, or its error."""
    done = rkdeploy("inspect", file, "--json", *with_cfg(file))
    if done.returncode:
        return first_line(done.stderr)
    facts: dict[str, Any] = json.loads(done.stdout)
    facts |= facts.get("model") or {}
    named = [str(facts[key]) for key in ("unsupported", "family", "generation", "task") if facts.get(key)]
    return ", ".join(dict.fromkeys(named))


def with_cfg(file: Path) -> list[str | Path]:
    """The option that names the darknet cfg next to a file, where there is one."""
    cfg = file.with_suffix(".cfg")
    return ["--cfg", cfg] if cfg.is_file() else []


def built(file: Path, calib: Path, setting: list[str], out: Path) -> str:
    """Result of a build, in one cell."""
    done = rkdeploy("build", file, "--calib", calib, "--out", out, *with_cfg(file), *setting)
    if done.returncode:
        return f"refused: {first_line(done.stderr)}"
    records = sorted(out.glob("*/build.json"))
    if not records:
        return "no bundle, and no error"
    record: dict[str, Any] = json.loads(records[0].read_text())
    return " ".join([record["proof"]["standing"], *figures(record.get("agreement") or {})])


def figures(agreement: dict[str, Any]) -> list[str]:
    """AP and AP50 of each kind of object, and what other tasks have."""
    found = [
        f"{one['kind']}: AP {one['ap']:.3f}, AP50 {one['ap50']:.3f} ({one['ap50_interval'][0]:.2f} to "
        f"{one['ap50_interval'][1]:.2f}), {one['objects']} objects;"
        for one in agreement.get("average_precisions", [])
    ]
    if agreement.get("same_first_class") is not None:
        found.append(f"same first class {agreement['same_first_class']:.1%} of {agreement['images']} images")
    return found


def first_line(text: str) -> str:
    """The error of a refused command."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "warning" not in line.lower()[:12]]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["(nothing said)"])[0][:200].replace("|", "/")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--calib", type=Path, required=True)
    parser.add_argument("--calib-for", action="append", default=[], metavar="FILE=FOLDER")
    parser.add_argument("--setting", action="append", default=[], metavar="LABEL=OPTIONS")
    parser.add_argument("--options-for", action="append", default=[], metavar="FILE=OPTIONS")
    parser.add_argument("--only", action="append", default=[], metavar="FILE")
    arguments = parser.parse_args()
    special = {name: Path(folder) for name, _, folder in (one.partition("=") for one in arguments.calib_for)}
    own = {name: shlex.split(options) for name, _, options in (one.partition("=") for one in arguments.options_for)}
    settings = {
        label: shlex.split(options)
        for label, _, options in (one.partition("=") for one in arguments.setting or ("INT8", "FP16=--dtype fp16"))
    }
    print("| file | kind |", " | ".join(settings), "|")
    print("|---|---|" + "---|" * len(settings))
    for file in sorted(arguments.models.iterdir()):
        if file.suffix.lower() not in SUFFIXES or (arguments.only and file.name not in arguments.only):
            continue
        cells = []
        for setting in settings.values():
            with tempfile.TemporaryDirectory() as out:
                options = [*own.get(file.name, ()), *setting]
                cells.append(built(file, special.get(file.name, arguments.calib), options, Path(out)))
        print(f"| {file.name} | {kind_of(file)} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()

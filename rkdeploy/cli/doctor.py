"""`rkdeploy doctor`: what on this machine stands between a bundle and its detections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rkdeploy.cli.console import err, out, plain
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.cli.typer_command import JSON, OUTPUT_FILE
from rkdeploy.contract.documents import document_text
from rkdeploy.option import Argument, Option

if TYPE_CHECKING:
    from rkdeploy.doctor.finding import Diagnosis, Finding

_ROOT = Path("/")
_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
_SHOWN = 1200  # characters of a finding


def doctor_command(
    bundle: Annotated[Path | None, Argument("BUNDLE", "A bundle: is it whole, and can it be loaded here?")] = None,
    toolkit: Annotated[
        bool,
        Option(
            "--toolkit",
            "Try to import rknn-toolkit2, in a process of its own, or do not.",
            off="--no-toolkit",
            default="--toolkit",
            often=True,
        ),
    ] = True,
    sysroot: Annotated[Path, Option("--sysroot", "Folder that stands in for /.", hidden=True)] = _ROOT,
    as_json: Annotated[bool, JSON] = False,
    output: Annotated[Path | None, OUTPUT_FILE] = None,
) -> None:
    """Check this machine, host or board: packages, NPU runtime and driver, permissions, cameras, space.

    Exit code 1 when there is a problem; warnings and notes give 0.
    """
    from rkdeploy.doctor.diagnose import diagnose

    check_target(output)
    with err.status("Looking at this machine"):
        diagnosis = diagnose(bundle, sysroot, import_toolkit=toolkit)
    text = document_text(diagnosis)
    print_result(text, lambda: _print(diagnosis), as_json=as_json, output=output)
    if diagnosis.count("problem"):
        raise typer.Exit(1)


def _print(diagnosis: Diagnosis) -> None:
    out.print(f"[bold]{plain(diagnosis.machine)}[/], rkdeploy {plain(diagnosis.rkdeploy_version)}\n")
    width = max(len(finding.check) for finding in diagnosis.findings)
    for finding in diagnosis.findings:
        _print_finding(finding, width)
    counted = [(diagnosis.count("problem"), "problem"), (diagnosis.count("warning"), "warning")]
    summary = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counted if count)
    out.print(f"\n{summary}." if summary else "\nNo problems.")


def _print_finding(finding: Finding, width: int) -> None:
    style = _STYLES[finding.status]
    out.print(f"[{style}]{finding.status:<8}[/] {plain(finding.check):<{width}}  {plain(finding.found[:_SHOWN])}")
    indent = " " * (width + 11)
    if finding.expected:
        out.print(f"{indent}expected: {plain(finding.expected[:_SHOWN])}")
    for position, line in enumerate(finding.fix[:_SHOWN].splitlines()):
        out.print(f"{indent}{'fix: ' if position == 0 else '     '}{plain(line)}")

"""`rkdeploy inspect`: what a file is, and whether it builds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rkdeploy.cli.console import facts_table, out, plain
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.cli.typer_command import JSON, OUTPUT_FILE
from rkdeploy.contract.documents import document_text
from rkdeploy.option import Argument, Option

if TYPE_CHECKING:
    from rkdeploy.analysis.inspection.inspection import Inspection


def inspect_command(
    model: Annotated[Path, Argument("FILE", "A checkpoint (.pt, .pth, .weights), an ONNX file, a .rknn, or a bundle.")],
    cfg: Annotated[
        Path | None,
        Option("--cfg", "Darknet cfg of a file of weights: a .weights, or a state dict.", metavar="FILE"),
    ] = None,
    as_json: Annotated[bool, JSON] = False,
    output: Annotated[Path | None, OUTPUT_FILE] = None,
) -> None:
    """Show what a file is: family, task, classes, head, and whether it builds. Nothing in it is executed."""
    from rkdeploy.analysis.inspection.inspect import inspect_file

    check_target(output)
    found = inspect_file(model, cfg)
    print_result(document_text(found.document), lambda: _print(found), as_json=as_json, output=output)


def _print(found: Inspection) -> None:
    table = facts_table()
    for name, value in (*found.rows, *_build_rows(found)):
        table.add_row(name, plain(value))
    out.print(table)
    for one in found.advice:  # rkdeploy build names it and leaves it to here
        out.print(f"[bold cyan]advice[/] ({plain(one.topic)}): {plain(one.text)}")


def _build_rows(found: Inspection) -> list[tuple[str, str]]:
    if found.builds is None:
        return []
    if found.refusal is None:
        return [("builds", f"yes, with {found.needed}" if found.needed else "yes")]
    rows = [("builds", f"no: {found.refusal.message}")]
    return [*rows, ("", found.refusal.hint)] if found.refusal.hint else rows

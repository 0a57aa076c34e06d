"""Forms and files of `rkdeploy report` and `rkdeploy report diff`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from rkdeploy.analysis.report.rendering import Format
from rkdeploy.cli.document import write_document
from rkdeploy.option import OUTPUT, Option

SUFFIXES: Final[Mapping[str, Format]] = {
    ".html": "html",
    ".htm": "html",
    ".md": "md",
    ".markdown": "md",
    ".json": "json",
}
FORM: Final = Option(
    "--format", "Form of the report, where the file's name does not say; without --output it is printed.", OUTPUT
)
REPORT_FILE: Final = Option(
    "--output",
    "File to write: .html, .md or .json.",
    OUTPUT,
    ("-o",),
    metavar="FILE",
    default="a summary in the terminal",
    often=True,
)


@dataclass(frozen=True, slots=True)
class Forms:
    """Forms of a report by where it goes; None where it does not go there.

    Attributes:
        file: of the file that --output names.
        stdout: of the printed text.
        shown: True if the terminal gets a summary instead.
    """

    file: Format | None
    stdout: Format | None
    shown: bool


def settled(output: Path | None, form: Format | None, *, as_json: bool) -> Forms:
    """The forms: as asked, else as the file's name says.

    Raises:
        typer.BadParameter: for a file whose name does not say, or for two forms on stdout.
    """
    if as_json and output is None and form not in (None, "json"):
        raise typer.BadParameter("it goes with --format json only.", param_hint="--json")
    if output is None:
        stdout = "json" if as_json else form
        return Forms(None, stdout, stdout is None)
    found = form or SUFFIXES.get(output.suffix.lower())
    if found is None:
        raise typer.BadParameter(
            f'"{output.name}" ends in none of .html, .md, .json; say --format.', param_hint="--output"
        )
    return Forms(found, "json" if as_json else None, shown=False)


def deliver(render: Callable[[Format], str], forms: Forms, output: Path | None) -> None:
    """Write and print a document in the forms that are wanted."""
    if output is not None and forms.file is not None:
        write_document(render(forms.file), output)
    if forms.stdout is not None:
        print(render(forms.stdout), end="")

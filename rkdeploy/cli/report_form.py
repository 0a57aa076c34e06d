"""What `rkdeploy report` and `rkdeploy report diff` have in common: forms, languages, and where a document goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from rkdeploy.cli.document import write_document
from rkdeploy.errors import RkdeployError


class Format(str, Enum):
    """Forms of a report."""

    html = "html"
    md = "md"
    json = "json"


class Language(str, Enum):
    """Languages of a report."""

    en = "en"
    zh = "zh"


SUFFIXES = {".html": Format.html, ".htm": Format.html, ".md": Format.md, ".markdown": Format.md, ".json": Format.json}
LanguageOption = Annotated[Language, typer.Option(help="Language of its texts.")]


@dataclass(frozen=True, slots=True)
class Forms:
    """Where a report goes, and in which form; None where it does not go there.

    Attributes:
        file: of the file that --output names.
        stdout: of what is printed.
        shown: whether the terminal gets a summary instead.
    """

    file: Format | None
    stdout: Format | None
    shown: bool


def settled(output: Path | None, form: Format | None, *, as_json: bool) -> Forms:
    """The forms: as asked, else as the file's name says.

    Raises:
        typer.BadParameter: for a file whose name does not say, or for two forms on stdout.
    """
    if as_json and output is None and form not in (None, Format.json):
        raise typer.BadParameter("it goes with --format json only.", param_hint="--json")
    if output is None:
        stdout = Format.json if as_json else form
        return Forms(None, stdout, stdout is None)
    found = form or SUFFIXES.get(output.suffix.lower())
    if found is None:
        raise typer.BadParameter(
            f'"{output.name}" ends in none of .html, .md, .json; say --format.', param_hint="--output"
        )
    return Forms(found, Format.json if as_json else None, shown=False)


def deliver(render: Callable[[Format], str], forms: Forms, output: Path | None) -> None:
    """Write and print a document in the forms that are wanted."""
    if output is not None and forms.file is not None:
        write_document(render(forms.file), output)
    if forms.stdout is not None:
        print(render(forms.stdout), end="")


def with_packages(render: Callable[[], str]) -> str:
    """What a renderer gives.

    Raises:
        RkdeployError: a package that it needs is not installed.
    """
    try:
        return render()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"jinja2", "markupsafe"}:
            raise
        raise RkdeployError(
            f'This form of a report needs the package "{error.name}".',
            'Install it with: pip install "rkdeploy[report]"; --format json needs nothing.',
        ) from error

"""What `rkdeploy report` and `rkdeploy report diff` have in common: forms, languages, and where a document goes."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from rkdeploy.cli.console import err, plain
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


def settled(output: Path | None, form: Format | None, *, as_json: bool) -> Format | None:
    """The form: as asked, else as the file's name says; None for the terminal."""
    if as_json:
        if form not in (None, Format.json):
            raise typer.BadParameter("it goes with --format json only.", param_hint="--json")
        return Format.json
    if form is not None or output is None:
        return form
    found = SUFFIXES.get(output.suffix.lower())
    if found is None:
        raise typer.BadParameter(
            f'"{output.name}" ends in none of .html, .md, .json; say --format.', param_hint="--output"
        )
    return found


def check_target(output: Path | None) -> None:
    """Refuse a place where nothing can be written, before the work.

    Raises:
        RkdeployError: a folder stands there, or there is no folder for it.
    """
    from rkdeploy.system.atomic_file import refuse_folder

    if output is not None:
        refuse_folder(output)
        if not output.parent.is_dir():
            raise RkdeployError(f'"{output}" cannot be written: there is no folder "{output.parent}".')


def deliver(text: str, output: Path | None) -> None:
    """Write a document, or print it."""
    from rkdeploy.system.atomic_file import write_atomically

    if output is None:
        print(text, end="")
        return
    write_atomically(output, text.encode())
    err.print(f"Report: {plain(str(output))}  ({len(text.encode()) / 1024:,.0f} KiB)")


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

"""The option --config: a file whose values are the defaults of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rkdeploy.cli.config_file import Key, given_in
from rkdeploy.cli.signature import CONFIG


def config_annotation(keys: Sequence[Key]) -> Any:
    """Annotation of the parameter, as typer reads it: it is read before all others, and gives their defaults.

    Args:
        keys: what the file may hold.
    """

    def take(context: typer.Context, value: Path | None) -> Path | None:
        if value is not None:
            context.default_map = given_in(value, keys)
        return value

    option = CONFIG.option
    about = typer.Option(
        option.flag, help=option.help, metavar=option.metavar, callback=take, is_eager=True, show_default=False
    )
    return Annotated[Path | None, about]

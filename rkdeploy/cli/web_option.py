"""`--web [HOST:PORT]`: an option whose address may be left out."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import Any

from typer.core import TyperCommand

from rkdeploy.device.web.address import DEFAULT_ADDRESS


class WebCommand(TyperCommand):
    """A command whose --web may stand without a value; an option of typer takes one or none, never both."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_address(args))


def with_address(args: list[str]) -> list[str]:
    """The arguments with the default address behind a `--web` that has none."""
    filled: list[str] = []
    for arg, following in zip_longest(args, args[1:], fillvalue="--"):
        filled.append(arg)
        if arg == "--web" and re.match(r"-\D|--|-$", following):
            filled.append(DEFAULT_ADDRESS)
    return filled

"""`--imgsz H W`: one number for a square or two for height and width, as upstream's own tools take it."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class SizeCommand(TyperCommand):
    """A command that takes one or two numbers behind --imgsz; an option alone takes a fixed number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        joined: list[str] = []
        for position, arg in enumerate(args):
            follows_size = position >= 2 and args[position - 2] in ("--imgsz", "--img") and args[position - 1].isdigit()
            if follows_size and arg.isdigit():
                joined[-1] = f"{joined[-1]}x{arg}"
            else:
                joined.append(arg)
        return super().parse_args(ctx, joined)


def parse_size(text: str) -> tuple[int, int]:
    """`640` or `384x640` to (height, width) in pixels."""
    parts = text.lower().split("x")
    if not 1 <= len(parts) <= 2 or not all(p.isascii() and p.isdigit() and 0 < int(p) <= 8192 for p in parts):
        raise typer.BadParameter(f'"{text}" is no size; give one number, or height and width.')
    return (int(parts[0]), int(parts[-1]))

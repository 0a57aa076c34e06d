"""Sizes on the command line: WIDTHxHEIGHT, in pixels."""

from __future__ import annotations

import re

import typer

_SIZE = re.compile(r"([1-9][0-9]{0,4})(?:[xX]([1-9][0-9]{0,4}))?")
_MAX_SIDE = 8192


def parse_size(text: str) -> tuple[int, int]:
    """`640` or `640x384` (width x height) to (height, width) in pixels."""
    width, height = parse_wh(text if "x" in text.lower() else f"{text}x{text}", typed=text)
    return height, width


def parse_wh(text: str, *, typed: str = "") -> tuple[int, int]:
    """`1280x720` to (width, height) in pixels."""
    found = _SIZE.fullmatch(text)
    if found is None or found[2] is None or max(int(found[1]), int(found[2])) > _MAX_SIDE:
        single = "one number, or " if typed else ""
        raise typer.BadParameter(f'"{typed or text}" is not a size; expected {single}WIDTHxHEIGHT, such as 640x384.')
    return int(found[1]), int(found[2])

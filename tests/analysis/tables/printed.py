"""Blocks as a terminal shows them."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console

from rkdeploy.analysis.page.content import Block
from rkdeploy.analysis.page.terminal import print_blocks
from rkdeploy.analysis.page.texts import Lang, Words


def printed(blocks: Iterable[Block], lang: Lang = "en") -> str:
    """The text on 80 columns, as in a pipe."""
    file = io.StringIO()
    print_blocks(blocks, Words(lang), Console(file=file, width=80, highlight=False, soft_wrap=True, emoji=False))
    return file.getvalue()

"""The pages of the documentation: their blocks, the commands in them, and the code spans in their text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        ROOT / "board" / "README.md",
        ROOT / "calib_data" / "README.md",
    ]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)
_PROMPT = re.compile(r"^\s*(?:board|pc)?\$ +")
_SHELL_LANGUAGES = {"", "sh"}


@dataclass(frozen=True)
class Shown:
    """A shell line of a page.

    Attributes:
        page: the page's path, relative to the repository.
        line: the line without its prompt, continued lines joined.
        output: the lines below it up to the next prompt; empty where the block has no prompt.
    """

    page: str
    line: str
    output: tuple[str, ...] = ()

    def calls(self, program: str) -> Iterator[list[str]]:
        """The arguments of each call of a program in this line, without redirections."""
        for words in _simple_commands(self.line):
            command = list(dropwhile(lambda word: "=" in word or word == "sudo", words))
            if command[:1] == [program]:
                yield command[1:]


def read(name: str) -> str:
    """The text of a page."""
    return (ROOT / name).read_text(encoding="utf-8")


def shown_lines(name: str) -> list[Shown]:
    """All shell lines of a page's blocks, fenced or indented."""
    text = read(name)
    blocks = [body for language, body in fenced(name) if language in _SHELL_LANGUAGES]
    blocks += [match[0] for match in _INDENTED.finditer(_FENCE.sub("", text))]
    return [shown for block in blocks for shown in _lines_of_block(name, block)]


def fenced(name: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page in their order: (language, text); the language is empty where none is named."""
    return _FENCE.findall(read(name))


def code_spans(name: str) -> list[str]:
    """Texts between single backticks, outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", read(name)))


def _lines_of_block(name: str, block: str) -> Iterator[Shown]:
    lines = block.replace("\\\n", " ").splitlines()
    prompts = [number for number, line in enumerate(lines) if _PROMPT.match(line)]
    if not prompts:
        yield from (Shown(name, line.strip()) for line in lines if line.strip())
        return
    for start, end in zip(prompts, [*prompts[1:], len(lines)], strict=True):
        yield Shown(name, _PROMPT.sub("", lines[start]), tuple(lines[start + 1 : end]))


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        tokens = list(lexer)
    except ValueError:  # an apostrophe in a program's output
        return
    redirected = False
    for token in tokens:
        if redirected:
            redirected = False
        elif set(token) <= set("<>&") and token != "&&":
            redirected = True
            words = words[:-1] if words and words[-1] in {"1", "2"} else words
        elif set(token) <= set("();|&"):
            yield words
            words = []
        else:
            words.append(token)
    yield words

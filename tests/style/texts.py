"""Texts that people read: docstrings, comments and messages of the code, paragraphs of the pages."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["docstring", "comment", "message", "page"]

_CODE = ("rkdeploy", "tests", "board", "docs/examples")
_PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "board/README.md",
    "docs/*.md",
    "docs/howto/*.md",
)
_SCRIPTS = ("board/*.sh", "board/install/*.sh", "board/install/*.py")
_HASH_COMMENTS = ("Makefile", "pyproject.toml", "board/*.service", "board/*.conf", "board/*.rules", *_SCRIPTS)
_NOT_OURS = ("tests/data/", "tests/style/")
"""Left out: generators that follow upstream's code, and this folder, which spells the words that it looks for."""


@dataclass(frozen=True)
class Text:
    """One docstring, comment line, string or page line.

    Attributes:
        path: relative to the root of the project, with forward slashes.
        line: number of its first line, from 1.
    """

    path: str
    line: int
    kind: Kind
    text: str


def texts(root: Path) -> Iterator[Text]:
    """Every text of the project in `root`, file by file."""
    for folder in _CODE:
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith(_NOT_OURS):
                yield from python_texts(name, path.read_text(encoding="utf-8"))
    for pattern in _PAGES:
        for path in sorted(root.glob(pattern)):
            yield from page_texts(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
    for pattern in _HASH_COMMENTS:
        for path in sorted(root.glob(pattern)):
            yield from hash_comments(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
    for pattern in _SCRIPTS:
        for path in sorted(root.glob(pattern)):
            yield from script_messages(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))


def python_texts(path: str, source: str) -> Iterator[Text]:
    """Docstrings, comments and, inside the package, strings of more than one word."""
    tree = ast.parse(source)
    documented = {id(node): node for node in _docstrings(tree)}
    for node in documented.values():
        yield Text(path, node.lineno, "docstring", str(node.value))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(path, token.start[0], "comment", token.string.lstrip("#! "))
    if path.startswith("rkdeploy/"):
        for line, text in _strings(tree, set(documented)):
            if " " in text.strip():
                yield Text(path, line, "message", text)


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """String constants that stand alone: docstrings, and the ones below constants and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def _strings(node: ast.AST, without: set[int]) -> Iterator[tuple[int, str]]:
    """(line, text) of the strings below a node; the fields of an f-string become `{}`."""
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield node.lineno, "".join(parts)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in without:
        yield node.lineno, node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _strings(child, without)


def page_texts(path: str, source: str) -> Iterator[Text]:
    """Lines of a Markdown page, without fenced blocks and `code`."""
    fenced = False
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and line.strip():
            yield Text(path, number, "page", re.sub(r"`[^`]*`", "`code`", line))


def script_messages(path: str, source: str) -> Iterator[Text]:
    """Strings of more than one word in a shell script's lines; `$NAME` and `${NAME}` become `{}`."""
    for number, line in enumerate(source.splitlines(), 1):
        if not line.lstrip().startswith("#"):
            for quoted in re.findall(r'"((?:[^"\\]|\\.)*)"', line):
                if " " in quoted.strip():
                    yield Text(path, number, "message", re.sub(r"\$\{[^}]*\}|\$\([^)]*\)|\$\w+", "{}", quoted))


def hash_comments(path: str, source: str) -> Iterator[Text]:
    """Comments of a file whose comments begin with #."""
    for number, line in enumerate(source.splitlines(), 1):
        comment = re.search(r"(?:^|\s)#\s+(.*)", line)
        if comment:
            yield Text(path, number, "comment", comment[1])

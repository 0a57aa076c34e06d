"""Spellings of development versions, and of upstream's tools, answered with the command as it is now."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]*):\d{1,5}")


def written_now(command: str, args: Sequence[str]) -> list[str]:
    """The arguments of a command as they are written now; equal to `args` where nothing is old."""
    return _sizes(_NOW.get(command, _same)(list(args)))


def _same(args: list[str]) -> list[str]:
    return args


def _taken(args: Sequence[str], *names: str) -> tuple[list[str], list[str]]:
    """The values of an option, and the other arguments."""
    values: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in names:
            rest.append(word)
        else:
            values.append(value if equals else next(words, ""))
    return values, rest


def _bundle_and_sources(args: list[str]) -> list[str]:
    """`--model BUNDLE` and `--source SOURCE`."""
    bundles, rest = _taken(args, "--model")
    sources, rest = _taken(rest, "--source")
    if not sources:
        return [*bundles, *rest]
    before = rest[:1] if rest and _names_bundle(rest[0]) else []
    return [*bundles, *before, *sources, *rest[len(before) :]]


def _run(args: list[str]) -> list[str]:
    files, rest = _taken(_bundle_and_sources(args), "--jsonl")
    rest += [word for file in files for word in (["--json"] if file == "-" else ["-o", file])]
    now: list[str] = []
    for position, word in enumerate(rest):
        name, equals, value = word.partition("=")
        after_web = position > 0 and rest[position - 1] == "--web"
        if name == "--web" and equals:
            now += ["--web-address", value]
        elif after_web and _ADDRESS.fullmatch(word) and not Path(word).exists():
            now[-1:] = ["--web-address", word]
        else:
            now.append(word)
    return now


def _json_file(args: list[str]) -> list[str]:
    """`--json FILE`, where --json prints and -o writes now."""
    now: list[str] = []
    for word in args:
        name, equals, value = word.partition("=")
        if name == "--json" and equals:
            now += ["--json"] if value == "-" else ["-o", value]
        elif now[-1:] == ["--json"] and word == "-":
            pass
        elif now[-1:] == ["--json"] and word.endswith(".json"):
            now[-1:] = ["-o", word]
        else:
            now.append(word)
    return now


def _profile(args: list[str]) -> list[str]:
    return _json_file(_bundle_and_sources(args))


def _explain(args: list[str]) -> list[str]:
    counts, rest = _taken(args, "--images")
    return [*rest, *(word for count in counts for word in ("--count", count))]


def _push(args: list[str]) -> list[str]:
    """`push user@board BUNDLE`: the bundle comes first."""
    words = [position for position, word in enumerate(args) if not word.startswith("-")][:2]
    if len(words) == 2 and "@" in args[words[0]] and _names_bundle(args[words[1]]):
        now = list(args)
        now[words[0]], now[words[1]] = args[words[1]], args[words[0]]
        return now
    return args


def _names_bundle(word: str) -> bool:
    from rkdeploy.contract.bundle import names_bundle  # late: every command imports this file

    return names_bundle(Path(word))


def _sizes(args: list[str]) -> list[str]:
    """`--imgsz HEIGHT WIDTH`, as upstream's tools take it."""
    now: list[str] = []
    for word in args:
        if len(now) >= 2 and now[-2] in {"--imgsz", "--img"} and now[-1].isdigit() and word.isdigit():
            now[-1] = f"{word}x{now[-1]}"
        else:
            now.append(word)
    return now


_NOW: Final[Mapping[str, Callable[[list[str]], list[str]]]] = {
    "run": _run,
    "profile": _profile,
    "eval": _bundle_and_sources,
    "explain": _explain,
    "estimate": _json_file,
    "compare": _json_file,
    "push": _push,
}
"""Current form of each command's old arguments."""

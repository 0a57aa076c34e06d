"""The package page's text: README.md with links that also work outside of a clone.

In the repository README.md has relative links, which work in clones, forks and branches.  A package page has no files
beside it, so each of these links is made absolute and points at the tag of the version that is packaged.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_CODE = r"(```.*?```|`[^`\n]*`)"
_ELSEWHERE = r"(?!https?:|mailto:|#)"
_IMAGE = re.compile(rf"{_CODE}|(!\[[^\]]*\]\(){_ELSEWHERE}([^)\s]+)", re.DOTALL)
_LINK = re.compile(rf"{_CODE}|((?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\(){_ELSEWHERE}([^)\s]+)", re.DOTALL)


class ReadmeHook(MetadataHookInterface):
    """Hatchling's entry, named in pyproject.toml."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field `readme`.

        Args:
            metadata: the table `project` of pyproject.toml, with the version filled in; changed in place.
        """
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        home, tag = metadata["urls"]["Source"], f"v{metadata['version']}"
        metadata["readme"] = {"content-type": "text/markdown", "text": with_absolute_links(text, home, tag)}


def with_absolute_links(text: str, home: str, tag: str) -> str:
    """Markdown whose relative links and pictures point into a repository on GitHub.

    Args:
        text: Markdown with inline links, relative to the root of the repository.
        home: the repository's address, such as https://github.com/owner/name.
        tag: the tag, branch or commit that the links point at.

    Returns:
        The text; links with a scheme, links within the page, and code stay as they are.
    """
    raw = home.replace("https://github.com/", "https://raw.githubusercontent.com/", 1)
    return _with_base(_LINK, f"{home}/blob/{tag}/", _with_base(_IMAGE, f"{raw}/{tag}/", text))


def _with_base(pattern: re.Pattern[str], base: str, text: str) -> str:
    return pattern.sub(lambda match: match[0] if match[1] else f"{match[2]}{base}{match[3]}", text)

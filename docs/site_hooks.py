"""Hooks of the documentation site: links that lead out of docs/ point into the repository."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(\]\()((?:\.\./)+[^)\s]+)(\))")
_PROGRAM = re.compile(r"(\]\()([\w./-]*examples/[\w./-]+)(\))")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: object) -> str:
    """Make links to files that are not pages absolute.

    Args:
        markdown: the page's text.
        page: of mkdocs; its file's path is below docs/.
        config: of mkdocs, with `repo_url`.
    """
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def absolute(match: re.Match[str]) -> str:
        path, _, anchor = match[2].partition("#")
        target = posixpath.normpath(posixpath.join(folder, path))
        if target.startswith("docs/") and "/examples/" not in target:
            return match[0]
        if target == "README.md":
            return f"{match[1]}{posixpath.relpath('docs/index.md', folder)}{match[3]}"
        return f"{match[1]}{config['repo_url']}/blob/main/{target}{'#' + anchor if anchor else ''}{match[3]}"

    return _PROGRAM.sub(absolute, _LINK.sub(absolute, markdown))

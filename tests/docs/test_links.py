"""Links and pictures of the pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import NAMES, ROOT, read

_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_page(name: str) -> None:
    """Every relative link or picture exists, and the heading behind `#` too."""
    for target in _LINK.findall(_without_code(read(name))):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


def test_every_page_is_linked_from_the_readme() -> None:
    """README.md and its Chinese form link every page of docs/."""
    for name in ("README.md", "docs/zh/README.md"):
        linked = {((ROOT / name).parent / target).resolve() for target in _LINK.findall(read(name))}
        assert {page.name for page in (ROOT / "docs").glob("*.md") if page.resolve() not in linked} == set()


def test_a_heading_becomes_an_anchor(tmp_path: Path) -> None:
    """As GitHub makes them: lower case, no punctuation, hyphens for spaces."""
    page = tmp_path / "page.md"
    page.write_text("# `rkdeploy run`\n## JSON lines (`--json`, `-o FILE`)\n## A lone `.rknn`\n```\n# no\n```\n")
    assert _anchors(page) == {"rkdeploy-run", "json-lines---json--o-file", "a-lone-rknn"}


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

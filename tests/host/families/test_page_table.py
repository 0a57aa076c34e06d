"""A table's place on a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.families.page_table import PageTable


def test_only_the_table_changes(tmp_path: Path) -> None:
    """Also where there was none; written twice it is the same."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- b -->\n<!-- e -->\nbehind\n")
    table = PageTable(page, "<!-- b -->", "<!-- e -->", "| a |\n|---|")
    for _ in range(2):
        table.write(["| 1 |", "| 2 |"])
        assert page.read_text() == "before\n<!-- b -->\n\n| a |\n|---|\n| 1 |\n| 2 |\n\n<!-- e -->\nbehind\n"


@pytest.mark.parametrize("text", ["no place", "<!-- b --><!-- e --><!-- b -->"])
def test_a_page_without_the_place_is_left(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="once each"):
        PageTable(page, "<!-- b -->", "<!-- e -->", "").write([])
    assert page.read_text() == text

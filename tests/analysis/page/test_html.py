"""The HTML page: text from files cannot act."""

from __future__ import annotations

from markupsafe import Markup

from rkdeploy.analysis.page.html import _harmless


def test_control_characters_are_escaped() -> None:
    """Escape codes, NUL and marks that turn the direction of text become visible; line feeds and tabs stay."""
    assert _harmless("\x1b[31mred\x00\u202e") == "\\x1b[31mred\\x00\\u202e"
    assert _harmless("a\tb\nc") == "a\tb\nc"
    assert _harmless("\u87ba\u6813, 12\xa0ms") == "\u87ba\u6813, 12\xa0ms"
    assert _harmless(7) == 7


def test_markup_stays_markup() -> None:
    """Plots, which are markup already, are not escaped twice."""
    kept = _harmless(Markup("<svg>\x07</svg>"))
    assert isinstance(kept, Markup)
    assert kept == "<svg>\\x07</svg>"

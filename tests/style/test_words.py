"""No docstring, comment, message or page uses a form of `forms.py`, unless `allowed.py` gives the reason."""

from __future__ import annotations

import pytest

from tests.style.allowed import ALLOWED
from tests.style.forms import FORMS
from tests.style.texts import python_texts
from tests.style.words import uses


def test_no_use_without_a_reason() -> None:
    """Every use of a counted form is on the allow-list, and every entry of the list is needed."""
    found = list(uses())
    assert not [str(use) for use in found if use.allowed is None]
    assert {entry for entry in ALLOWED if not any(use.allowed is entry for use in found)} == set()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('"""What a build leaves."""', ["begins with What, How, Whether"]),
        ('"""Two names a class."""', ["a, where per is meant"]),
        ("x = 1  # released afterwards", ["British spelling"]),
        ("raise ValueError(f\"'{name}' is no file\")", ["is no, are no", "'x' in a message"]),
        ('"""Bytes per second of the float model."""', []),
    ],
)
def test_counted_forms(source: str, names: list[str]) -> None:
    """Forms are found in docstrings, comments and messages."""
    found = [form.name for text in python_texts("rkdeploy/x.py", source) for form in FORMS for _ in form.uses(text)]
    assert sorted(found) == sorted(names)

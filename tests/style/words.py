"""Counts of odd words and forms in the texts of a project: `python -m tests.style.words [FOLDER] [--list FORM]`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.style.allowed import ALLOWED, Allowed
from tests.style.forms import FORMS, Form
from tests.style.texts import Text, texts

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Use:
    """A form found in a text, and the entry that allows it, if there is one."""

    form: Form
    text: Text
    words: str
    allowed: Allowed | None

    def __str__(self) -> str:
        reason = f" (allowed: {self.allowed.reason})" if self.allowed else f" (write: {self.form.instead})"
        return f'{self.text.path}:{self.text.line}: {self.text.kind}: "{self.words}"{reason}'


def uses(root: Path = ROOT) -> Iterator[Use]:
    """Every use of every form in the project in `root`."""
    for text in texts(root):
        for form in FORMS:
            for words in form.uses(text):
                allowed = next((entry for entry in ALLOWED if entry.covers(form.name, text, words)), None)
                yield Use(form, text, words, allowed)


def main() -> None:
    """Print the counts as a table, or the uses of one form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT, help="a checkout of the project")
    parser.add_argument(
        "--list", metavar="FORM", help='print the uses of the forms with this in their name; "" for all'
    )
    options = parser.parse_args()
    found = list(uses(options.folder))
    if options.list is not None:
        print("\n".join(str(use) for use in found if options.list in use.form.name))
        return
    all_uses, allowed = Counter(use.form.name for use in found), Counter(use.form.name for use in found if use.allowed)
    for form in FORMS:
        print(f"{form.name:45} {all_uses[form.name]:5d}   allowed {allowed[form.name]:4d}")
    print(f"{'total':45} {all_uses.total():5d}   allowed {allowed.total():4d}")


if __name__ == "__main__":
    main()

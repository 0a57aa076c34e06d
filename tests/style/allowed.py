"""Uses of the counted forms that stay, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

from tests.style.texts import Text


@dataclass(frozen=True)
class Allowed:
    """Uses that stay.

    Attributes:
        form: name of the form.
        reason: why it is right there.
        path: glob of the files.
        within: a piece of the text around the use; empty for any.
        words: the use itself, lower case; empty for any.
    """

    form: str
    reason: str
    path: str = "*"
    within: str = ""
    words: str = ""

    def covers(self, form: str, text: Text, words: str) -> bool:
        """True for a use that this entry allows."""
        return (
            form == self.form
            and fnmatch(text.path, self.path)
            and self.within in text.text
            and self.words in {"", words.lower()}
        )


ALLOWED: tuple[Allowed, ...] = ()

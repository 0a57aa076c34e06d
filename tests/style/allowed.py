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


_QUOTES = "'x' in a message"
_PER = "a, where per is meant"

ALLOWED: tuple[Allowed, ...] = (
    Allowed(_QUOTES, "a Content-Security-Policy quotes so", "rkdeploy/*", within="default-src"),
    Allowed(_QUOTES, "Python's own message for a missing attribute", "rkdeploy/__init__.py", words="'rkdeploy'"),
    Allowed(_QUOTES, "a type written as a string", "rkdeploy/api/host.py", within="Literal["),
    Allowed(_QUOTES, "Python code inside a script", "board/install/python.sh", within="find_spec"),
    Allowed(_QUOTES, "SQL", "rkdeploy/analysis/tune/study.py", words="'table'"),
    Allowed(_QUOTES, "the message of Python that is looked for", "rkdeploy/host/toolkit/process.py", within="onnx"),
    Allowed(_QUOTES, "Python code inside a quoted message", "rkdeploy/images/array.py", words="'rgb'"),
    Allowed(_PER, "the end of a version, then a noun", "rkdeploy/device/runtime/versions.py", words="0 refuse a file"),
)

"""The texts of a report in each language, by key; one file a language, the same keys in all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rkdeploy.analysis.origin import Origin
from rkdeploy.analysis.page.texts.en import TEXTS as EN
from rkdeploy.analysis.page.texts.zh import TEXTS as ZH

Lang = Literal["en", "zh"]
CATALOGUES: dict[Lang, dict[str, str]] = {"en": EN, "zh": ZH}
HTML_LANG: dict[Lang, str] = {"en": "en", "zh": "zh-CN"}


@dataclass(frozen=True, slots=True)
class Words:
    """One language's texts: `words("size.weights")`, with what goes into the braces as keywords."""

    lang: Lang

    def __call__(self, key: str, /, **values: object) -> str:
        """The text of a key.

        Raises:
            KeyError: there is none, or it wants a value that is not given: our mistake.
        """
        return CATALOGUES[self.lang][key].format(**values)

    def has(self, key: str) -> bool:
        """True if there is a text for the key."""
        return key in CATALOGUES[self.lang]

    def kind(self, kind: str) -> str:
        """A kind of object (`boxes`, `rotated boxes`, ...) in words; any other name as it is."""
        key = f"accuracy.kind.{kind.replace(' ', '_')}"
        return self(key) if self.has(key) else kind

    def origin(self, origin: Origin) -> str:
        """A mark in words: `measured on Radxa ROCK 5B, librknnrt 2.3.2`."""
        return self(f"origin.{origin.kind}", by=origin.by)

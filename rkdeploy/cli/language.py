"""Language of tables and reports: an option, else the environment's."""

from __future__ import annotations

import os
from typing import Final

from rkdeploy.analysis.page.texts import Lang
from rkdeploy.option import OUTPUT, Option

LANGUAGE: Final = Option("--lang", "Language of tables.", OUTPUT, default="as LANG says")


def chosen_language(option: Lang | None) -> Lang:
    """The language of the option, else of LC_ALL, LC_MESSAGES or LANG; English where they name another."""
    if option is not None:
        return option
    said = next(filter(None, (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return "zh" if said.lower().startswith("zh") else "en"

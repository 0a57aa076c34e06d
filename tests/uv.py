"""uv with the package index that pip is configured with; it knows neither pip's files nor its variables.

.venv/bin/python tests/uv.py pip install ...
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

NAMES: Final = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
"""Options of pip -> uv's environment variables; several values are separated by spaces in both."""
_LINE: Final = re.compile(r"(?P<section>[\w:]+)\.(?P<option>[\w-]+)=(?P<value>'.*'|\".*\")")


def run_uv(arguments: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Run uv and return its standard output.

    Args:
        arguments: without the program's name.
        cwd: the working directory; default the present one.

    Raises:
        CalledProcessError: when it fails; its message is on standard error.
    """
    program = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        [program, *arguments], cwd=cwd, env=uv_environment(), check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def uv_environment() -> dict[str, str]:
    """The environment with pip's settings as uv takes them; uv's own variables win."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {**variables(listed), **os.environ}


def variables(listed: str) -> Mapping[str, str]:
    """Variables for uv from the output of `pip config list`, in which a later section has precedence."""
    found: dict[str, str] = {}
    sections = {"global": 0, "download": 1, "install": 1, ":env:": 2}
    lines = [match for match in map(_LINE.fullmatch, listed.splitlines()) if match and match["section"] in sections]
    for line in sorted(lines, key=lambda match: sections[match["section"]]):
        if line["option"] in NAMES:
            values = str(ast.literal_eval(line["value"])).split()
            found[NAMES[line["option"]]] = " ".join(value for value in values if _is_there(value))
    if found.get("UV_INDEX"):
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip: the best version of all indexes
    return {name: value for name, value in found.items() if value}


def _is_there(value: str) -> bool:
    """False for a folder that does not exist, which pip ignores and uv refuses."""
    parts = urlsplit(value)
    return parts.scheme != "file" or Path(parts.path).exists()


if __name__ == "__main__":
    try:
        print(run_uv(sys.argv[1:]), end="")
    except subprocess.CalledProcessError as failure:
        sys.exit(failure.returncode)

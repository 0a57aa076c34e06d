"""The text of the package page, and the same version of the project everywhere."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rkdeploy import __version__

ROOT = Path(__file__).parents[2]
HOME = "https://github.com/owner/name"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """hatch_readme.py, whose base class is hatchling's, which is only there while a wheel is built."""
    interface = ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = object  # type: ignore[attr-defined]  # a stand-in for hatchling's class
    for name in ("hatchling", "hatchling.metadata", "hatchling.metadata.plugin"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("hatch_readme", ROOT / "hatch_readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("[a](docs/a.md)", f"[a]({HOME}/blob/v1.2/docs/a.md)"),
        ("[a](docs/a.md#part)", f"[a]({HOME}/blob/v1.2/docs/a.md#part)"),
        ("![p](docs/p.png)", "![p](https://raw.githubusercontent.com/owner/name/v1.2/docs/p.png)"),
        ("[![p](p.png)](LICENSE)",
         f"[![p](https://raw.githubusercontent.com/owner/name/v1.2/p.png)]({HOME}/blob/v1.2/LICENSE)"),
        ("[x](https://x.org) [y](#y) [z](mailto:z@x.org)", "[x](https://x.org) [y](#y) [z](mailto:z@x.org)"),
        ("`a[0](b)` | [c](d) |", f"`a[0](b)` | [c]({HOME}/blob/v1.2/d) |"),
    ],
)  # fmt: skip
def test_links_become_absolute(hook: ModuleType, markdown: str, expected: str) -> None:
    """Relative links lead to the tag's files, pictures to their bytes; others stay, and so does code."""
    assert hook.with_absolute_links(markdown, HOME, "v1.2") == expected


def test_the_readme_has_no_relative_link_left(hook: ModuleType) -> None:
    """Links and pictures on the package page resolve from there."""
    hooked = hook.ReadmeHook()
    hooked.root = str(ROOT)
    metadata = {"urls": {"Source": HOME}, "version": "9.9"}
    hooked.update(metadata)
    text = metadata["readme"]["text"]  # type: ignore[index]  # the hook puts a table there
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 20
    assert [target for target in targets if not target.startswith("https://")] == []
    assert f"{HOME}/blob/v9.9/docs/build.md" in targets


def test_the_changelog_has_this_version() -> None:
    """A release's notes are the section of its version; it has a date and a link."""
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE)
    assert f"\n[{__version__}]: https://" in text

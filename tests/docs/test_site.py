"""The documentation site builds without a warning, and its links lead somewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import ROOT

REPOSITORY = "https://github.com/rkdeploy/rkdeploy/blob/main/"


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [value for key in ("href", "src") if (value := found.get(key))]
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a warning fails."""
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    return folder


def test_every_link_leads_somewhere(site: Path) -> None:
    """Pages, anchors and files of the site are there; links into the repository name files that are there."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 30
    broken = [f"{path.relative_to(site)}: {link}" for path, page in pages.items() for link in page.links
              if not leads_somewhere(path, link, pages)]  # fmt: skip
    assert not broken
    print(f"{len(pages)} pages, {sum(len(page.links) for page in pages.values())} links")


def leads_somewhere(path: Path, link: str, pages: dict[Path, Page]) -> bool:
    """True for a link whose target exists; other hosts are not asked."""
    if link.startswith(REPOSITORY):
        return (ROOT / unquote(urlsplit(link).path.removeprefix(urlsplit(REPOSITORY).path))).exists()
    parts = urlsplit(link)
    if parts.scheme or link.startswith("//"):
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return False
    return not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].anchors


def test_nothing_is_asked_of_other_hosts(site: Path) -> None:
    """Fonts and scripts come with the site."""
    for path in site.rglob("*.html"):
        for line in path.read_text(encoding="utf-8").split("<"):
            if line.startswith(("script ", 'link rel="stylesheet"', "img ")):
                assert "//" not in line.partition(">")[0].replace("https://github.com", ""), (
                    f"{path.name}: {line[:120]}"
                )


def test_the_reference_has_every_public_name(site: Path) -> None:
    """Each name of `rkdeploy.__all__` that a program calls or gets has its entry."""
    import rkdeploy

    page = Page((site / "api" / "index.html").read_text(encoding="utf-8"))
    wanted = {f"{rkdeploy._HOMES[name]}.{name}" for name in set(rkdeploy.__all__) - {"__version__"}}
    assert wanted <= page.anchors, wanted - page.anchors

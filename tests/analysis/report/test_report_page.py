"""The report in a real browser: wide, phone, dark, print; no request, no complaint, sortable, readable, navigable."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rkdeploy.analysis.page.html import html_text
from rkdeploy.analysis.report.compose import compose
from rkdeploy.analysis.report.diff.changes import compare
from rkdeploy.analysis.report.diff.compose_diff import compose_diff
from rkdeploy.analysis.report.document_models import model_sha256_of
from rkdeploy.analysis.report.gather import gather
from rkdeploy.device.profiling.profile_document import Missing, ProfileAdvice
from tests.analysis.report.report_samples import agreement, attempts, make_bundle, profile, record, write
from tests.device.web.browser import CHROMIUM, LOW_CONTRAST, Page, open_browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: bash tests/needs.sh"),
]
CHARTS = """
[...document.querySelectorAll(".plot svg[role=img]")].filter(svg => svg.checkVisibility()).map(svg => {
  const card = svg.closest(".part").getBoundingClientRect(), own = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
  const texts = [...svg.querySelectorAll("text")].map(text => [text.getBBox(), text.textContent]);
  const out = texts.filter(([box]) => box.x < -1 || box.x + box.width > view.width + 1 || box.y + box.height > view.height + 2);
  return {
    title: svg.querySelector("title").textContent, inside: own.left >= card.left && own.right <= card.right,
    scrolls: svg.parentElement.scrollWidth > svg.parentElement.clientWidth, out: out.map(([, text]) => text),
    letters: texts.length ? Math.min(...texts.map(([box]) => box.height)) * own.width / view.width : 99,
  };
})
"""  # noqa: E501  (a script of the page's)
ROWS = "[...document.querySelectorAll('table.sortable')].find(t => t.querySelector('caption').innerText.includes('{}'))"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with every section, in both languages, one of a bundle alone, and a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    bundle = make_bundle(folder / "best-rk3588-int8", built=record(agreement=agreement(94), attempts=attempts()))
    run = profile(
        sha256=model_sha256_of(bundle), advice=(ProfileAdvice("x", "warning", "Clocks fall.", "a command"),),
        missing=(Missing("load", "not root"),),
    )  # fmt: skip
    stand_in = replace(run, on_npu=False)
    whole = gather([bundle.folder, write(folder / "p.json", run), write(folder / "q.json", stand_in)])
    alone = gather([make_bundle(folder / "best-rk3588-fp16", "fp16").folder])
    files = {
        "report": html_text(compose(whole, "en"), "en"),
        "zh": html_text(compose(whole, "zh"), "zh"),
        "alone": html_text(compose(alone, "en"), "en"),
        "diff": html_text(compose_diff(compare(whole.models[0], alone.models[0]), "en"), "en"),
    }
    for name, text in files.items():
        (folder / f"{name}.html").write_text(text)
    return {name: folder / f"{name}.html" for name in files}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


@pytest.fixture
def page(browser: Page) -> Page:
    """An empty page of the one browser."""
    browser.renew()
    return browser


def show(page: Page, file: Path, width: int = 1280, height: int = 900, **kind: bool) -> None:
    page.set_size(width, height, **kind)
    page.call("Page.navigate", url=file.as_uri())
    until = time.monotonic() + 30
    while page.evaluate("document.readyState") != "complete" or page.evaluate("location.protocol") != "file:":
        assert time.monotonic() < until
    assert page.evaluate("document.querySelectorAll('h1').length") == 1


def shot(page: Page, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("RKDEPLOY_TEST_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(folder / f"report-{name}.png", whole=True)


def problems(page: Page) -> list[str]:
    """Errors of the browser, and every request except for the file itself and its content."""
    told = [str(params) for method, params in page.events if method in ("Runtime.exceptionThrown", "Log.entryAdded")]
    told += [str(params) for method, params in page.events if method == "Runtime.consoleAPICalled"]
    urls = [params["request"]["url"] for method, params in page.events if method == "Network.requestWillBeSent"]
    return told + [url for url in urls if not url.startswith(("file:", "data:", "about:"))]


@pytest.mark.parametrize("name", ["report", "zh", "alone", "diff"])
@pytest.mark.parametrize(
    ("form", "width", "kind"),
    [("wide", 1280, {}), ("dark", 1280, {"dark": True}), ("phone", 390, {"phone": True}),
     ("phone-dark", 360, {"phone": True, "dark": True})],
)  # fmt: skip
def test_looks(
    pages: dict[str, Path], page: Page, tmp_path: Path, name: str, form: str, width: int, kind: dict[str, bool]
) -> None:
    """Nothing sticks out, charts fit their cards, all text has the contrast of WCAG AA, no request, no complaint."""
    show(page, pages[name], width, **kind)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    charts = page.evaluate(CHARTS)
    assert [one for one in charts if not one["inside"] or one["scrolls"] or one["out"] or one["letters"] < 11] == []
    assert len(charts) == {"report": 14, "zh": 14, "alone": 6, "diff": 0}[name]
    contrast = page.evaluate(LOW_CONTRAST)
    assert contrast["low"] == []
    assert contrast["checked"] > 60
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(16, 20, 25)") == kind.get("dark", False)
    shot(page, f"{name}-{form}", tmp_path)
    assert problems(page) == []
    assert pages[name].stat().st_size < 2_000_000


def test_print(pages: dict[str, Path], page: Page, tmp_path: Path) -> None:
    """On paper it is light whatever the screen is, whole tables show, contents and scroll bars are gone."""
    show(page, pages["report"], 1280, dark=True)
    page.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    tall = "[...document.querySelectorAll('.scroll')].every(s => s.scrollHeight <= s.clientHeight + 1)"
    assert page.evaluate(tall)
    assert page.evaluate(LOW_CONTRAST)["low"] == []
    shot(page, "print", tmp_path)
    pdf = base64.b64decode(page.call("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type/Page\n") >= 5
    assert problems(page) == []


def order(page: Page, caption: str, column: int) -> list[float | None]:
    cells = f"[...{ROWS.format(caption)}.tBodies[0].rows].map(r => r.cells[{column}].dataset.v)"
    return [None if value is None else float(value) for value in page.evaluate(cells)]


def known(value: float | None) -> float:
    """For a column in which nothing is missing."""
    assert value is not None
    return value


def head(page: Page, caption: str, column: int) -> dict[str, Any]:
    script = f"(h => ({{sort: h.getAttribute('aria-sort'), text: h.innerText}}))({ROWS.format(caption)}.tHead.rows[0].cells[{column}])"  # noqa: E501
    found: dict[str, Any] = page.evaluate(script)
    return found


def test_sorting(pages: dict[str, Path], page: Page) -> None:
    """A click on a heading sorts by it, numbers the largest first; another turns it round; the keyboard does it too."""
    show(page, pages["report"])
    caption = "tensors between layers"
    before = order(page, caption, 2)
    click = f"{ROWS.format(caption)}.tHead.rows[0].cells[{{}}].querySelector('button').click()"
    page.evaluate(click.format(2))
    assert order(page, caption, 2) == sorted(before, key=known, reverse=True)
    assert head(page, caption, 2)["sort"] == "descending"
    page.evaluate(click.format(2))
    assert order(page, caption, 2) == sorted(before, key=known)
    assert head(page, caption, 2)["sort"] == "ascending"
    page.evaluate(f"{ROWS.format(caption)}.tHead.rows[0].cells[5].querySelector('button').focus()")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    assert (head(page, caption, 5)["sort"], head(page, caption, 2)["sort"]) == ("descending", None)
    assert order(page, caption, 5) == sorted(order(page, caption, 5), key=known, reverse=True)
    assert problems(page) == []


def test_sorting_keeps_what_is_missing_last(pages: dict[str, Path], page: Page) -> None:
    """A column with gaps has them at the end, whichever way it is sorted; names sort as text."""
    show(page, pages["report"])
    caption = "layers with their times"
    script = f"{ROWS.format(caption)}.tHead.rows[0].cells[{{}}].querySelector('button').click()"
    column = next(i for i in range(12) if head(page, caption, i)["text"].startswith("MMAC"))
    assert None in order(page, caption, column), "the board's layers are of no plan at hand"
    for _ in range(2):
        page.evaluate(script.format(column))
        found = order(page, caption, column)
        assert found == [v for v in found if v is not None] + [None] * found.count(None)
    page.evaluate(script.format(1))
    names = page.evaluate(f"[...{ROWS.format(caption)}.tBodies[0].rows].map(r => r.cells[1].textContent)")
    assert names == page.evaluate(f"{names!r}.slice().sort((a, b) => a.localeCompare(b))")


def test_without_scripts(pages: dict[str, Path], page: Page) -> None:
    """Everything is there but the buttons."""
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    show(page, pages["report"])
    assert page.evaluate("document.querySelectorAll('th button').length") == 0
    assert page.evaluate("document.querySelectorAll('table.sortable tbody tr').length") > 100


def test_a_screen_reader_finds_its_way(pages: dict[str, Path], page: Page) -> None:
    """Landmarks, headings, every table by its caption, every plot and picture by its name."""
    show(page, pages["report"])
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            name = str(node.get("name", {}).get("value", ""))
            named.setdefault(node.get("role", {}).get("value", ""), []).append(name)
    assert len(named["main"]) == len(named["navigation"]) == 1
    headings = [name for name in named["heading"] if name]
    for title in ("Is it right?", "Accuracy", "Examples", "Time", "Layers", "Memory", "Environment"):
        assert title in headings, title
    assert len(named["table"]) > 15
    assert all(named["table"]), "a table without a name"
    assert all(named["image"]), "a picture without a name"
    assert len(named["image"]) >= 12
    assert named["columnheader"]
    assert named["rowheader"]
    assert all(named.get("button", [])), "a button without a name"


def test_injected_scripts_do_not_run(pages: dict[str, Path], page: Page, tmp_path: Path) -> None:
    """Even where markup got into the file, the page's policy lets no other script, handler or request pass."""
    file = tmp_path / "injected.html"
    attack = (
        "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"
        "<img src='https://example.invalid/a.png'><style>body { display: none }</style></main>"
    )
    file.write_text(pages["alone"].read_text().replace("</main>", attack))
    show(page, file)
    assert page.evaluate("window.hit === undefined")
    assert page.evaluate("getComputedStyle(document.body).display") == "block"
    blocked = [params for method, params in page.events if method == "Network.loadingFailed"]
    sent = [p["request"]["url"] for method, p in page.events if method == "Network.requestWillBeSent"]
    asked = [url for url in sent if url.startswith("https:")]
    assert len(blocked) >= len(asked)
    assert all(params.get("blockedReason") == "csp" for params in blocked)

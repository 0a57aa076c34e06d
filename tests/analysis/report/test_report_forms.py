"""HTML, Markdown and JSON: complete, well-formed, and harmless whatever names a stranger's files hold."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from rkdeploy.analysis.page.content import moment
from rkdeploy.analysis.page.html import html_text
from rkdeploy.analysis.page.markdown import escaped, markdown_text
from rkdeploy.analysis.page.texts import Lang, Words
from rkdeploy.analysis.report.compose import compose
from rkdeploy.analysis.report.document_models import model_sha256_of
from rkdeploy.analysis.report.gather import gather
from rkdeploy.analysis.report.json_text import json_text
from rkdeploy.analysis.report.model_report import Report
from rkdeploy.contract.bundle import Bundle
from rkdeploy.device.profiling.profile_document import Missing, ProfileAdvice
from rkdeploy.schema import SCHEMAS
from tests.analysis.report.report_samples import accuracy, compiled, make_bundle, profile, record, spec, write

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>&\"'`|[a](javascript:1)\x1b[2J\u202e</style>@all"
LANGS: tuple[Lang, ...] = get_args(Lang)
VOID = {"meta", "link", "img", "br", "path", "rect", "circle", "line"}


class Outline(HTMLParser):
    """Tags in their order, with what is open; fails on a tag that closes another."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.captions: list[bool] = []
        self.headings: list[tuple[int, str]] = []
        self.ids: list[str] = []
        self._table_has_caption = False
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.append(given["id"] or "")
        if tag == "table":
            self._table_has_caption = False
        if tag == "caption":
            self._table_has_caption = True
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag
        if tag == "table":
            self.captions.append(self._table_has_caption)

    def handle_data(self, data: str) -> None:
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            level, text = self.headings.pop()
            self.headings.append((level, text + data))


@pytest.fixture
def whole(tmp_path: Path) -> Report:
    """A report with every section."""
    bundle = make_bundle(tmp_path / "best-rk3588-int8")
    run = profile(
        sha256=model_sha256_of(bundle), advice=(ProfileAdvice("x", "warning", "Clocks fall.", "a command"),),
        missing=(Missing("load", "not root"),),
    )  # fmt: skip
    return gather([bundle.folder, write(tmp_path / "p.json", run)])


def hostile_bundle(folder: Path) -> Bundle:
    """A bundle in which every name that a user or a stranger gives is hostile."""
    names = (HOSTILE, f"{HOSTILE} 2")
    plan = compiled()
    layers = tuple(replace(layer, name=HOSTILE, op=f"Conv{HOSTILE}") for layer in plan.layers)
    tensors = tuple(replace(tensor, name=HOSTILE, dtype=HOSTILE) for tensor in plan.features)
    whole = record()
    built = replace(
        whole,
        created=HOSTILE,
        source=replace(whole.source, file=HOSTILE, generation=HOSTILE),
        toolkit=replace(whole.toolkit, version=HOSTILE, disabled_rules=(HOSTILE,)),
        accuracy=accuracy(names=names, source=HOSTILE, validator=HOSTILE, notes=(HOSTILE,)),
        compiled=replace(plan, layers=layers, features=tensors),
        host={HOSTILE: HOSTILE},
        seconds={HOSTILE: 1.0},
        warnings=(HOSTILE,),
    )
    contract = spec(names=names)
    outputs = tuple(replace(output, name=HOSTILE) for output in contract.outputs)
    return make_bundle(folder, contract=replace(contract, outputs=outputs), built=built)


def hostile_report(tmp_path: Path) -> Report:
    bundle = hostile_bundle(tmp_path / "b<b>&'|x")
    run = profile(sha256=model_sha256_of(bundle), advice=(ProfileAdvice("x", "note", HOSTILE, HOSTILE),))
    run = replace(run, figures_from=HOSTILE, versions=replace(run.versions, board=HOSTILE, packages={HOSTILE: HOSTILE}))
    return gather([bundle.folder, write(tmp_path / "p.json", run)])


@pytest.mark.parametrize("lang", LANGS)
def test_html_is_well_formed(whole: Report, lang: Lang) -> None:
    """Every tag closes, ids are unique, links lead somewhere, headings go down one level at a time from one h1."""
    text = html_text(compose(whole, lang), lang)
    outline = Outline(text)
    assert len(outline.ids) == len(set(outline.ids))
    links = [given["href"] for tag, given in outline.tags if tag == "a"]
    assert links
    assert all(link and link[0] == "#" and link[1:] in outline.ids for link in links)
    labels = [given["aria-labelledby"] or "" for _, given in outline.tags if "aria-labelledby" in given]
    assert {one for label in labels for one in label.split()} <= set(outline.ids)
    levels = [level for level, _ in outline.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(title.strip() for _, title in outline.headings)
    assert outline.captions
    assert all(outline.captions), "a table without a caption"
    images = [given for tag, given in outline.tags if tag == "img"]
    assert images
    assert all(given["alt"] and (given["src"] or "").startswith("data:image/webp;base64,") for given in images)
    drawings = [given for tag, given in outline.tags if tag == "svg" and given.get("role") == "img"]
    assert len(drawings) >= 7
    html = next(given for tag, given in outline.tags if tag == "html")
    assert html["lang"] == {"en": "en", "zh": "zh-CN"}[lang]


def test_html_asks_for_nothing(whole: Report) -> None:
    """No address but fragments and data; the policy forbids the rest, and allows this style and this script by hash."""
    text = html_text(compose(whole, "en"), "en")
    assert not re.findall(r"""(?:src|href|action|srcset|poster|data)\s*=\s*["']?(?!#|data:)[^"'\s>]""", text)
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe" not in policy[1]
    assert len(text.encode()) < 2_000_000


@pytest.mark.parametrize("lang", LANGS)
def test_hostile_names_in_html(tmp_path: Path, lang: Lang) -> None:
    """No name opens a tag, an attribute or the script: the page has the same tags as with harmless names."""
    text = html_text(compose(hostile_report(tmp_path), lang), lang)
    outline = Outline(text)
    assert [tag for tag, _ in outline.tags].count("script") == 1
    assert not any(key.startswith("on") for _, given in outline.tags for key in given)
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "</style>@all" not in text
    assert "<img src=x" not in text


@pytest.mark.parametrize("lang", LANGS)
def test_hostile_names_in_markdown(tmp_path: Path, lang: Lang) -> None:
    """No name makes a tag, a link, a mention, another cell or another line; nothing drives a terminal."""
    text = markdown_text(compose(hostile_report(tmp_path), lang), Words(lang))
    assert "<" not in text.replace("&lt;", "")
    assert "@" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    assert "\x1b" not in text
    assert "\u202e" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table


def test_hostile_names_in_json(tmp_path: Path) -> None:
    """The JSON is ASCII, so no name drives a terminal, and names come back as they are."""
    text = json_text(hostile_report(tmp_path))
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["models"][0]["contract"]["class_names"][0] == HOSTILE


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("model.0.conv/Conv_output_0", "model.0.conv/Conv_output_0"),
        ("a|b", "a\\|b"),
        ("_a_ *b* `c` ~d~", "\\_a\\_ \\*b\\* \\`c\\` \\~d\\~"),
        ("[x](y)", "\\[x\\](y)"),
        ("https://a.example", "https&#58;//a.example"),
        ("a: b", "a: b"),
        ("a\n# b", "a # b"),
        ("<b> & @me", "&lt;b&gt; &amp; &#64;me"),
        ("mAP50-95 (boxes)", "mAP50-95 (boxes)"),
    ],
)
def test_markdown_escapes_by_hand(name: str, shown: str) -> None:
    """Active characters are escaped, all others stay readable."""
    assert escaped(name) == shown


@pytest.mark.parametrize(
    ("created", "shown"),
    [
        ("2026-11-21T17:51:13+00:00", "2026-11-21 17:51 UTC"),
        ("2026-11-21T17:51:13+08:00", "2026-11-21 09:51 UTC"),
        ("2026-11-21T17:51:13", "2026-11-21T17:51:13"),
        ("9999-12-31T23:59:59-10:00", "9999-12-31T23:59:59-10:00"),
        ("yesterday", "yesterday"),
    ],
)
def test_moments(created: str, shown: str) -> None:
    """Times are given in UTC to the minute; text that is not a time stays as it is."""
    assert moment(created) == shown


@pytest.mark.parametrize("lang", LANGS)
def test_markdown_has_the_tables(whole: Report, lang: Lang) -> None:
    """Summary and all tables are there; of long ones the first rows, and how many are left out."""
    text = markdown_text(compose(whole, lang), Words(lang))
    assert text.startswith("# best-rk3588-int8\n")
    assert "**125.0 fps**" in text
    assert text.count("|---") >= 15
    assert Words(lang)("page.more_rows", count=len(whole.models[0].layers[0].rows) - 15) in text
    assert "data:image" not in text


def test_json_is_the_whole_report(whole: Report) -> None:
    """It reads back as the same report but for the pictures, whose figures it keeps."""
    again = msgspec.json.decode(json_text(whole).encode(), type=Report)
    assert again.models[0].layers == whole.models[0].layers
    assert again.models[0].profiles == whole.models[0].profiles
    assert again.models[0].examples is not None
    assert [(p.reference_count, p.built_count, p.matched) for p in again.models[0].examples.pictures] == [
        (2, 2, 2), (2, 1, 1),
    ]  # fmt: skip
    assert again.models[0].examples.pictures[0].built_webp is None


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_those_of_the_types(name: str) -> None:
    """docs/*.schema.json are what `make schema` writes."""
    assert (Path(__file__).parents[3] / "docs" / name).read_text() == SCHEMAS[name]()


def test_examples_say_who_stands_alone(whole: Report) -> None:
    """In the second pair the built model misses one: both pictures are there, and differ by the dashed frame."""
    examples = whole.models[0].examples
    assert examples is not None
    first, second = examples.pictures
    assert first.reference_webp == first.built_webp, "the same objects, all matched, are drawn alike"
    assert second.reference_webp is not None
    assert second.reference_webp != first.reference_webp, "an object without its match is drawn otherwise"
    assert all(len(p.built_webp or b"") <= 100_000 for p in examples.pictures)


def test_several_models_in_one_report(tmp_path: Path) -> None:
    """Two models have a heading each, and the sections of both; ids stay unique."""
    folders = [make_bundle(tmp_path / f"best-rk3588-{dtype}", dtype).folder for dtype in ("int8", "fp16")]
    outline = Outline(html_text(compose(gather(folders), "en"), "en"))
    assert [title for level, title in outline.headings if level == 2][:2] == ["best-rk3588-int8", "best-rk3588-fp16"]
    assert len(outline.ids) == len(set(outline.ids))

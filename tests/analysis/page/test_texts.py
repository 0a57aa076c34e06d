"""Texts of both languages."""

from __future__ import annotations

import ast
import string
from pathlib import Path
from typing import get_args

import pytest

import rkdeploy.analysis
from rkdeploy.analysis.estimate.prediction import PartName
from rkdeploy.analysis.origin import OriginKind
from rkdeploy.analysis.page.content import Status
from rkdeploy.analysis.page.texts import CATALOGUES, Words
from rkdeploy.analysis.report.diff.diff_document import Group, Judgment
from rkdeploy.analysis.report.diff.limits import parse_limits
from rkdeploy.analysis.report.model_report import LimitName, Question
from rkdeploy.contract.spec import Fit, Task

EN, ZH = CATALOGUES["en"], CATALOGUES["zh"]
SOURCES = sorted(Path(rkdeploy.analysis.__file__).parent.rglob("*.py"))
MADE_OF = {  # keys that are put together, and what of
    "origin": OriginKind, "origin_name": OriginKind, "origin_card": OriginKind, "origin_means": OriginKind,
    "speed.not_a_board": OriginKind, "status": Status, "question": Question, "task": Task, "fit": Fit,
    "limit": LimitName, "limit ": PartName, "diff.is": Judgment, "diff.group": Group,
}  # fmt: skip


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_texts() -> None:
    """The same keys, in the same order, with the same values in their braces, and none is empty."""
    assert list(EN) == list(ZH)
    assert {key: fields(text) for key, text in EN.items()} == {key: fields(text) for key, text in ZH.items()}
    assert all(text.strip() for catalogue in CATALOGUES.values() for text in catalogue.values())


def test_chinese_is_chinese() -> None:
    """Only names and units are the same in both languages."""
    same = {key for key in EN if EN[key] == ZH[key] and key not in {"diff.title", "diff.difference"}}
    assert all(len(EN[key].split()) <= 2 for key in same), same


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_text_that_is_asked_for_is_there(source: Path) -> None:
    """Each literal key in the code has a text."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"words", "Words"} and node.args:
            key = node.args[0]
            if isinstance(key, ast.Constant) and getattr(node.func, "id", "") == "words":
                assert str(key.value) in EN, source.name


def test_keys_that_are_put_together_are_there() -> None:
    """Every value that a Literal allows has its text."""
    for stem, kind in MADE_OF.items():
        for value in get_args(kind):
            if value and (stem, value) != ("speed.not_a_board", "measured"):
                assert f"{stem.strip()}.{value}" in EN, f"{stem}.{value}"
    for key in ("latency", "fps", "memory", "map", "agreement"):
        assert parse_limits(f"{key}=1")


def test_no_text_is_left_over() -> None:
    """Each text is used: its key stands in the code, or begins as an f-string of the code does."""
    package = Path(rkdeploy.analysis.__file__).parent
    code = [path for path in SOURCES if path.stem not in CATALOGUES] + sorted(package.parent.glob("cli/*.py"))
    nodes = [node for path in code for node in ast.walk(ast.parse(path.read_text()))]
    literals = {node.value for node in nodes if isinstance(node, ast.Constant)}
    begun = {
        str(node.values[0].value)
        for node in nodes
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant)
    }
    page = (package / "page/templates/report.html").read_text()

    def used(key: str) -> bool:
        if key in literals or f'"{key}"' in page:
            return True
        stem = key.partition(".")[0] + "."
        if stem in {"diff.", "verdict."} and used(key[len(stem) :]):  # words(f"diff.{change.key}")
            return True
        return any(key.startswith(one) for one in begun - {"diff.", "verdict."} if one.endswith("."))

    assert [key for key in EN if not used(key)] == []


def test_a_missing_text_is_an_error() -> None:
    """An unknown key, and a value that is not given, do not go unnoticed."""
    with pytest.raises(KeyError):
        Words("en")("no.such.text")
    with pytest.raises(KeyError):
        Words("zh")("page.several")

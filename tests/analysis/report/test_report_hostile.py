"""Damaged and forged files: whatever is changed in one, a report comes out or one clear message."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rkdeploy.analysis.page.html import html_text
from rkdeploy.analysis.page.markdown import markdown_text
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.compose import compose
from rkdeploy.analysis.report.diff.changes import compare
from rkdeploy.analysis.report.diff.compose_diff import compose_diff
from rkdeploy.analysis.report.document_models import model_sha256_of
from rkdeploy.analysis.report.gather import gather
from rkdeploy.analysis.report.json_text import json_text
from rkdeploy.errors import RkdeployError
from tests.analysis.report.report_samples import make_bundle, profile, write

ROUNDS = 25
TEXTS = ("", "<script>alert(1)</script>", "a|b\n# c", "{0}{x!r}%s", "x" * 300)
pytestmark = pytest.mark.slow
Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A profile and a report, as they were written."""
    folder = tmp_path_factory.mktemp("documents")
    bundle = make_bundle(folder / "best-rk3588-int8")
    file = write(folder / "p.json", profile(sha256=model_sha256_of(bundle)))
    return {"profile": file.read_text(), "report": json_text(gather([bundle.folder, file]))}


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from places(inner, (*place, key))


def other(value: Any, chance: random.Random) -> Any:
    """Another value, mostly of the same type, so that it gets past the types."""
    if chance.random() < 0.1:
        return chance.choice([None, [], {}, "x", 1])
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return chance.choice([0, -1, 1, 10**17, 2**40])
    if isinstance(value, float):
        return chance.choice([0.0, -1.0, 1e17, 1e-300, 1e300, 0.5])
    if isinstance(value, str):
        return chance.choice(TEXTS)
    if isinstance(value, list):
        return chance.choice([[], value + value, value[:1], value[1:]])
    return chance.choice([0, 1.5, "x"])


@pytest.mark.parametrize("name", ["profile", "report"])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_changed(documents: dict[str, str], tmp_path: Path, name: str, seed: int) -> None:
    """Every form is written, or the file is refused; nothing else happens, and no script gets in."""
    chance = random.Random(seed)
    whole = json.loads(documents[name])
    everywhere = list(places(whole))
    (tmp_path / "whole.json").write_text(documents[name])
    reference = gather([tmp_path / "whole.json"]).models[0]
    written = refused = 0
    for _ in range(ROUNDS):
        document = copy.deepcopy(whole)
        place = chance.choice(everywhere)
        inner = document
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = other(inner[place[-1]], chance)
        file = tmp_path / "changed.json"
        file.write_text(json.dumps(document))
        try:
            report = gather([file])
        except RkdeployError as failure:
            refused += "changed.json" in failure.message
            continue  # any other exception fails the test
        for lang in ("en", "zh"):
            page = compose(report, lang)
            assert "<script>alert" not in html_text(page, lang)
            markdown_text(page, Words(lang))
        compose_diff(compare(reference, report.models[0]), "en")
        compose_diff(compare(report.models[0], reference), "zh")
        written += 1
    assert written
    assert refused

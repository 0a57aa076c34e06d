"""The proof of a build as tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkdeploy.analysis.page.texts import Lang
from rkdeploy.analysis.report.gather import gather
from rkdeploy.analysis.report.rendering import rendered
from tests.analysis.report.report_samples import attempts, make_bundle, record


@pytest.mark.parametrize(("lang", "kept", "weak"), [("en", "kept", "too weak"), ("zh", "采用", "太弱")])
def test_the_quantizations_that_were_tried(lang: Lang, kept: str, weak: str, tmp_path: Path) -> None:
    """A row each, with the figure that was judged and its interval; the one in the bundle is marked."""
    bundle = make_bundle(tmp_path / "best-rk3588-int8", built=record(attempts=attempts()))
    rows = [line for line in rendered(gather([bundle.folder]), "md", lang).splitlines() if "ap50 |" in line]
    assert len(rows) == 4  # the first one found nothing to judge
    assert [kept in row for row in rows] == [False, False, True, False]
    assert [weak in row for row in rows] == [True, True, False, False]
    assert "0.968" in rows[2]
    assert "0.950 - 0.990" in rows[2]
    assert "| 80 |" in rows[2]


def test_one_that_was_good_at_once_has_no_such_table(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "best-rk3588-int8", built=record())
    assert "Quantizations that were tried" not in rendered(gather([bundle.folder]), "md", "en")

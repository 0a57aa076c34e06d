"""Texts of the quantized model against the float model's."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.accuracy.text_errors import edit_distance, text_errors
from rkdeploy.contract.agreement import Agreement, TextAgreement
from rkdeploy.device.postprocess.detections import FoundText
from rkdeploy.errors import VerificationError
from rkdeploy.host.building.agreement_gate import proof_of, require_agreement
from rkdeploy.host.building.text_agreement import TextLineAgreement


def line(text: str, confidence: float = 0.9) -> FoundText:
    count = len(text)
    return FoundText(tuple(text), np.full(count, confidence, np.float32), np.arange(count, dtype=np.int32))


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("苏E05", "苏05", 1), ("on", "no", 2)],
)
def test_edit_distance(one: str, other: str, distance: int) -> None:
    """Either way round."""
    assert edit_distance(one, other) == edit_distance(other, one) == distance


def test_errors_by_hand() -> None:
    """Over the longer text; nothing of nothing is right."""
    assert text_errors("kitten", "sitting").accuracy == pytest.approx(4 / 7)
    assert (text_errors("", "").same, text_errors("", "").accuracy) == (True, 1.0)
    assert (text_errors("", "ab").same, text_errors("", "ab").accuracy) == (False, 0.0)


def test_only_certain_texts_count() -> None:
    """Of three characters, each of 0.8 or more, by either model: an invented text counts as much as a lost one."""
    meter = TextLineAgreement()
    assert meter.add(line("abcd"), line("abcd"))
    assert meter.add(line("abcd"), line("abed", 0.3))
    assert meter.add(line(""), line("abcd"))
    assert not meter.add(line("ab"), line("a"))
    assert not meter.add(line("abcd", 0.79), line("x", 0.2))
    assert not meter.add(line(""), line(""))
    found = meter.result()
    assert found is not None
    assert found.lines == 3
    assert found.same == pytest.approx(1 / 3)
    assert found.characters == pytest.approx((1 + 0.75 + 0) / 3)
    assert found.same_interval[0] <= found.same <= found.same_interval[1]
    assert TextLineAgreement().result() is None


def agreement(same: float, lines: int) -> Agreement:
    """Of a text recognizer, with an attribute that is always the same."""
    text = TextAgreement(lines, 0.8, same, same, (same, same), (same, same))
    return Agreement(
        "here", 24, "lines", 0.25, (), 0, 0, 0, 0.85, 0.15, None, None, text=text, same_first_class=1.0
    )  # fmt: skip


def test_gate() -> None:
    """Eight certain texts judge; fewer leave a build unproven, whatever its attribute; the advice is FP16."""
    assert proof_of(agreement(1.0, 8)).standing == "agrees"
    assert proof_of(agreement(0.9, 8)).standing == "weak"
    few = proof_of(agreement(1.0, 7))
    assert (few.standing, few.reason) == ("unproven", "few_images")
    require_agreement(agreement(0.1, 7), 0.85)
    with pytest.raises(VerificationError, match=r"text on 50\.0 % of the images") as failed:
        require_agreement(agreement(0.5, 8), 0.85)
    assert "--dtype fp16" in failed.value.hint

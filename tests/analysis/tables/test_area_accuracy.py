"""Accuracy of areas of text in the report."""

from __future__ import annotations

from typing import Literal

import pytest

from rkdeploy.analysis.page.content import Note, Table
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.tables.accuracy_tables import accuracy_blocks
from rkdeploy.contract.accuracy import AccuracyReport, ClassFigures, Evaluation, ObjectFigures


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_hmean_has_a_column_and_no_suppression_is_claimed(lang: Literal["en", "zh"]) -> None:
    """Precision, recall, Hmean, and how they were measured."""
    text = ClassFigures("text", 30, 0.88, 0.36, 0.8, 0.9)
    figures = ObjectFigures("text areas", "IoU", 0.88, 0.36, 0.88, 0.36, 0.8, 0.9, None, (text,), hmean=0.847)
    side = Evaluation("onnxruntime", "float", "onnxruntime", 6, (figures,), None, (), ())
    report = AccuracyReport("best", "Label.txt", "0.6", 0.001, 0.7, True, "a validator", False, (side,), ())
    blocks = list(accuracy_blocks(report, Words(lang)))
    table = next(block for block in blocks if isinstance(block, Table))
    assert "Hmean" in [column.title for column in table.columns]
    notes = [block.text for block in blocks if isinstance(block, Note)]
    assert any("Hmean" in note and "0.6" in note for note in notes)
    assert not any("0.7" in note for note in notes)

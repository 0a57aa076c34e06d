"""Texts in the examples of a bundle."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from rkdeploy.accuracy.kept_examples import KeptResult, detections_of, kept_result
from rkdeploy.contract.formulas import TextFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.detections import Detections, FoundText

SPEC = ModelSpec(
    "lprnet", "text", ("text",), InputSpec("x", 8, 24, fit="stretch"),
    (HeadOutput("text_logits", "text_logits", 0, 8, (1, 3, 1, 4)),), text=TextFormula(("", "苏", "E")),
)  # fmt: skip


@pytest.mark.parametrize("read", ["苏E苏", ""])
def test_text_comes_back(read: str) -> None:
    """Through the file, an empty line too; a model without text has none."""
    count = len(read)
    text = FoundText(tuple(read), np.linspace(0.5, 1, count, dtype=np.float32), np.arange(count, dtype=np.int32))
    kept = kept_result(replace(Detections.empty(), text=text), (24, 94))
    again = detections_of(msgspec.json.decode(msgspec.json.encode(kept), type=KeptResult), SPEC, (24, 94)).text
    assert again is not None
    assert (again.characters, again.columns.tolist()) == (text.characters, text.columns.tolist())
    np.testing.assert_allclose(again.confidences, text.confidences, atol=1e-5)
    assert kept_result(Detections.empty(), (24, 94)).text is None


def test_too_much_is_refused() -> None:
    """A character that is a page, a probability of 2."""
    for one in ({"text": "x" * 17, "confidence": 1, "column": 0}, {"text": "x", "confidence": 2, "column": 0}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"objects": [], "text": [one]}, type=KeptResult)

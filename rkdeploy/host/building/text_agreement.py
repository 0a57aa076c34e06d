"""Agreement of the text that a quantized model reads with the float model's, image by image."""

from __future__ import annotations

from typing import Final

import numpy as np

from rkdeploy.accuracy.bootstrap import image_weights, interval
from rkdeploy.accuracy.text_errors import TextErrors, text_errors
from rkdeploy.contract.agreement import TextAgreement
from rkdeploy.device.postprocess.detections import FoundText

SURE: Final = 0.8
"""Confidence of every character from which a text counts as certain."""
FEWEST_CHARACTERS: Final = 3
"""Characters of the shortest text that counts: in images without text a recognizer is sure of single ones."""


class TextLineAgreement:
    """Texts of both models, where either of them is certain of one."""

    def __init__(self) -> None:
        self._lines: list[TextErrors] = []

    def add(self, reference: FoundText, built: FoundText) -> bool:
        """Compare one image; False if neither model is certain of a text there."""
        if not (_is_sure(reference) or _is_sure(built)):
            return False
        self._lines.append(text_errors(reference.characters, built.characters))
        return True

    def result(self) -> TextAgreement | None:
        """The figures of all images; None where neither model was certain of a text."""
        if not self._lines:
            return None
        figures = np.array([(line.same, line.accuracy) for line in self._lines], np.float64)
        same, accuracy = figures.mean(axis=0)
        drawn = image_weights(len(figures)) @ figures / len(figures)
        return TextAgreement(
            len(figures), SURE, float(same), float(accuracy), interval(drawn[:, 0]), interval(drawn[:, 1])
        )


def _is_sure(found: FoundText) -> bool:
    return len(found.characters) >= FEWEST_CHARACTERS and float(found.confidences.min()) >= SURE

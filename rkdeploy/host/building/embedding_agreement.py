"""Agreement of embeddings with the float model's: their direction, and which images they take for alike."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.accuracy.bootstrap import image_weights, interval
from rkdeploy.contract.agreement import EmbeddingAgreement

TIE: Final = 0.15
"""Images whose cosines differ by less, by the float model itself, are alike: unrelated images lie close together, and
rounding decides which of them is the nearest.  Chosen by measurement: docs/quantization.md has the table.
"""


class EmbeddingAgreementMeter:
    """Embeddings of the quantized model next to the float model's, image by image."""

    def __init__(self) -> None:
        self._reference: list[NDArray[np.float32]] = []
        self._built: list[NDArray[np.float32]] = []

    def add(self, reference: NDArray[np.float32], built: NDArray[np.float32]) -> None:
        """Take the embeddings of one image, (D,) float32 of length 1 each."""
        self._reference.append(reference)
        self._built.append(built)

    def result(self) -> EmbeddingAgreement | None:
        """The figures of all images; None without one."""
        if not self._reference:
            return None
        reference, built = np.stack(self._reference), np.stack(self._built)
        cosines = (reference * built).sum(axis=1).astype(np.float64)
        weights = image_weights(len(cosines)) / len(cosines)
        nearest = _same_nearest(reference, built)
        return EmbeddingAgreement(
            cosine=float(cosines.mean()),
            worst=float(cosines.min()),
            cosine_interval=interval(weights @ cosines),
            nearest=float(nearest.mean()) if len(nearest) else None,
            nearest_interval=interval(weights @ nearest) if len(nearest) else None,
            tie=TIE,
        )


def _same_nearest(reference: NDArray[np.float32], built: NDArray[np.float32]) -> NDArray[np.float64]:
    """1.0 for each image whose nearest other one by the quantized model is as near by the float model as any other.

    (N,) float64; empty for fewer than three images, which have no choice.
    """
    count = len(reference)
    if count < 3:
        return np.zeros(0)
    alike, found = reference @ reference.T, built @ built.T
    np.fill_diagonal(alike, -np.inf)
    np.fill_diagonal(found, -np.inf)
    chosen = alike[np.arange(count), found.argmax(axis=1)]
    return np.asarray(chosen >= alike.max(axis=1) - TIE, np.float64)

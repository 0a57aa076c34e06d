"""Named embeddings, and the search for the nearest ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.detections import Detections, FoundMatch, NamedCosine, NestedResult

NEAREST: Final = 3
"""Names of a match that are listed."""
DEFAULT_MATCH: Final = 0.4
"""Lowest cosine of a match.  Faces of one person by ArcFace's networks lie at 0.4 to 0.8, of two below 0.3; `rkdeploy
eval` prints the best cosine of a model on labeled images."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Embeddings of known images.

    Attributes:
        names: of each, (N,); a name may have several.
        vectors: (N, D) float32 of length 1.
        threshold: lowest cosine of a match.
    """

    names: tuple[str, ...]
    vectors: NDArray[np.float32]
    threshold: float = DEFAULT_MATCH

    def match(self, embedding: NDArray[np.float32]) -> FoundMatch:
        """The nearest names of an embedding (D,) of length 1, each by its nearest image."""
        cosines = self.vectors @ embedding
        best: dict[str, float] = {}
        for i in np.argsort(-cosines, kind="stable").tolist():
            best.setdefault(self.names[i], float(cosines[i]))
            if len(best) == NEAREST:
                break
        nearest = tuple(NamedCosine(name, cosine) for name, cosine in best.items())
        accepted = bool(nearest) and nearest[0].cosine >= self.threshold
        return FoundMatch(nearest[0].name if accepted else None, nearest)

    def named(self, found: Detections) -> Detections:
        """The detections with matches for their embeddings, for those of further models of a chain too.

        Embeddings of another number of values belong to another model and stay as they are.
        """
        if found.embedding is not None and len(found.embedding) == self.vectors.shape[1]:
            found = replace(found, match=self.match(found.embedding))
        if found.nested is None:
            return found
        nested = tuple(tuple(self._named_answer(answer) for answer in answers) for answers in found.nested)
        return replace(found, nested=nested)

    def _named_answer(self, answer: NestedResult | None) -> NestedResult | None:
        return None if answer is None else replace(answer, detections=self.named(answer.detections))

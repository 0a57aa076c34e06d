"""Float, which trials are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.contract.accuracy import Evaluation


@dataclass(frozen=True, slots=True)
class Baseline:
    """Float's figures, which trials are compared with.

    Attributes:
        evaluation: float's figures on the labeled images, with where they come from.
        source: of the labeled images, as a user reads it.
    """

    evaluation: Evaluation
    source: str

    @property
    def figures(self) -> dict[str, float]:
        """The headline figures, by their names."""
        return self.evaluation.headlines()

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
        evaluation: the float model's figures on the labeled images, with their source.
        source: of the labeled images, for users.
    """

    evaluation: Evaluation
    source: str

    @property
    def figures(self) -> dict[str, float]:
        """The headline figures, by their names."""
        return self.evaluation.headlines()

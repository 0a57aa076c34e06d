"""The document of `rkdeploy tune`: a search with all its trials, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.contract.accuracy import Evaluation

if TYPE_CHECKING:  # a search needs a host's packages, its document does not
    from rkdeploy.analysis.tune.tune import TuneReport


@dataclass(frozen=True, slots=True)
class SearchDocument:
    """A search for quantization settings.

    Attributes:
        figures_from: source of the figures.
        study: file of the study.
        max_cost: largest predicted cost that is recommended, over the default settings' cost.
        baseline: the float model's figures on the labeled images.
        source: of the labeled images.
        trials: all that ended, in their order.
        front: numbers of the trials that no other beats in both accuracy and cost, the cheapest first.
        recommended: number of the recommended trial; None if no trial is usable.
        noise: largest difference of the drops of the same settings with other calibration samples; None if no settings
            were tried with two samples.
        command: command line that builds with the recommended settings; None if no trial is usable.
        document: tag of the document.
        schema_version: version of this schema.
    """

    figures_from: str
    study: str
    max_cost: float
    baseline: Evaluation
    source: str
    trials: tuple[FinishedTrial, ...]
    front: tuple[int, ...]
    recommended: int | None
    noise: float | None
    command: str | None
    document: Literal["rkdeploy tune"] = "rkdeploy tune"
    schema_version: Literal[1] = 1

    @classmethod
    def of(cls, report: TuneReport, study: str, max_cost: float, command: str | None) -> SearchDocument:
        """The document of a search.

        Args:
            report: result of the search.
            study: file of the study.
            max_cost: see the attribute.
            command: see the attribute.
        """
        outcome = report.outcome
        return cls(
            figures_from="accuracy: simulator; cost: predicted",
            study=study,
            max_cost=max_cost,
            baseline=report.baseline.evaluation,
            source=report.baseline.source,
            trials=report.trials,
            front=tuple(one.trial.number for one in outcome.front),
            recommended=outcome.recommended.trial.number if outcome.recommended else None,
            noise=outcome.noise,
            command=command,
        )

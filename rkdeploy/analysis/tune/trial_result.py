"""Figures of a trial, as the study and the document of a search keep them; reading them needs no package of a host."""

from __future__ import annotations

from dataclasses import dataclass

from rkdeploy.analysis.tune.cost import Cost


@dataclass(frozen=True, slots=True)
class TrialResult:
    """Figures of a trial.

    Attributes:
        figures: mAP50-95, top-1, mean IoU, by their names: see `Evaluation.headlines`.
        cost: predicted.
        agreement: `Agreement.headline`, 0..1; None if the float model found nothing.
        refused: why `rkdeploy build` would refuse the model; empty if it would not.
        float16: tensors whose layers stayed float16.
        rknn_bytes: size of the `.rknn`.
        quantization: a hash of every tensor's range, equal for two builds of the same model.
        toolkit: version of rknn-toolkit2.
        seconds: duration of the trial.
        agreement_name: what the agreement is, `ap`; empty without one, and in older studies.
        agreement_interval: (low, high) of it, 95 %, by a bootstrap over the held-out images; None as before.
    """

    figures: dict[str, float]
    cost: Cost
    agreement: float | None
    refused: str
    float16: int
    rknn_bytes: int
    quantization: str
    toolkit: str
    seconds: float
    agreement_name: str = ""
    agreement_interval: tuple[float, float] | None = None

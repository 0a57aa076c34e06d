"""Trained or corrected biases, by their agreement with the float model on held-out images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rkdeploy.contract.accuracy import FloatTruthAp
from rkdeploy.contract.agreement import Agreement
from rkdeploy.host.building.correction_choice import correction_loss

NOTHING = Agreement(
    figures_from="simulator",
    images=8,
    source="photos",
    confidence=0.25,
    outputs=(),
    float_detections=0,
    built_detections=0,
    matched=0,
    iou=0.85,
    score_difference=0.15,
    mean_iou=None,
    mean_score_difference=None,
)


def agreement(ap: float) -> Agreement:
    """Boxes with this AP."""
    found = FloatTruthAp(
        "boxes", objects=12, images=8, ap=ap, ap50=0.9, ap75=ap, ap_interval=(0.1, 1.0), ap50_interval=(0.1, 1.0)
    )
    return replace(NOTHING, average_precisions=(found,))


@pytest.mark.parametrize(
    ("trained", "corrected", "reason"),
    [
        (agreement(0.826), agreement(0.819), "AP against the float model is 0.826 with the trained biases, 0.819 with"),
        (agreement(0.826), NOTHING, "0.826 with the trained biases, nothing with"),
        (agreement(0.278), agreement(0.653), ""),
        (agreement(0.9), agreement(0.9), ""),
        (NOTHING, agreement(0.9), ""),
        (None, None, ""),
    ],
)
def test_a_correction_stays_if_it_is_not_worse(
    trained: Agreement | None, corrected: Agreement | None, reason: str
) -> None:
    """Equal is good enough, and without detections there is nothing to judge by."""
    found = correction_loss(trained, corrected)
    assert reason in found
    assert bool(reason) == bool(found)

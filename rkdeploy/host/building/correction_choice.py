"""Choice between trained and corrected biases, by held-out images in the simulator.

The emulated error of the outputs, by which a correction is accepted first, misleads: it may fall while detections get
worse.  So both models are built and compared with the float model, and the correction stays only if it is not worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rkdeploy.contract.agreement import Agreement

_WORDS: Final = {"ap": "AP", "mean_iou": "mean IoU", "cosine": "mean cosine"}


def correction_loss(trained: Agreement | None, corrected: Agreement | None) -> str:
    """Reason to keep the trained biases, as text; empty if the corrected ones agree with the float model as well.

    Args:
        trained: agreement of the model with its trained biases; None if nothing was compared.
        corrected: agreement of the model with corrected ones, on the same images.
    """
    before = trained.headline if trained is not None else None
    after = corrected.headline if corrected is not None else None
    if before is None or (after is not None and after.value >= before.value):
        return ""
    name = _WORDS.get(before.name, before.name.replace("_", " "))
    reached = "nothing" if after is None else f"{after.value:.3f}"
    return (
        f"{name} against the float model is {before.value:.3f} with the trained biases, {reached} with corrected ones "
        "on the held-out images"
    )

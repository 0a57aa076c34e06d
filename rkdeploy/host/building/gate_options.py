"""Options of the accuracy gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from rkdeploy.datasets.labeled_images import LabeledImages
from rkdeploy.errors import RkdeployError
from rkdeploy.option import ACCURACY, Option


@dataclass(frozen=True, slots=True)
class GateOptions(LabeledImages):
    """Limits of the loss on labeled images.

    Attributes:
        max_drop: largest drop of mAP50-95 (top-1 of classifiers, mean IoU of class maps) from the float model, 0..1.
    """

    max_drop: Annotated[
        float,
        Option(
            "--max-drop",
            "Largest accepted loss of mAP50-95 (top-1, mean IoU) on --data, 0 to 1. A build that loses more fails.",
            ACCURACY,
        ),
    ] = 0.01

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            RkdeployError: naming the option.
        """
        if not 0 <= self.max_drop <= 1:
            raise RkdeployError(f"--max-drop is {self.max_drop}, expected a number from 0 to 1, such as 0.01.")

"""Choice of the labeled images that accuracy is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rkdeploy.option import ACCURACY, Option


@dataclass(frozen=True, slots=True)
class LabeledImages:
    """A choice of labeled images.

    Attributes:
        data: see `rkdeploy.datasets.open_data`.
        split: of a data.yaml.
        labels: folder of the label files; None as the data says.
        limit: most images; None takes all.
    """

    data: Annotated[
        Path,
        Option(
            "--data",
            "Labeled images to measure accuracy on: a data.yaml, a COCO .json, a folder or a label file.",
            ACCURACY,
            often=True,
        ),
    ]
    split: Annotated[str, Option("--data-split", "Split of a data.yaml: train, val or test.", ACCURACY)] = "val"
    labels: Annotated[
        str | None,
        Option(
            "--data-labels",
            "Folder of the label files, next to images.",
            ACCURACY,
            metavar="FOLDER",
            default="what the data.yaml says, or labels",
        ),
    ] = None
    limit: Annotated[
        int | None,
        Option(
            "--data-count", "Maximum number of labeled images, always the same ones.", ACCURACY, low=1, default="all"
        ),
    ] = None

"""Options for a network's input and classes that the file may not describe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rkdeploy.contract.spec import ColorOrder, Fit
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.embedding_presets import VectorTask
from rkdeploy.host.building.presets import PresetName
from rkdeploy.option import INPUT, TRIPLE, Option


@dataclass(frozen=True, slots=True)
class InputChoice:
    """Choices that replace the family's or the file's values; None keeps them.

    Attributes:
        mean, std: per channel, in pixel values 0..255, in the network's channel order.
        color: channel order of the network.
        fit: how an image is brought to the network's size.
        crop_fraction: of a center crop.
        preset: the trainer whose demo prepares images as this network takes them, if the graph does not say it.
        task: meaning of a vector of numbers: scores of classes, or an embedding.
        names: a data.yaml, or a text file with one class name per line.
        characters: a text file with one character per line, of a text recognizer.
    """

    names: Annotated[
        Path | None,
        Option("--names", "Class names of a file without any: a data.yaml, or a text file with one per line.", INPUT),
    ] = None
    mean: Annotated[
        tuple[float, float, float] | None,
        Option(
            "--mean",
            "Per-channel mean of the training images, 0 to 255, in the network's channel order.",
            INPUT,
            form=TRIPLE,
            default="the family's",
        ),
    ] = None
    std: Annotated[
        tuple[float, float, float] | None,
        Option("--std", "Per-channel standard deviation, like --mean.", INPUT, form=TRIPLE, default="the family's"),
    ] = None
    color: Annotated[
        ColorOrder | None, Option("--color", "Channel order of the network's input.", INPUT, default="the family's")
    ] = None
    fit: Annotated[
        Fit | None,
        Option("--fit", "How an image is brought to the network's size.", INPUT, default="the family's"),
    ] = None
    crop_fraction: Annotated[
        float | None,
        Option(
            "--crop", "Center crop as a share of the shorter side: 224 of 256 is 0.875.", INPUT, default="the family's"
        ),
    ] = None

    preset: Annotated[
        PresetName | None,
        Option(
            "--preset",
            "Whose model it is, if its file does not say how images are prepared.",
            INPUT,
        ),
    ] = None
    task: Annotated[
        VectorTask | None,
        Option("--task", "Meaning of a vector of numbers, if the file does not say it.", INPUT),
    ] = None

    characters: Annotated[
        Path | None,
        Option(
            "--characters",
            "Characters of a text recognizer whose file does not name them: a text file with one per line.",
            INPUT,
        ),
    ] = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            RkdeployError: naming the option.
        """
        if self.std is not None and not all(value > 0 for value in self.std):
            raise RkdeployError(f"--std is {self.std}, expected three numbers above 0, in pixel values 0 to 255.")
        if self.crop_fraction is not None and not 0 < self.crop_fraction <= 1:
            raise RkdeployError(f"--crop is {self.crop_fraction}, expected a number above 0 and at most 1.")

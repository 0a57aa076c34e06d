"""Facts of a detector that its graph does not contain, by the name of its training package: `--preset`.

A graph does not show how images are prepared, nor from which point of a cell boxes are measured.  Each preset follows
the input of the training package's own demo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from rkdeploy.contract.spec import InputSpec, PointFormula
from rkdeploy.errors import GraphError
from rkdeploy.host.families.imagenet import IMAGENET_MEAN, IMAGENET_STD
from rkdeploy.host.graph.head import Head

_WHOLE = (0.0, 0.0, 0.0)
_UNIT = (1.0, 1.0, 1.0)
_IMAGENET_BGR = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


PresetName = Literal["yolox", "yolox-legacy", "nanodet", "nanodet-plus", "picodet", "yunet"]


@dataclass(frozen=True, slots=True)
class Preset:
    """Preparation of images in one training package's demo.

    Attributes:
        family: family of the heads that it fits.
        says: a few words for messages.
        image: the input, but for its name and size.
        offset: of a cell's point, in cells: see `PointFormula`.
    """

    family: str
    says: str
    image: InputSpec
    offset: float


def _input(mean: tuple[float, float, float], std: tuple[float, float, float], **others: object) -> InputSpec:
    return replace(InputSpec("images", 1, 1, mean=mean, std=std), **others)  # type: ignore[arg-type]  # by keyword


PRESETS: Final[Mapping[PresetName, Preset]] = {
    "yolox": Preset(
        "yolox",
        "BGR from 0 to 255, letterboxed into the top left corner",
        _input(_WHOLE, _UNIT, color="bgr", place="top_left"),
        0.0,
    ),
    "yolox-legacy": Preset(
        "yolox",
        "as --legacy of YOLOX's demo: RGB, ImageNet's mean and deviation",
        _input(IMAGENET_MEAN, IMAGENET_STD, place="top_left"),
        0.0,
    ),
    "nanodet": Preset(
        "nanodet",
        "NanoDet: BGR, ImageNet's mean and deviation, letterboxed on black, boxes from the cells' middle",
        _input(*_IMAGENET_BGR, color="bgr", pad_value=0),
        0.5,
    ),
    "nanodet-plus": Preset(
        "nanodet",
        "NanoDet-Plus: BGR, ImageNet's mean and deviation, stretched, boxes from the cells' corner",
        _input(*_IMAGENET_BGR, color="bgr", fit="stretch"),
        0.0,
    ),
    "picodet": Preset(
        "nanodet",
        "PicoDet: RGB, ImageNet's mean and deviation, stretched, boxes from the cells' middle",
        _input(IMAGENET_MEAN, IMAGENET_STD, fit="stretch"),
        0.5,
    ),
    "yunet": Preset(
        "yunet",
        "BGR from 0 to 255, letterboxed into the top left corner, on black",
        _input(_WHOLE, _UNIT, color="bgr", place="top_left", pad_value=0),
        0.0,
    ),
}


def fitting(kind: str) -> tuple[PresetName, ...]:
    """Names of the presets that a kind of head takes."""
    return tuple(name for name, preset in PRESETS.items() if preset.family == kind)


def with_preset(image: InputSpec, head: Head, name: PresetName | None) -> tuple[InputSpec, Head]:
    """Input and head as the preset says; both as they are for a head that takes none, and no name.

    Args:
        image: the input, for its name and size.
        head: the head.
        name: of the preset, as the user gave it.

    Raises:
        GraphError: when the head needs a preset and none was given, or takes another one, or none.
    """
    names = fitting(head.kind)
    if not names and name is None:
        return image, head
    if not names:
        raise GraphError("The model's head takes no preset: its kind says how it is read.", "Leave out --preset.")
    if name is None:
        raise GraphError(
            f"The model has the head of {head.kind}, and its file does not say how its images are prepared.",
            "Say it: " + "; ".join(f"--preset {each} ({PRESETS[each].says})" for each in names) + ".",
        )
    preset = PRESETS[name]
    if name not in names:
        raise GraphError(
            f"--preset {name} is of {preset.family}, but the model has the head of {head.kind}.",
            f"Presets that fit: {', '.join(names)}.",
        )
    points = replace(head.points or PointFormula(), offset=preset.offset)
    chosen = replace(preset.image, name=image.name, height=image.height, width=image.width)
    return chosen, replace(head, points=points)

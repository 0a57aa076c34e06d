"""Options that several commands share: the model, its input, the calibration images, the labeled images."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rkdeploy.host.building.input_choice import InputChoice

INPUT: Final = "Input"
QUANTIZATION: Final = "Quantization"
GRAPH: Final = "Graph"
ACCURACY: Final = "Accuracy"
LABELED: Final = "Data"
OUTPUT: Final = "Output"
"""Headings of --help."""

_LABELS_HELP: Final = "Folder of the label files, beside images. Default: what the data.yaml says, or labels."
_COUNT_HELP: Final = "Labeled images at most, always the same. Default: all."


class Color(str, Enum):
    """Channel orders of the network's input."""

    rgb = "rgb"
    bgr = "bgr"


class Fit(str, Enum):
    """Ways to bring an image to the network's size."""

    letterbox = "letterbox"
    center_crop = "center_crop"
    stretch = "stretch"


class Stem(str, Enum):
    """Forms of the first layer."""

    space_to_depth = "space_to_depth"
    slices = "slices"
    convolution = "convolution"
    stripes = "stripes"
    trained = "trained"


ModelArgument = Annotated[Path, typer.Argument(help="best.pt, or an ONNX file exported from it.", show_default=False)]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        help="With an ONNX file: the .pt it came from (anchors, names).", rich_help_panel=INPUT, show_default=False
    ),
]
AnchorsOption = Annotated[
    str | None,
    typer.Option(
        help="With an ONNX file that ends in raw anchor maps, in place of --weights: the anchors in pixels, finest "
        "level first (10,13,16,30,...), a file with them, or the yaml of the training's model.",
        metavar="W,H,W,H,...",
        rich_help_panel=INPUT,
        show_default=False,
    ),
]
TargetOption = Annotated[
    str, typer.Option(help="SoC: rk3588, rk3576, rk3568, ... or one of their families, such as rk3588s.")
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="Name of the bundle, before target and type. Default: the model file's, or its training run's.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
CfgOption = Annotated[
    Path | None,
    typer.Option(
        help="With weights that come without their model (YOLOR's main branch): the darknet cfg.",
        rich_help_panel=INPUT,
        show_default=False,
    ),
]
ImgszOption = Annotated[
    str | None,
    typer.Option(
        help="Network input: 640, or width x height (640x384). Default: the training size.",
        metavar="WxH",
        rich_help_panel=INPUT,
        show_default=False,
    ),
]
NamesOption = Annotated[
    Path | None,
    typer.Option(
        help="Class names for an ONNX file without: a data.yaml, or text with one a line.",
        rich_help_panel=INPUT,
        show_default=False,
    ),
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        help="Mean of the training images a channel, in 0 to 255, in the network's channel order.",
        metavar="R,G,B",
        rich_help_panel=INPUT,
        show_default=False,
    ),
]
StdOption = Annotated[
    str | None,
    typer.Option(help="Their deviation, likewise.", metavar="R,G,B", rich_help_panel=INPUT, show_default=False),
]
ColorOption = Annotated[
    Color | None,
    typer.Option(help="Channel order, where it is not the family's.", rich_help_panel=INPUT, show_default=False),
]
FitOption = Annotated[
    Fit | None,
    typer.Option(
        help="How an image is brought to size, where not the family's way.", rich_help_panel=INPUT, show_default=False
    ),
]
CropOption = Annotated[
    float | None,
    typer.Option(
        help="Center crop over the shorter side: 224 out of 256 is 0.875.", rich_help_panel=INPUT, show_default=False
    ),
]
CalibOption = Annotated[
    Path | None,
    typer.Option(
        help="Calibration images: a folder, a list file or a data.yaml. Default: ./calib_data.",
        rich_help_panel=QUANTIZATION,
        show_default=False,
    ),
]
CalibCountOption = Annotated[int, typer.Option(help="Calibration images at most.", rich_help_panel=QUANTIZATION)]
CalibSeedOption = Annotated[int, typer.Option(help="Seed of the choice of images.", rich_help_panel=QUANTIZATION)]
StemOption = Annotated[
    Stem,
    typer.Option(help="How a Focus or 6x6 first layer is written; the values are equal.", rich_help_panel=GRAPH),
]
NmsOption = Annotated[
    bool | None,
    typer.Option(
        "--nms/--no-nms",
        help="YOLOv10, YOLO26: the head that needs suppression, or the one that does not. Default: the trainer's.",
        rich_help_panel=GRAPH,
        show_default=False,
    ),
]
DataSplitOption = Annotated[str, typer.Option(help="Split of --data.", rich_help_panel=ACCURACY)]
DataLabelsOption = Annotated[
    str | None,
    typer.Option(
        help=_LABELS_HELP,
        rich_help_panel=ACCURACY,
        show_default=False,
    ),
]
DataCountOption = Annotated[
    int | None,
    typer.Option(
        help=_COUNT_HELP,
        min=1,
        rich_help_panel=ACCURACY,
        show_default=False,
    ),
]

# Of commands that need labeled images, where nothing else has the short names.
SplitOption = Annotated[
    str,
    typer.Option("--split", "--data-split", help="Of a data.yaml: train, val, test.", rich_help_panel=LABELED),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        "--labels",
        "--data-labels",
        help=_LABELS_HELP,
        rich_help_panel=LABELED,
        show_default=False,
    ),
]
CountOption = Annotated[
    int | None,
    typer.Option(
        "--count",
        "--data-count",
        help=_COUNT_HELP,
        min=1,
        rich_help_panel=LABELED,
        show_default=False,
    ),
]


def input_choice(
    names: Path | None, mean: str | None, std: str | None, color: Color | None, fit: Fit | None, crop: float | None
) -> InputChoice:
    """What a user says of the network's input and classes."""
    from rkdeploy.host.building.input_choice import InputChoice

    return InputChoice(
        mean=_triple(mean, "--mean"),
        std=_triple(std, "--std"),
        color=color.value if color else None,
        fit=fit.value if fit else None,
        crop_fraction=crop,
        names=names,
    )


def _triple(text: str | None, option: str) -> tuple[float, float, float] | None:
    """Three numbers with commas between them."""
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 3 or not all(abs(v) <= 1e6 for v in values):
        raise typer.BadParameter(f'"{text}" is not three numbers, such as 123.675,116.28,103.53.', param_hint=option)
    return values[0], values[1], values[2]

"""Facts about maps of the whole image that their graph does not contain, by the name of the training package.

A graph shows neither how images are prepared, nor whether one value per pixel is a depth, a mask or areas of
text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from rkdeploy.contract.class_names import BACKGROUND, is_background
from rkdeploy.contract.formulas import AreaFormula, ClassMapSpec, DepthKind
from rkdeploy.contract.spec import InputSpec, Task
from rkdeploy.errors import GraphError
from rkdeploy.host.families.imagenet import IMAGENET_MEAN, IMAGENET_STD
from rkdeploy.host.graph.head import DecodedTensor, Head
from rkdeploy.host.graph.head_kinds import AREA_MAPS, AREAS, DEPTH, MASK, PLANE, PLANES, SEMANTIC

MapPresetName = Literal[
    "imagenet", "deeplab", "ppseg", "bisenet", "unet", "mask", "depth-anything", "depth-anything-metric", "midas",
    "dpt", "ppocr-det",
]  # fmt: skip
MAP_KINDS: Final = frozenset({PLANES, PLANE, MASK, AREA_MAPS})
_HALF = (127.5, 127.5, 127.5)
_BISENET = (83.05, 94.10, 82.19), (53.86, 54.77, 53.93)
FOREGROUND: Final = "foreground"
TEXT: Final = "text"
_ULTRALYTICS: Final[Mapping[Task, DepthKind | None]] = {"semantic": None, "depth": "metric"}


@dataclass(frozen=True, slots=True)
class MapPreset:
    """Preparation of images in one training package's demo, and the meaning of its map.

    Attributes:
        kinds: kinds of heads that it fits.
        says: a few words for messages.
        image: the input, but for its name and size.
        depth: kind of depth; None for other maps.
        areas: formula of areas of text; None for other maps.
    """

    kinds: tuple[str, ...]
    says: str
    image: InputSpec
    depth: DepthKind | None = None
    areas: AreaFormula | None = None


def _stretched(
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    std: tuple[float, float, float] = (255.0, 255.0, 255.0),
    *,
    antialias: bool = False,
) -> InputSpec:
    return InputSpec("images", 1, 1, mean=mean, std=std, fit="stretch", antialias=antialias)


_IMAGENET = _stretched(IMAGENET_MEAN, IMAGENET_STD)
_DEPTHS = (PLANE,)
_PADDLE = replace(_IMAGENET, color="bgr", fit="letterbox", antialias=True, place="top_left", pad_value=0)
"""PaddleOCR's detectors read BGR and take ImageNet's figures in the order of RGB from it.  Sides keep their proportion,
and small images are padded with black below and to the right (ppocr/data/imaug/operators.py, `DetResizeForTest`).
"""
MAP_PRESETS: Final[Mapping[str, MapPreset]] = {
    "imagenet": MapPreset(
        (PLANES,),
        "torchvision's segmentations: RGB, ImageNet's mean and deviation, stretched with antialiasing",
        _stretched(IMAGENET_MEAN, IMAGENET_STD, antialias=True),
    ),
    "deeplab": MapPreset(
        (PLANES,),
        "DeepLab of TensorFlow and rknn_model_zoo, PaddleSeg: RGB, (pixel - 127.5) / 127.5, stretched",
        _stretched(_HALF, _HALF),
    ),
    "ppseg": MapPreset(
        (PLANES,), "PP-LiteSeg of rknn_model_zoo: RGB, ImageNet's mean and deviation, stretched", _IMAGENET
    ),
    "bisenet": MapPreset(
        (PLANES,), "CoinCheung's BiSeNet: RGB, the mean and deviation of Cityscapes, stretched", _stretched(*_BISENET)
    ),
    "unet": MapPreset((PLANES,), "Pytorch-UNet: RGB from 0 to 1, stretched", _stretched()),
    "mask": MapPreset((PLANE, MASK), "one class and the background: RGB from 0 to 1, stretched", _stretched()),
    "depth-anything": MapPreset(
        _DEPTHS, "relative inverse depth: RGB, ImageNet's mean and deviation, stretched", _IMAGENET, "inverse"
    ),
    "depth-anything-metric": MapPreset(_DEPTHS, "the same in meters", _IMAGENET, "metric"),
    "midas": MapPreset(
        _DEPTHS, "MiDaS v2.1 and small: relative inverse depth, prepared alike", _IMAGENET, "inverse"
    ),
    "dpt": MapPreset(
        _DEPTHS, "DPT of MiDaS 3: relative inverse depth, (pixel - 127.5) / 127.5", _stretched(_HALF, _HALF), "inverse"
    ),
    "ppocr-det": MapPreset(
        (PLANE, MASK, AREA_MAPS),
        "areas of text by PP-OCR's detectors (DB): BGR, ImageNet's mean and deviation, letterboxed into the top left "
        "corner, on black",
        _PADDLE,
        areas=AreaFormula(),
    ),
}  # fmt: skip


_UNSAID: Final[Mapping[str, tuple[str, str]]] = {
    PLANES: ("a class for each pixel", "how its images are prepared"),
    PLANE: ("one value for each pixel", "whether that is a depth, a mask or areas of text"),
    AREA_MAPS: ("areas of text (the three maps of a DB head)", "how its images are prepared"),
    MASK: ("one probability for each pixel", "whether that is a mask or areas of text"),
}
"""Kinds of heads: what a model gives, and what its file does not say."""


def fitting_maps(kind: str) -> tuple[str, ...]:
    """Names of the presets that a kind of map takes."""
    return tuple(name for name, preset in MAP_PRESETS.items() if kind in preset.kinds)


def with_map_preset(image: InputSpec, head: Head, name: str | None, *, prepared: bool) -> tuple[InputSpec, Head]:
    """Input and head of a map as the preset says.

    Args:
        image: the input, for its name and size.
        head: of one of `MAP_KINDS`.
        name: of the preset, as the user gave it.
        prepared: whether the user gave mean and deviation, which is enough for classes.

    Raises:
        GraphError: when a preset is needed and none was given, or another one.
    """
    if name is None and prepared and head.kind == PLANES:
        return replace(image, fit="stretch", antialias=False), replace(head, kind="")
    names = fitting_maps(head.kind)
    listed = "; ".join(f"--preset {each} ({MAP_PRESETS[each].says})" for each in names)
    if name is None:
        given, what = _UNSAID[head.kind]
        more = " Or give --mean and --std." if head.kind == PLANES else ""
        raise GraphError(f"The model gives {given}, and its file does not say {what}.", f"Say it: {listed}.{more}")
    if name not in names:
        raise GraphError(f"--preset {name} does not fit a model of this map.", f"Presets that fit: {', '.join(names)}.")
    preset = MAP_PRESETS[name]
    chosen = replace(preset.image, name=image.name, height=image.height, width=image.width)
    return chosen, _with_meaning(head, preset.depth, preset.areas)


def with_ultralytics_map(image: InputSpec, head: Head, task: Task) -> tuple[InputSpec, Head]:
    """Input and head of a map that Ultralytics' exporter wrote: its metadata say the task, and so the preparation."""
    depth = _ULTRALYTICS[task]
    found = _with_meaning(head, depth)
    return (image if depth is None else replace(image, fit="stretch", antialias=False)), found


def _with_meaning(head: Head, depth: DepthKind | None, areas: AreaFormula | None = None) -> Head:
    """The head as a depth of this kind, as areas of text, or as a class map."""
    (tap,), formula = head.taps, head.depth
    if areas is not None:
        return _with_areas(head, areas)
    if depth is not None and formula is not None:
        return replace(head, depth=replace(formula, kind=depth), kind="")
    if tap.role == "class_map":
        return replace(head, kind="")
    corners = formula is not None and formula.corners
    return replace(
        head,
        taps=(replace(tap, role="class_map", name=SEMANTIC),),
        tensors=tuple(replace(tensor, tap=SEMANTIC) for tensor in head.tensors),
        depth=None,
        class_maps=(ClassMapSpec(SEMANTIC, (BACKGROUND, FOREGROUND), corners=corners),),
        kind="",
    )


def _with_areas(head: Head, areas: AreaFormula) -> Head:
    """The head of one value per pixel as areas of text.

    The sigmoid stays in the NPU's part: logits reach into the hundreds, and an 8-bit scale over them would leave one or
    two steps for all probabilities between 0.01 and 0.99.
    """
    (tap,), (decoded,) = head.taps, head.tensors
    named = replace(tap, tensor=decoded.output, role="area_map", name=AREAS, activation="sigmoid")
    tensors = (DecodedTensor(AREAS, decoded.output, "linear"),)
    return replace(head, taps=(named,), tensors=tensors, depth=None, areas=areas, kind="")


def map_task(head: Head) -> Task:
    """The task of a model that gives a map only."""
    if head.areas is not None:
        return "text_areas"
    if head.kind == MASK:
        return "semantic"
    return "depth" if head.depth is not None else "semantic"


def with_map_names(head: Head, names: tuple[str, ...]) -> tuple[Head, tuple[str, ...]]:
    """The head with the names of its map's classes, and the names of the contract.

    Args:
        head: of a semantic or depth model, or of one that finds areas of text.
        names: as the file or the user gives them; of a mask that of its class alone.
    """
    if head.areas is not None:
        return head, (TEXT if names == ("class_0",) else names[0],)
    if head.depth is not None:
        return replace(head, depth=head.depth), (DEPTH,)
    (stated,) = head.class_maps
    if len(names) == 1:
        names = (BACKGROUND, FOREGROUND if names[0] == "class_0" else names[0])
    return replace(head, class_maps=(replace(stated, class_names=names, background=is_background(names[0])),)), names

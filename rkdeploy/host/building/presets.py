"""Facts of a detector that its graph does not contain, by the name of its training package: `--preset`.

A graph does not show how images are prepared, nor from which point of a cell boxes are measured.  Each preset follows
the input of the training package's own demo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from rkdeploy.contract.formulas import PointFormula, PriorFormula
from rkdeploy.contract.spec import Anchors, InputSpec
from rkdeploy.errors import GraphError
from rkdeploy.host.building.embedding_presets import EMBEDDING_PRESETS, EmbeddingPresetName
from rkdeploy.host.building.map_presets import MAP_KINDS, MapPresetName, with_map_preset
from rkdeploy.host.families import torchvision_ssd, yolo_fastest
from rkdeploy.host.families.imagenet import IMAGENET_MEAN, IMAGENET_STD
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.head_kinds import FASTEST, SHARED, UNPREPARED

_WHOLE = (0.0, 0.0, 0.0)
_UNIT = (1.0, 1.0, 1.0)
_CAFFE_BGR = (104.0, 117.0, 123.0)
_FACE = ("face",)
_BYTE = (255.0, 255.0, 255.0)
_IMAGENET_BGR = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)

TextPresetName = Literal["lprnet", "plate-crnn", "ppocr", "ppocr-zoo", "crnn", "ctc", "ctc-blank-last"]
DetectorPresetName = Literal[
    "yolox", "yolox-legacy", "nanodet", "nanodet-plus", "picodet", "ppyoloe", "ppyoloe-plus", "yolo-nas", "damo-yolo",
    "rtmdet", "rtmdet-pixels", "rtmdet-exp", "yunet", "retinaface", "retinaface-1mb", "ultraface", "ssd",
    "torchvision-ssd", "scrfd", "rtdetr", "rfdetr", "yolo-fastestv2", "fastestdet",
]  # fmt: skip
PresetName = Literal[DetectorPresetName, MapPresetName, EmbeddingPresetName, TextPresetName]


@dataclass(frozen=True, slots=True)
class Preset:
    """Preparation of images in one training package's demo.

    Attributes:
        family: whose it is.
        kinds: kinds of heads that it fits.
        says: a few words for messages.
        image: the input, but for its name and size.
        offset: of a cell's point, in cells, where the graph does not show it: see `PointFormula`.
        distance: what is done to four raw distances, where the graph does not show it.
        anchors: sides of SSD's square anchors on each level, finest first, in pixels, of each form of the network; for
            graphs that do not decode their boxes.
        whole_cells: the cells of each level divide the input evenly, and anchors are clipped to it.
        names: of the classes, where the training package has one set.
        anchor_sizes: width and height of the anchors of each level, finest first, in pixels, as the training package
            has them for COCO; for graphs that do not decode their boxes.
    """

    family: str
    kinds: tuple[str, ...]
    says: str
    image: InputSpec
    offset: float
    distance: Literal["linear", "exp", "relu", "pixels"] = "linear"
    anchors: tuple[tuple[tuple[float, ...], ...], ...] = ()
    whole_cells: bool = False
    names: tuple[str, ...] = ()
    anchor_sizes: tuple[tuple[tuple[float, float], ...], ...] = ()


KIND_NAMES: Final[Mapping[str, str]] = {
    "yolox": "yolox",
    "nanodet": "nanodet or picodet",
    "picodet": "picodet",
    "dfl17": "ppyoloe, yolo-nas or damo-yolo",
    "rtmdet": "rtmdet",
    "yunet": "yunet",
    "retinaface": "retinaface",
    "ssd": "ssd",
    "scrfd": "scrfd",
    SHARED: "yolo-fastestv2",
    FASTEST: "fastestdet",
    UNPREPARED: "queries (RT-DETR, D-FINE or RF-DETR)",
}
"""Kinds of heads that presets fit, as messages name them."""
_POINTS = {0.0: "corner", 0.5: "middle"}


def _input(mean: tuple[float, float, float], std: tuple[float, float, float], **others: object) -> InputSpec:
    return replace(InputSpec("images", 1, 1, mean=mean, std=std), **others)  # type: ignore[arg-type]  # by keyword


PRESETS: Final[Mapping[str, Preset]] = {
    "yolox": Preset(
        "yolox",
        ("yolox",),
        "BGR from 0 to 255, letterboxed into the top left corner",
        _input(_WHOLE, _UNIT, color="bgr", place="top_left"),
        0.0,
    ),
    "yolox-legacy": Preset(
        "yolox",
        ("yolox",),
        "as --legacy of YOLOX's demo: RGB, ImageNet's mean and deviation",
        _input(IMAGENET_MEAN, IMAGENET_STD, place="top_left"),
        0.0,
    ),
    "nanodet": Preset(
        "nanodet",
        ("nanodet",),
        "NanoDet: BGR, ImageNet's mean and deviation, letterboxed on black, boxes from the cells' middle",
        _input(*_IMAGENET_BGR, color="bgr", pad_value=0),
        0.5,
    ),
    "nanodet-plus": Preset(
        "nanodet",
        ("nanodet",),
        "NanoDet-Plus: BGR, ImageNet's mean and deviation, stretched, boxes from the cells' corner",
        _input(*_IMAGENET_BGR, color="bgr", fit="stretch"),
        0.0,
    ),
    "picodet": Preset(
        "picodet",
        ("picodet", "nanodet"),
        "PicoDet: RGB, ImageNet's mean and deviation, stretched, boxes from the cells' middle",
        _input(IMAGENET_MEAN, IMAGENET_STD, fit="stretch"),
        0.5,
    ),
    "ppyoloe": Preset(
        "ppyoloe",
        ("dfl17",),
        "PP-YOLOE: RGB, ImageNet's mean and deviation, stretched",
        _input(IMAGENET_MEAN, IMAGENET_STD, fit="stretch"),
        0.5,
    ),
    "ppyoloe-plus": Preset(
        "ppyoloe",
        ("dfl17",),
        "PP-YOLOE+: RGB from 0 to 1, stretched",
        _input(_WHOLE, _BYTE, fit="stretch"),
        0.5,
    ),
    "yolo-nas": Preset(
        "yolo-nas",
        ("dfl17",),
        "YOLO-NAS: RGB from 0 to 1, letterboxed",
        _input(_WHOLE, _BYTE),
        0.5,
    ),
    "damo-yolo": Preset(
        "damo-yolo",
        ("dfl17",),
        "DAMO-YOLO: RGB from 0 to 255, stretched, boxes from the cells' corner",
        _input(_WHOLE, _UNIT, fit="stretch"),
        0.0,
    ),
    "rtmdet": Preset(
        "rtmdet",
        ("rtmdet",),
        "RTMDet tiny and s: BGR, ImageNet's mean and deviation, letterboxed into the top left corner",
        _input(*_IMAGENET_BGR, color="bgr", place="top_left"),
        0.0,
    ),
    "rtmdet-pixels": Preset(
        "rtmdet",
        ("rtmdet",),
        "the same, distances in pixels: mmdetection's head whose factors were folded into its convolutions",
        _input(*_IMAGENET_BGR, color="bgr", place="top_left"),
        0.0,
        "pixels",
    ),
    "rtmdet-exp": Preset(
        "rtmdet",
        ("rtmdet",),
        "RTMDet m, l and x: the same, boxes by exp",
        _input(*_IMAGENET_BGR, color="bgr", place="top_left"),
        0.0,
        "exp",
    ),
    "yunet": Preset(
        "yunet",
        ("yunet",),
        "BGR from 0 to 255, letterboxed into the top left corner, on black",
        _input(_WHOLE, _UNIT, color="bgr", place="top_left", pad_value=0),
        0.0,
        names=_FACE,
    ),
    "retinaface": Preset(
        "retinaface",
        ("retinaface",),
        "Pytorch_Retinaface and rknn_model_zoo: BGR less 104, 117, 123, anchors of 16 to 512 pixels",
        _input(_CAFFE_BGR, _UNIT, color="bgr"),
        0.5,
        anchors=(((16.0, 32.0), (64.0, 128.0), (256.0, 512.0)),),
        names=_FACE,
    ),
    "retinaface-1mb": Preset(
        "retinaface",
        ("retinaface",),
        "Face-Detector-1MB-with-landmark: BGR less 104, 117, 123, anchors of 10 to 256 pixels",
        _input(_CAFFE_BGR, _UNIT, color="bgr"),
        0.5,
        anchors=(
            ((10.0, 20.0), (32.0, 64.0), (128.0, 256.0)),
            ((10.0, 16.0, 24.0), (32.0, 48.0), (64.0, 96.0), (128.0, 192.0, 256.0)),
        ),
        names=_FACE,
    ),
    "ultraface": Preset(
        "ultraface",
        ("ssd",),
        "UltraFace (Ultra-Light-Fast-Generic-Face-Detector-1MB): RGB, (pixel - 127) / 128, stretched",
        _input((127.0,) * 3, (128.0,) * 3, fit="stretch"),
        0.5,
        anchors=(((10.0, 16.0, 24.0), (32.0, 48.0), (64.0, 96.0), (128.0, 192.0, 256.0)),),
        whole_cells=True,
        names=_FACE,
    ),
    "ssd": Preset(
        "ssd",
        ("ssd",),
        "an SSD of pytorch-ssd: RGB, (pixel - 127) / 128, stretched",
        _input((127.0,) * 3, (128.0,) * 3, fit="stretch"),
        0.5,
    ),
    "torchvision-ssd": Preset(
        torchvision_ssd.NAME,
        ("ssd",),
        "torchvision's SSDLite320, whose export normalizes its images: RGB from 0 to 1, stretched",
        _input(_WHOLE, _BYTE, fit="stretch", antialias=False),
        0.5,
    ),
    "scrfd": Preset(
        "scrfd",
        ("scrfd",),
        "InsightFace: RGB, (pixel - 127.5) / 128, letterboxed into the top left corner, on black",
        _input((127.5,) * 3, (128.0,) * 3, place="top_left", pad_value=0),
        0.0,
        names=_FACE,
    ),
    "rtdetr": Preset(
        "rtdetr",
        (UNPREPARED,),
        "RT-DETR, RT-DETRv2, D-FINE, DEIM: RGB from 0 to 1, stretched",
        _input(_WHOLE, _BYTE, fit="stretch"),
        0.5,
    ),
    "rfdetr": Preset(
        "rfdetr",
        (UNPREPARED,),
        "RF-DETR, LW-DETR, DEIMv2 on DINOv3: RGB, ImageNet's mean and deviation, stretched",
        _input(IMAGENET_MEAN, IMAGENET_STD, fit="stretch"),
        0.5,
    ),
    "yolo-fastestv2": Preset(
        yolo_fastest.NAME,
        (SHARED,),
        "Yolo-FastestV2: BGR from 0 to 1, stretched; COCO's anchors unless --anchors says others",
        _input(_WHOLE, _BYTE, color="bgr", fit="stretch"),
        0.5,
        anchor_sizes=yolo_fastest.COCO_ANCHORS,
    ),
    "fastestdet": Preset(
        "fastestdet",
        (FASTEST,),
        "FastestDet: BGR from 0 to 1, stretched",
        _input(_WHOLE, _BYTE, color="bgr", fit="stretch"),
        0.0,
    ),
}


def presets_of(kind: str) -> tuple[str, ...]:
    """Names of the presets of a kind of heads."""
    return tuple(name for name, preset in PRESETS.items() if kind in preset.kinds)


def fitting(head: Head) -> tuple[str, ...]:
    """Names of the presets that a head takes: those of its kind that agree with what its graph decodes."""
    return tuple(name for name in presets_of(_kind(head)) if not _refuted(head, PRESETS[name]))


def _kind(head: Head) -> str:
    """Kind of a head; one of raw distances that several families have is of the kind that presets can make it."""
    if head.kind or head.anchors_per_level or head.rows is not None:
        return head.kind
    boxes = next((tap for tap in head.taps if tap.role in ("dfl_boxes", "ltrb_boxes")), None)
    channels = 0 if boxes is None else boxes.shape[1]
    return {68: "dfl17", 4: "rtmdet"}.get(channels, "")


def _refuted(head: Head, preset: Preset) -> str:
    """Contradiction of the graph's own decode to a preset; empty if there is none."""
    shows = head.kind or head.rows is not None
    if head.points is None or head.prior_formula is not None or not shows:
        return ""
    if head.rows is not None and head.points.offset != preset.offset:
        return f"boxes from the cells' {_POINTS[head.points.offset]}, not their {_POINTS[preset.offset]}"
    shown = "linear" if head.points.distance == "pixels" else head.points.distance
    if shown != preset.distance:
        return f'"{shown}" distances, not "{preset.distance}" ones'
    return ""


def with_preset(image: InputSpec, head: Head, name: str | None, *, prepared: bool = False) -> tuple[InputSpec, Head]:
    """Input and head as the preset says; both as they are for a head that needs none, and no name.

    Args:
        image: the input, for its name and size.
        head: the head.
        name: of the preset, as the user gave it.
        prepared: whether the user gave mean and deviation, which is enough for a semantic model.

    Raises:
        GraphError: when the head needs a preset and none was given, or takes another one, or none.
    """
    if head.kind in MAP_KINDS:
        return with_map_preset(image, head, name, prepared=prepared)
    if name is not None and name not in PRESETS:
        what = "a vector" if name in EMBEDDING_PRESETS else "a map"
        raise GraphError(f"--preset {name} is of {what} of the whole image, which the model does not give.")
    names = fitting(head)
    if name is None and head.kind and names:
        raise GraphError(
            f"The model has the head of {KIND_NAMES[head.kind]}, and its file does not say how its images are "
            "prepared.",
            "Say it: " + "; ".join(f"--preset {each} ({PRESETS[each].says})" for each in names) + ".",
        )
    if name is None:
        return image, head
    if not names:
        raise GraphError("The model's head takes no preset: its kind says how it is read.", "Leave out --preset.")
    preset = PRESETS[name]
    if name not in names:
        refuted = _refuted(head, preset) if _kind(head) in preset.kinds else ""
        found = f"decodes {refuted}" if refuted else f"has the head of {KIND_NAMES[_kind(head)]}"
        raise GraphError(
            f"--preset {name} is of {preset.family}, but the model {found}.", f"Presets that fit: {', '.join(names)}."
        )
    chosen = replace(preset.image, name=image.name, height=image.height, width=image.width)
    if head.kind == UNPREPARED:
        return chosen, head  # it has no cells
    if head.kind == FASTEST:
        return chosen, replace(head, anchors=Anchors((((float(image.width), float(image.height)),),)))
    if head.kind == SHARED:
        return chosen, head if head.anchors is not None else _with_sizes(head, name, preset)
    if head.prior_formula is not None:
        return chosen, head if head.anchors is not None else _with_anchors(head, name, preset, chosen)
    distance = head.points.distance if head.points is not None else preset.distance
    points = replace(head.points or PointFormula(), offset=preset.offset, distance=distance)
    return chosen, replace(head, points=points)


def _with_sizes(head: Head, name: str, preset: Preset) -> Head:
    """A head that decodes no boxes, with the anchors that the preset has for COCO.

    Raises:
        GraphError: when it has other levels.
    """
    strides = {tap.stride for tap in head.taps}
    if len(strides) != len(preset.anchor_sizes):
        raise GraphError(
            f"The head has {len(strides)} levels, --preset {name} has anchors of {len(preset.anchor_sizes)}.",
            "Give the anchors of this model with --anchors.",
        )
    return replace(head, anchors=Anchors(preset.anchor_sizes))


def _with_anchors(head: Head, name: str, preset: Preset, image: InputSpec) -> Head:
    """A head that decodes no boxes, with the preset's anchors.

    Raises:
        GraphError: when it has none for this number of anchors per level.
    """
    boxes = [tap for tap in head.taps if tap.role == "prior_boxes"]
    counts = tuple(tap.shape[1] // 4 for tap in boxes)
    for levels in preset.anchors:
        if tuple(len(sides) for sides in levels) != counts:
            continue
        if not preset.whole_cells:
            return replace(head, anchors=Anchors(tuple(tuple((side, side) for side in sides) for sides in levels)))
        width, height = float(image.width), float(image.height)
        clipped = tuple(tuple((min(side, width), min(side, height)) for side in sides) for sides in levels)
        steps = tuple((width / tap.shape[3], height / tap.shape[2]) for tap in boxes)
        formula = replace(head.prior_formula or PriorFormula(), steps_px=steps)
        return replace(head, anchors=Anchors(clipped), prior_formula=formula)
    listed = ", ".join(str(count) for count in counts)
    raise GraphError(
        f"The graph does not decode its boxes and has {listed} anchors on its levels, unknown to --preset {name}.",
        "Export it with its decode, or with the levels and anchors of the training package.",
    )

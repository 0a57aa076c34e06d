"""Peculiarities of each family's own validator: figures can only be compared if these agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from rkdeploy.contract.spec import ModelSpec

Tail = Literal["sloped", "cut"]
"""Course of a curve behind the last prediction: a straight line to recall 1 (`sloped`: YOLOv5, YOLOR, ultralytics up to
April 2026; this raises the figures) or an immediate fall (`cut`: ultralytics since then, for example 8.4.60).
"""


@dataclass(frozen=True, slots=True)
class Validator:
    """One validator.

    Attributes:
        name: its usual name.
        iou: threshold of non-maximum suppression.
        tail: end of its precision-recall curves.
        clips_boxes: True if boxes are clipped at the image's edge before they are compared with labels.
    """

    name: str
    iou: float
    tail: Tail
    clips_boxes: bool


_YOLOV5: Final = Validator("YOLOv5's val.py", 0.6, "sloped", clips_boxes=True)
_ULTRALYTICS: Final = Validator("ultralytics' validator (8.4.60 and later)", 0.7, "cut", clips_boxes=False)
_OF_FAMILY: Final = {
    "yolov5": _YOLOV5,
    "yolor": Validator("YOLOR's test.py", 0.65, "sloped", clips_boxes=True),
    "yolop": _YOLOV5,
    # its curves end 0.01 behind the last point, almost `cut`
    "yolov7": Validator("YOLOv7's test.py", 0.65, "cut", clips_boxes=True),
    "yolov9": Validator("YOLOv9's val.py", 0.7, "sloped", clips_boxes=True),
}


def validator_of(spec: ModelSpec) -> Validator:
    """The validator of a model's family; ultralytics' for families without a known one."""
    return _OF_FAMILY.get(spec.family, _ULTRALYTICS)

"""Limits of the detections to keep: confidence (overall and per class), overlap and count."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.errors import RkdeployError

DEFAULT_CONFIDENCE = 0.25
DEFAULT_IOU = 0.45
DEFAULT_MAX_DET = 1000


def default_confidence(spec: ModelSpec) -> float:
    """The confidence threshold where the user gives none: 0.25, for areas of text the contract's."""
    return DEFAULT_CONFIDENCE if spec.areas is None else spec.areas.box_threshold


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits of one run.  The defaults are those of YOLOv5's detect.py (v7.0).

    Attributes:
        confidence: a detection is kept when its score is greater than this, 0..1.
        per_class: class id -> confidence that replaces the overall one for that class.
        iou: a box is dropped when it overlaps a better one of its class by more than this, 0..1.
        max_det: largest number of detections per image.
        max_nms: number of best candidates that go into non-maximum suppression.

    Raises:
        RkdeployError: for a value out of its range.
    """

    confidence: float = DEFAULT_CONFIDENCE
    per_class: Mapping[int, float] = field(default_factory=dict)
    iou: float = DEFAULT_IOU
    max_det: int = DEFAULT_MAX_DET
    max_nms: int = 30_000

    def __post_init__(self) -> None:
        _require_fraction("The confidence threshold", self.confidence)
        _require_fraction("The IoU threshold", self.iou)
        for class_id, confidence in self.per_class.items():
            _require_fraction(f"The confidence threshold of class {class_id}", confidence)
        for name, count in (("max_det", self.max_det), ("max_nms", self.max_nms)):
            if count < 1:
                raise RkdeployError(f"{name} is {count}, expected 1 or more.")

    def of_classes(self, class_count: int) -> NDArray[np.float32]:
        """The confidence threshold of every class, (class_count,) float32.

        Raises:
            RkdeployError: when `per_class` names a class that the model does not have.
        """
        confidences = np.full(class_count, self.confidence, np.float32)
        for class_id, confidence in self.per_class.items():
            if not 0 <= class_id < class_count:
                raise RkdeployError(
                    f"A confidence threshold is set for class {class_id}, but the model has {class_count} classes "
                    f"(0 to {class_count - 1})."
                )
            confidences[class_id] = confidence
        return confidences

    def only(self, wanted: Iterable[int], class_count: int) -> Thresholds:
        """The same limits for some classes, and 1, which no score exceeds, for the others.

        Args:
            wanted: ids of the classes that are kept.
            class_count: number of classes of the model.
        """
        kept = set(wanted)
        per_class = {i: self.per_class.get(i, self.confidence) if i in kept else 1.0 for i in range(class_count)}
        return replace(self, per_class=per_class)

    @classmethod
    def from_options(
        cls,
        options: Iterable[str],
        class_names: Sequence[str],
        *,
        iou: float = DEFAULT_IOU,
        max_det: int = DEFAULT_MAX_DET,
        default: float = DEFAULT_CONFIDENCE,
    ) -> Thresholds:
        """Parse confidence thresholds from the command line.

        Args:
            options: `0.25` for all classes and `person=0.4` for one, in any order.  The text after the last `=` is
                the number, so a class name may contain `=`.
            class_names: the contract's class names.
            iou: see the class.
            max_det: see the class.
            default: overall threshold where `options` has none.

        Raises:
            RkdeployError: for an unknown class name, text that is not a number, a number out of range, or a class given
                twice.
        """
        overall: float | None = None
        per_class: dict[int, float] = {}
        for option in options:
            name, separator, number = option.rpartition("=")
            confidence = _fraction_from_text(number, option)
            if not separator:
                if overall is not None:
                    raise RkdeployError(
                        f'The overall confidence threshold is given twice, the second time as "{option}".'
                    )
                overall = confidence
                continue
            for class_id in class_ids_of(name.strip(), class_names):
                if class_id in per_class:
                    raise RkdeployError(f'The confidence threshold of class "{name.strip()}" is given twice.')
                per_class[class_id] = confidence
        return cls(
            confidence=default if overall is None else overall,
            per_class=per_class,
            iou=iou,
            max_det=max_det,
        )


def class_ids_of(named: str | int, class_names: Sequence[str]) -> list[int]:
    """The ids of a class: several where the model carries one name on more than one id.

    Args:
        named: a name, or an id.
        class_names: the contract's class names.

    Raises:
        RkdeployError: when the model has no such class.
    """
    if isinstance(named, str):
        ids = [class_id for class_id, known in enumerate(class_names) if known == named]
        if not ids:
            raise _unknown_class(named, class_names)
        return ids
    if not 0 <= named < len(class_names):
        raise RkdeployError(
            f"Class {named} does not exist: the model has {len(class_names)} classes (0 to {len(class_names) - 1})."
        )
    return [named]


def chosen_class_ids(words: Iterable[str], class_names: Sequence[str]) -> list[int]:
    """The ids of classes that are given as words, each by its name or else by its id.

    Args:
        words: of the command line.
        class_names: the contract's class names.

    Raises:
        RkdeployError: when the model has no such class.
    """
    named = [int(word) if word.isdecimal() and word not in class_names else word for word in words]
    return [class_id for one in named for class_id in class_ids_of(one, class_names)]


def _require_fraction(what: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:  # False for NaN too
        raise RkdeployError(f"{what} is {value}, expected a number from 0 to 1.")


def _fraction_from_text(number: str, option: str) -> float:
    try:
        value = float(number)
    except ValueError:
        raise RkdeployError(
            f'The confidence threshold "{option}" does not end in a number.', "Write 0.25 or NAME=0.25."
        ) from None
    _require_fraction(f'The confidence threshold "{option}"', value)
    return value


def _unknown_class(name: str, class_names: Sequence[str]) -> RkdeployError:
    by_folded_name = {known.casefold(): known for known in class_names}
    close = [by_folded_name[folded] for folded in difflib.get_close_matches(name.casefold(), by_folded_name, n=3)]
    if close:
        hint = "Did you mean " + " or ".join(f'"{match}"' for match in close) + "?"
    elif len(class_names) <= 20:
        hint = f"The model's classes are: {', '.join(class_names)}."
    else:
        hint = f"The model has {len(class_names)} classes, among them {', '.join(class_names[:10])}."
    return RkdeployError(f'The model has no class "{name}".', hint)

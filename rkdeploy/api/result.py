"""Results for one image, in the field's vocabulary: `xyxy`, `confidence`, `class_id`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.detections import Detections, InstanceMask

if TYPE_CHECKING:
    import supervision as sv

    from rkdeploy.api.ultralytics_style import UltralyticsResult


@dataclass(frozen=True, slots=True)
class Box:
    """One detected object.

    Attributes:
        xyxy: x1, y1, x2, y2 in pixels of the image.
        confidence: 0..1.
        class_id: index into `Result.names`.
        class_name: name of the class.
    """

    xyxy: tuple[float, float, float, float]
    confidence: float
    class_id: int
    class_name: str


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The detected objects, highest confidence first.  Its length is their number; iterating gives a `Box` each.

    Attributes:
        xyxy: (N, 4) float32, x1, y1, x2, y2 in pixels of the image, clipped to it.  For rotated boxes the smallest
            upright box around each.
        confidence: (N,) float32, 0..1.
        class_id: (N,) int32, index into `Result.names`.
        class_name: (N,) names.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    class_name: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.confidence)

    def __iter__(self) -> Iterator[Box]:
        corners, confidences, ids = self.xyxy.tolist(), self.confidence.tolist(), self.class_id.tolist()
        for (x1, y1, x2, y2), confidence, class_id, name in zip(
            corners, confidences, ids, self.class_name, strict=True
        ):
            yield Box((x1, y1, x2, y2), confidence, class_id, name)


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """The keypoints of each object.

    Attributes:
        xy: (N, K, 2) float32, pixels of the image, clipped to it.
        confidence: (N, K) float32, visibility 0..1; 1 where the model gives none.
    """

    xy: NDArray[np.float32]
    confidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """The pixels of each object.  Indexing or iterating gives (H, W) bool arrays of the image's size.

    Attributes:
        crops: each object's mask within its own rectangle; what is outside of it does not belong to the object.
        image_hw: height and width of the image in pixels.
    """

    crops: tuple[InstanceMask, ...]
    image_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> NDArray[np.bool_]:
        return _full_size(self.crops[index], self.image_hw)

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (_full_size(crop, self.image_hw) for crop in self.crops)

    def stacked(self) -> NDArray[np.bool_]:
        """All masks as one (N, H, W) bool array."""
        full = np.zeros((len(self.crops), *self.image_hw), np.bool_)
        for mask, crop in zip(full, self.crops, strict=True):
            _paste(mask, crop)
        return full


@dataclass(frozen=True, slots=True, eq=False)
class RotatedBoxes:
    """The oriented boxes of the objects.

    Attributes:
        xywhr: (N, 5) float32: center x, center y, width, height in pixels of the image, and the angle in radians from
            the x axis toward the y axis.  Not clipped.
    """

    xywhr: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xywhr)

    @property
    def corners(self) -> NDArray[np.float32]:
        """(N, 4, 2) float32: the corners in pixels of the image, in order around the box."""
        return corners_of(self.xywhr)


@dataclass(frozen=True, slots=True, eq=False)
class ClassMap:
    """The class of every pixel, such as drivable area or lane lines.

    Attributes:
        name: of the map, for example `drivable_area`.
        names: class names by class id; 0 is the background.
        class_id: (H, W) uint8, of the image's size.
    """

    name: str
    names: tuple[str, ...]
    class_id: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ClassRanking:
    """A classifier's answer for the whole image, most likely class first.

    Attributes:
        class_id: (K,) int32.
        confidence: (K,) float32, probabilities.
        class_name: (K,) names.
    """

    class_id: NDArray[np.int32]
    confidence: NDArray[np.float32]
    class_name: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Results of a model for one image.  All coordinates are pixels of that image, x to the right, y down.

    Attributes:
        frame: (H, W, 3) uint8 BGR, the image.
        names: the model's class names by class id.
        source: path of the image file, or the name of the video, camera or stream; empty for an array.
        index: running number of the frame in its source, from 0.
        time: seconds since the source began; None where there is no such thing.
        origin: position of its source among those of the stream, from 0.
        detections: what was found, as the commands handle it.
    """

    frame: NDArray[np.uint8]
    names: tuple[str, ...]
    detections: Detections
    source: str = ""
    index: int = 0
    time: float | None = None
    origin: int = 0

    def __len__(self) -> int:
        """Number of detected objects."""
        return len(self.detections)

    def __repr__(self) -> str:
        height, width = self.frame.shape[:2]
        found = ", ".join(f"{count} {name}" for name, count in self.counts().items()) or "nothing"
        return f"<Result of {self.source or 'an array'}, {width}x{height}: {found}>"

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.frame.shape[0], self.frame.shape[1]

    @property
    def boxes(self) -> Boxes:
        """The detected objects; none for a classifier or a model that gives class maps only."""
        found = self.detections
        return Boxes(found.xyxy, found.scores, found.class_ids, _named(self.names, found.class_ids))

    @property
    def keypoints(self) -> Keypoints | None:
        """Keypoints per object, in the order of `boxes`; None for models without."""
        points = self.detections.keypoints
        return None if points is None else Keypoints(points[..., :2], points[..., 2])

    @property
    def masks(self) -> Masks | None:
        """A mask per object, in the order of `boxes`; None for models without."""
        masks = self.detections.masks
        return None if masks is None else Masks(masks, self.image_hw)

    @property
    def obb(self) -> RotatedBoxes | None:
        """An oriented box per object, in the order of `boxes`; None for models without."""
        rotated = self.detections.rotated
        return None if rotated is None else RotatedBoxes(rotated)

    @property
    def class_maps(self) -> tuple[ClassMap, ...]:
        """The class maps of the whole image; empty for models without."""
        return tuple(ClassMap(m.name, m.class_names, m.class_ids) for m in self.detections.class_maps)

    @property
    def ranking(self) -> ClassRanking | None:
        """A classifier's answer; None for other models."""
        ranking = self.detections.ranking
        if ranking is None:
            return None
        return ClassRanking(ranking.class_ids, ranking.scores, _named(self.names, ranking.class_ids))

    def counts(self) -> dict[str, int]:
        """Number of objects per class name, of the classes that were found."""
        ids, counts = np.unique(self.detections.class_ids, return_counts=True)
        named: dict[str, int] = {}
        for name, count in zip(_named(self.names, ids), counts.tolist(), strict=True):
            named[name] = named.get(name, 0) + count  # a model may carry one name on two class ids
        return named

    def plot(self) -> NDArray[np.uint8]:
        """A copy of the image, (H, W, 3) uint8 BGR, with everything that was found drawn on it as `run` draws it."""
        from rkdeploy.device.drawing import draw_detections

        return draw_detections(self.frame, self.detections, self.names)

    def save(self, path: str | Path) -> Path:
        """Write `plot()` to an image file; the ending of its name chooses the format.

        Raises:
            RkdeployError: when the ending is not that of an image, or the file cannot be written.
        """
        from rkdeploy.device.stream.sinks.images import write_image

        target = Path(path)
        write_image(target, self.plot())
        return target

    def to_dict(self, *, map_masks: bool = False) -> dict[str, Any]:
        """Plain data, the object that `rkdeploy run --jsonl` writes for a frame.

        Args:
            map_masks: whether class maps come with the pixels of each class as COCO run lengths, not only their share.
        """
        from rkdeploy.device.stream.result_json import result_object

        return result_object(self.source, self.index, self.image_hw, self.detections, self.names, map_masks=map_masks)

    def to_json(self, *, map_masks: bool = False) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(map_masks=map_masks), ensure_ascii=False, allow_nan=False)

    def to_supervision(self) -> sv.Detections:
        """The objects as `supervision.Detections`, for its trackers, zones and annotators.

        `class_name` is in its `data`, the corners of oriented boxes too (`xyxyxyxy`).  Keypoints are another class
        there: `to_supervision_keypoints`.

        Raises:
            RkdeployError: when supervision is not installed.
        """
        from rkdeploy.api.supervision_style import supervision_detections

        return supervision_detections(self)

    def to_supervision_keypoints(self) -> sv.KeyPoints:
        """The keypoints as `supervision.KeyPoints`.

        Raises:
            RkdeployError: when supervision is not installed, or the model has no keypoints.
        """
        from rkdeploy.api.supervision_style import supervision_keypoints

        return supervision_keypoints(self)

    def to_ultralytics(self) -> UltralyticsResult:
        """A view with the attributes of Ultralytics' `Results`, on NumPy arrays, for programs that expect them."""
        from rkdeploy.api.ultralytics_style import UltralyticsResult

        return UltralyticsResult(self)


def _named(names: Sequence[str], class_ids: NDArray[Any]) -> tuple[str, ...]:
    return tuple(names[i] for i in class_ids.tolist())


def _full_size(crop: InstanceMask, image_hw: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(image_hw, np.bool_)
    _paste(mask, crop)
    return mask


def _paste(mask: NDArray[np.bool_], crop: InstanceMask) -> None:
    height, width = crop.pixels.shape
    mask[crop.top : crop.top + height, crop.left : crop.left + width] = crop.pixels

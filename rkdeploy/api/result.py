"""Results for one image, in the field's vocabulary: `xyxy`, `confidence`, `class_id`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.api.model_answer import ModelAnswer, ResultParts

if TYPE_CHECKING:
    import supervision as sv

    from rkdeploy.api.ultralytics_style import UltralyticsResult
    from rkdeploy.device.stream.frames import CaptureTime
    from rkdeploy.device.tracking.found_tracks import Crossing, LineCount, ZoneCount


@dataclass(frozen=True, slots=True, eq=False)
class Result(ModelAnswer):
    """Results of a model for one image.  All coordinates are pixels of that image, x to the right, y down.

    Attributes:
        content: the image as an array, or as a picture of a video; `frame` is the array.
        names: the model's class names by class id.
        source: path of the image file, or the name of the video, camera or stream; empty for an array.
        index: running number of the frame in its source, from 0.
        time: seconds since the source began; None where there is no such thing.
        origin: position of its source among those of the stream, from 0.
        captured: when the frame was read, in UTC and on the monotonic clock; None for a single image.
        detections: what was found, as the commands handle it.
    """

    source: str = ""
    index: int = 0
    time: float | None = None
    origin: int = 0
    captured: CaptureTime | None = None

    def __repr__(self) -> str:
        height, width = self.image_hw
        found = ", ".join(f"{count} {name}" for name, count in self.counts().items()) or "nothing"
        if self.detections.text is not None:
            found = repr(self.detections.text.text)
        return f"<Result of {self.source or 'an array'}, {width}x{height}: {found}>"

    @property
    def lines(self) -> tuple[LineCount, ...]:
        """Crossings of each line up to this frame: `name`, `entered` and `left` by class id; empty without lines."""
        tracks = self.detections.tracks
        return () if tracks is None else tracks.lines

    @property
    def zones(self) -> tuple[ZoneCount, ...]:
        """Tracks in each zone: `name`; `inside`, `entered`, `left`, `visits` by class id; `mean_s` and `longest_s` of
        the stays in seconds.  Empty without zones.
        """
        tracks = self.detections.tracks
        return () if tracks is None else tracks.zones

    @property
    def crossings(self) -> tuple[Crossing, ...]:
        """Crossings of lines in this frame: `line`, `direction` (`in` or `out`), `track_id`, `class_id`."""
        tracks = self.detections.tracks
        return () if tracks is None else tracks.crossings

    @property
    def parts(self) -> ResultParts:
        """All of them, for other programs' forms."""
        return ResultParts(self.boxes, self.keypoints, self.masks, self.obb, self.ranking)

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

    def to_dict(self, *, map_masks: bool = False, embeddings: bool = True) -> dict[str, Any]:
        """Plain data, the object that `rkdeploy run --jsonl` writes for a frame.

        Args:
            map_masks: whether class maps come with the pixels of each class as COCO run lengths, not only their share.
            embeddings: whether embeddings are written.
        """
        from rkdeploy.device.stream.result_json import result_object

        return result_object(
            self.source,
            self.index,
            self.image_hw,
            self.detections,
            self.names,
            captured=self.captured,
            position_ms=None if self.time is None else self.time * 1e3,
            map_masks=map_masks,
            embeddings=embeddings,
        )

    def to_json(self, *, map_masks: bool = False) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(map_masks=map_masks), ensure_ascii=False, allow_nan=False)

    def to_supervision(self) -> sv.Detections:
        """The objects as `supervision.Detections`, for its trackers, zones and annotators.

        `class_name` is in its `data`, the corners of oriented boxes too (`xyxyxyxy`).  Keypoints are another class
        there: `to_supervision_keypoints`.  With tracking, `tracker_id` has the ids, -1 for objects without one.

        Raises:
            RkdeployError: when supervision is not installed.
        """
        from rkdeploy.api.supervision_style import supervision_detections

        return supervision_detections(self.parts)

    def to_supervision_keypoints(self) -> sv.KeyPoints:
        """The keypoints as `supervision.KeyPoints`.

        Raises:
            RkdeployError: when supervision is not installed, or the model has no keypoints.
        """
        from rkdeploy.api.supervision_style import supervision_keypoints

        return supervision_keypoints(self.parts)

    def to_ultralytics(self) -> UltralyticsResult:
        """A view with the attributes of Ultralytics' `Results`, on NumPy arrays, for programs that expect them.

        With tracking, `boxes.id` and `obb.id` are the ids, and objects without one are left out, as there.
        """
        from rkdeploy.api.ultralytics_style import UltralyticsResult

        tracks = self.detections.tracks
        shown = self if tracks is None else replace(self, detections=self.detections.where(tracks.ids > 0))
        return UltralyticsResult(self.frame, self.names, self.source, shown.parts, self.plot)

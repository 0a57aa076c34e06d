"""Results with the attributes of Ultralytics' `Results`, on NumPy arrays and without PyTorch.

Programs written for `model.predict(...)[0]` read them as they are: `result.boxes.xyxy`, `.conf`, `.cls`,
`.cpu().numpy()`, `result.names[int(cls)]`, `result.keypoints.xy`, `result.masks.data`, `result.obb.xywhr`,
`result.probs.top1`.  Masks are of the image's size, not of the network's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self

    from rkdeploy.api.model_answer import ResultParts
    from rkdeploy.api.result_parts import ClassRanking


class TensorLike(np.ndarray[Any, np.dtype[Any]]):
    """An array that also answers to the methods of a PyTorch tensor that programs call on results."""

    def cpu(self) -> Self:
        """The array itself: it is in main memory."""
        return self

    def detach(self) -> Self:
        """The array itself: there is no gradient."""
        return self

    def numpy(self) -> NDArray[Any]:
        """The values as a plain NumPy array, not copied."""
        return self.view(np.ndarray)

    def numel(self) -> int:
        """Number of values."""
        return self.size

    def int(self) -> TensorLike:
        """The values as int32."""
        return tensor_like(self.astype(np.int32))

    def float(self) -> TensorLike:
        """The values as float32."""
        return tensor_like(self.astype(np.float32))


def tensor_like(values: NDArray[Any]) -> TensorLike:
    """A view of an array with a tensor's methods."""
    return values.view(TensorLike)


class _Rows:
    """Per-object arrays that are indexed and counted together.

    Args:
        data: (N, ...) values, one row per object.
        image_hw: height and width of the image in pixels.
    """

    def __init__(self, data: NDArray[Any], image_hw: tuple[int, int]) -> None:
        self.data = tensor_like(data)
        self.orig_shape = image_hw

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int | slice | NDArray[Any]) -> Self:
        picked = self.data[[index]] if isinstance(index, (int, np.integer)) else self.data[index]
        return type(self)(picked, self.orig_shape)

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `data`."""
        return self.data.shape

    def cpu(self) -> Self:
        """The object itself: its arrays are in main memory."""
        return self

    def numpy(self) -> Self:
        """The object itself: its arrays are NumPy's."""
        return self


class _Tracked(_Rows):
    """Rows of a geometry, the track's id where objects are tracked, confidence and class."""

    _geometry = 0

    @property
    def is_track(self) -> bool:
        """True where objects are tracked."""
        return self.data.shape[1] == self._geometry + 3

    @property
    def id(self) -> TensorLike | None:
        """(N,) ids as float32; None where objects are not tracked."""
        return tensor_like(self.data[:, -3]) if self.is_track else None

    @property
    def conf(self) -> TensorLike:
        """(N,) confidence, 0..1."""
        return tensor_like(self.data[:, -2])

    @property
    def cls(self) -> TensorLike:
        """(N,) class ids as float32."""
        return tensor_like(self.data[:, -1])


class BoxesView(_Tracked):
    """`results.boxes`: `data` (N, 6) float32 holds x1, y1, x2, y2, confidence, class; (N, 7) with tracking, the id
    behind the corners.
    """

    _geometry = 4

    @property
    def xyxy(self) -> TensorLike:
        """(N, 4) corners in pixels."""
        return tensor_like(self.data[:, :4])

    @property
    def xywh(self) -> TensorLike:
        """(N, 4) center x, center y, width, height in pixels."""
        return tensor_like(_xywh(self.xyxy))

    @property
    def xyxyn(self) -> TensorLike:
        """(N, 4) corners as shares of the image's width and height."""
        return tensor_like(np.asarray(self.xyxy / _wh(self.orig_shape, 2)))

    @property
    def xywhn(self) -> TensorLike:
        """(N, 4) center and size as shares of the image's width and height."""
        return tensor_like(np.asarray(self.xywh / _wh(self.orig_shape, 2)))


class KeypointsView(_Rows):
    """`results.keypoints`: `data` (N, K, 3) float32 holds x, y in pixels and the visibility 0..1."""

    has_visible = True

    @property
    def xy(self) -> TensorLike:
        """(N, K, 2) pixels."""
        return tensor_like(self.data[..., :2])

    @property
    def xyn(self) -> TensorLike:
        """(N, K, 2) shares of the image's width and height."""
        return tensor_like(np.asarray(self.xy / _wh(self.orig_shape, 1)))

    @property
    def conf(self) -> TensorLike:
        """(N, K) visibility, 0..1."""
        return tensor_like(self.data[..., 2])


class MasksView(_Rows):
    """`results.masks`: `data` (N, H, W) float32, 1 on the object, of the image's own size."""

    @property
    def xy(self) -> list[NDArray[np.float32]]:
        """Per object the outline of its largest part, (P, 2) pixels."""
        return [_outline(mask) for mask in self.data]

    @property
    def xyn(self) -> list[NDArray[np.float32]]:
        """Per object the outline as shares of the image's width and height."""
        return [np.asarray(points / _wh(self.orig_shape, 1), np.float32) for points in self.xy]


class ObbView(_Tracked):
    """`results.obb`: `data` (N, 7) float32 holds center x, y, width, height, angle in radians, confidence, class;
    (N, 8) with tracking, the id behind the angle.
    """

    _geometry = 5

    @property
    def xywhr(self) -> TensorLike:
        """(N, 5) center, size in pixels and angle in radians."""
        return tensor_like(self.data[:, :5])

    @property
    def xyxyxyxy(self) -> TensorLike:
        """(N, 4, 2) corners in pixels."""
        from rkdeploy.device.postprocess.corners import corners_of

        return tensor_like(corners_of(self.xywhr.numpy()))

    @property
    def xyxy(self) -> TensorLike:
        """(N, 4) upright boxes around the corners, in pixels."""
        corners = self.xyxyxyxy.numpy()
        return tensor_like(np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1).reshape(-1, 4))


class ProbsView:
    """`results.probs` of a classifier.

    Attributes:
        data: (number of classes,) float32; 0 for classes that the ranking does not hold.
        orig_shape: None, as there.
    """

    orig_shape = None

    def __init__(self, ranking: ClassRanking, class_count: int) -> None:
        data = np.zeros(class_count, np.float32)
        data[ranking.class_id] = ranking.confidence
        self.data = tensor_like(data)
        self._ranked = ranking

    @property
    def top1(self) -> int:
        """Class id of the most likely class."""
        return int(self._ranked.class_id[0])

    @property
    def top5(self) -> list[int]:
        """Class ids of the five most likely classes."""
        return [int(i) for i in self._ranked.class_id[:5]]

    @property
    def top1conf(self) -> TensorLike:
        """Probability of the most likely class, () float32."""
        return tensor_like(self._ranked.confidence[:1].reshape(()))

    @property
    def top5conf(self) -> TensorLike:
        """Probabilities of the five most likely classes, (5,) float32."""
        return tensor_like(self._ranked.confidence[:5])


class UltralyticsResult:
    """One image's results with Ultralytics' attribute names.

    Args:
        frame: (H, W, 3) uint8 BGR.
        names: class names by class id.
        source: of the image.
        parts: what was found.
        plot: draws it.

    Attributes:
        orig_img: (H, W, 3) uint8 BGR.
        orig_shape: height and width in pixels.
        path: the image's source.
        names: class names by class id.
        boxes, keypoints, masks, obb, probs: None where the model has none; `boxes` is None for oriented boxes and for
            classifiers.
    """

    def __init__(
        self,
        frame: NDArray[np.uint8],
        names: Sequence[str],
        source: str,
        parts: ResultParts,
        plot: Callable[[], NDArray[np.uint8]],
    ) -> None:
        self._count, self._plot = len(parts.boxes), plot
        self.orig_img = frame
        self.orig_shape = hw = (frame.shape[0], frame.shape[1])
        self.path = source
        self.names = dict(enumerate(names))
        boxes, obb, points, masks = parts.boxes, parts.obb, parts.keypoints, parts.masks
        ids = () if boxes.track_id is None else (boxes.track_id,)
        columns = (*ids, boxes.confidence, boxes.class_id)
        scored = np.column_stack(columns).astype(np.float32).reshape(-1, len(columns))
        self.obb = None if obb is None else ObbView(np.concatenate((obb.xywhr, scored), axis=1), hw)
        self.probs = None if parts.ranking is None else ProbsView(parts.ranking, len(names))
        has_boxes = self.obb is None and self.probs is None
        self.boxes = BoxesView(np.concatenate((boxes.xyxy, scored), axis=1), hw) if has_boxes else None
        self.keypoints = (
            None if points is None else KeypointsView(np.concatenate((points.xy, points.confidence[..., None]), 2), hw)
        )
        # As there: no object, no masks.
        self.masks = MasksView(masks.stacked().astype(np.float32), hw) if masks is not None and len(masks) else None

    def __len__(self) -> int:
        return self._count

    def plot(self) -> NDArray[np.uint8]:
        """The image with everything drawn, (H, W, 3) uint8 BGR."""
        return self._plot()

    def cpu(self) -> Self:
        """The object itself: its arrays are in main memory."""
        return self

    def numpy(self) -> Self:
        """The object itself: its arrays are NumPy's."""
        return self


def _xywh(xyxy: NDArray[Any]) -> NDArray[np.float32]:
    corners = np.asarray(xyxy, np.float32)
    return np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), axis=1)


def _wh(image_hw: tuple[int, int], times: int) -> NDArray[np.float32]:
    return np.array(image_hw[::-1] * times, np.float32)


def _outline(mask: NDArray[Any]) -> NDArray[np.float32]:
    contours, _ = cv2.findContours(np.ascontiguousarray(mask > 0, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(contours, key=cv2.contourArea, default=None)
    return np.zeros((0, 2), np.float32) if largest is None else np.asarray(largest, np.float32).reshape(-1, 2)

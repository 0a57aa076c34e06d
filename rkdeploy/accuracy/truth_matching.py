"""Matching of predictions with labeled objects, by the rules of COCO's own tool (pycocotools).

The tool measures the overlap of boxes and masks and the similarity of keypoints, and matches them, image by image and
class by class: in descending order of score each prediction takes the free object that it overlaps most, if by enough.
It does not support rotated boxes; for these it is given the overlap of ultralytics' validator (`probiou`), for areas of
text the intersection over union of their outlines, as PaddleOCR measures.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from rkdeploy.accuracy.quad_overlaps import box_overlaps
from rkdeploy.datasets.truth import DataError, RunLengths
from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.rotated import probiou
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rkdeploy.accuracy.predictions import ImagePrediction
    from rkdeploy.datasets.truth import Truth

Kind = Literal["boxes", "rotated boxes", "text areas", "keypoints", "masks"]

IOU_THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS: Final = 300
_IMAGES_AT_ONCE: Final = 64
"""Images per batch: the tool keeps a dictionary per prediction, and this bounds its memory."""
_TOOL_KINDS: Final[dict[Kind, str]] = {
    "boxes": "bbox",
    "rotated boxes": "bbox",
    "text areas": "bbox",
    "keypoints": "keypoints",
    "masks": "segm",
}
# pycocotools, cocoeval.py: constants of the 17 keypoints of a person.
_PERSON_SIGMAS: Final = (
    np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float64) / 1000
)


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """All predictions of one class, best score first.

    Attributes:
        scores: (N,) float64.
        hits: (T, N) bool, True if the prediction found an object, at each of `IOU_THRESHOLDS`.
        counts: (T, N) bool, False for those in a crowd region, which are neither right nor wrong.
        truths: number of objects to be found.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    truths: int

    def at(self, overlap: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Scores and hits of the predictions that count at the threshold of this index."""
        counts = self.counts[overlap]
        return self.scores[counts], self.hits[overlap][counts]


@dataclass(slots=True)
class _Gathered:
    """Matches of one class, image by image."""

    scores: list[NDArray[np.float64]]
    hits: list[NDArray[np.bool_]]
    ignored: list[NDArray[np.bool_]]
    truths: int = 0


def match_all(
    kind: Kind, images: Iterable[tuple[Truth, ImagePrediction]], class_count: int, keypoints: int = 0
) -> tuple[ClassMatches, ...]:
    """Match the predictions of all images.

    Args:
        kind: what is compared.
        images: labeled objects and predictions of each image.
        class_count: classes of the model.
        keypoints: keypoints per object.

    Returns:
        One entry per class.

    Raises:
        RkdeployError: when pycocotools is not installed.
        DataError: when a labeled mask is damaged.
    """
    gathered: dict[int, _Gathered] = defaultdict(lambda: _Gathered([], [], []))
    chunk: list[tuple[Truth, ImagePrediction]] = []
    for pair in images:
        chunk.append(pair)
        if len(chunk) == _IMAGES_AT_ONCE:
            _match_some(kind, chunk, gathered, keypoints)
            chunk = []
    if chunk:
        _match_some(kind, chunk, gathered, keypoints)
    return tuple(_joined(gathered[class_id]) for class_id in range(class_count))


def keypoint_sigmas(count: int) -> NDArray[np.float64]:
    """Labeling precision of each keypoint: COCO's for a person's 17, 1 / count for others, as in ultralytics."""
    return _PERSON_SIGMAS if count == len(_PERSON_SIGMAS) else np.full(count, 1.0 / count)


def _joined(found: _Gathered) -> ClassMatches:
    count = len(IOU_THRESHOLDS)
    scores = np.concatenate([np.zeros(0), *found.scores])
    hits = np.concatenate([np.zeros((count, 0), np.bool_), *found.hits], axis=1)
    counts = ~np.concatenate([np.zeros((count, 0), np.bool_), *found.ignored], axis=1)
    order = np.argsort(-scores, kind="stable")
    return ClassMatches(scores[order], hits[:, order], counts[:, order], found.truths)


def _match_some(
    kind: Kind, images: list[tuple[Truth, ImagePrediction]], gathered: dict[int, _Gathered], keypoints: int
) -> None:
    truths, predictions = _annotations(kind, images)
    classes = sorted({a["category_id"] for a in (*truths, *predictions)})
    if not classes:
        return
    sizes = [{"id": i, "height": p.source_hw[0], "width": p.source_hw[1]} for i, (_, p) in enumerate(images)]
    for one in _evaluated(kind, sizes, truths, predictions, classes, keypoints):
        if one is None:
            continue
        found = gathered[one["category_id"]]
        found.truths += int((one["gtIgnore"] == 0).sum())
        found.scores.append(np.array(one["dtScores"], np.float64))
        found.hits.append(np.asarray(one["dtMatches"] > 0) & ~one["dtIgnore"])
        found.ignored.append(np.asarray(one["dtIgnore"], np.bool_))


def _annotations(
    kind: Kind, images: list[tuple[Truth, ImagePrediction]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Labeled objects and predictions in the tool's format.  Ids begin at 1: the tool takes 0 for none."""
    truths: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for image_id, (truth, found) in enumerate(images):
        size = list(found.source_hw)
        for i, box in enumerate(_xywh(truth.xyxy)):
            one: dict[str, Any] = {
                "id": len(truths) + 1,
                "image_id": image_id,
                "category_id": int(truth.class_ids[i]),
                "bbox": box,
                "area": float(truth.areas[i]),
                "iscrowd": int(truth.crowd[i]),
            }
            if kind == "keypoints" and truth.keypoints is not None:
                one["keypoints"] = truth.keypoints[i].ravel().tolist()
                one["num_keypoints"] = int((truth.keypoints[i, :, 2] > 0).sum())
            if kind == "rotated boxes" and truth.rotated is not None:
                one["rotated"] = truth.rotated[i]
            if kind == "text areas":
                one["outline"] = _outline_of(truth, i)
            if kind == "masks" and truth.outlines is not None:
                outline = truth.outlines[i]
                one["segmentation"] = (
                    {"size": list(outline.size_hw), "counts": outline.counts}
                    if isinstance(outline, RunLengths)
                    else outline
                )
            truths.append(one)
        for i, box in enumerate(_xywh(found.xyxy.astype(np.float64))):
            one = {
                "id": len(predictions) + 1,
                "image_id": image_id,
                "category_id": int(found.class_ids[i]),
                "bbox": box,
                "area": box[2] * box[3],
                "score": float(found.scores[i]),
            }
            if kind == "keypoints" and found.keypoints is not None:
                one["keypoints"] = found.keypoints[i].ravel().tolist()
            if kind in ("rotated boxes", "text areas") and found.rotated is not None:
                one["rotated"] = found.rotated[i]
            if kind == "masks" and found.masks is not None:
                one["segmentation"] = {"size": size, "counts": found.masks[i]}
            predictions.append(one)
    return truths, predictions


def _xywh(xyxy: NDArray[np.float64]) -> list[list[float]]:
    boxes = xyxy.copy()
    boxes[:, 2:] -= boxes[:, :2]
    found: list[list[float]] = boxes.tolist()
    return found


def _evaluated(
    kind: Kind,
    sizes: list[dict[str, Any]],
    truths: list[dict[str, Any]],
    predictions: list[dict[str, Any]],
    classes: list[int],
    keypoints: int,
) -> list[dict[str, Any] | None]:
    """Results of the tool, one per class and image; None without any."""
    coco, cocoeval = _tool()
    categories = [{"id": class_id, "name": str(class_id)} for class_id in classes]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        sides = []
        for annotations in (truths, predictions):
            side = coco.COCO()
            side.dataset = {"images": sizes, "annotations": annotations, "categories": categories}
            side.createIndex()
            sides.append(side)
        tool = cocoeval.COCOeval(*sides, iouType=_TOOL_KINDS[kind])
        tool.params.iouThrs = IOU_THRESHOLDS
        tool.params.maxDets = [MAX_DETECTIONS]
        tool.params.areaRng = [[0, float("inf")]]
        tool.params.areaRngLbl = ["all"]
        if kind == "keypoints":
            tool.params.kpt_oks_sigmas = keypoint_sigmas(keypoints)
        if kind == "rotated boxes":
            tool.computeIoU = _rotated_overlaps(tool)
        if kind == "text areas":
            tool.computeIoU = _area_overlaps(tool)
        try:
            tool.evaluate()
        except (ValueError, TypeError) as error:  # raised by its mask code for run lengths that do not fit the image
            raise DataError(f"A labeled mask cannot be read: {error}.") from error
    results: list[dict[str, Any] | None] = tool.evalImgs
    return results


def _rotated_overlaps(tool: Any) -> Callable[[int, int], NDArray[np.float64] | list[Any]]:
    """Function with which the tool gets the overlaps of one image and class: (predictions by score, objects)."""

    def overlaps(image_id: int, class_id: int) -> NDArray[np.float64] | list[Any]:
        truths, found = tool._gts[image_id, class_id], tool._dts[image_id, class_id]  # noqa: SLF001  (its own hook)
        if not truths or not found:
            return []
        order = np.argsort([-one["score"] for one in found], kind="stable")[:MAX_DETECTIONS]
        a = np.array([found[i]["rotated"] for i in order], np.float32).T
        b = np.array([one["rotated"] for one in truths], np.float32).T
        pairs = probiou(np.repeat(a, b.shape[1], axis=1), np.tile(b, (1, a.shape[1])))
        return np.asarray(np.nan_to_num(pairs), np.float64).reshape(a.shape[1], b.shape[1])

    return overlaps


def _outline_of(truth: Truth, index: int) -> NDArray[np.float64]:
    """Outline of a labeled area, (P, 2): as it was drawn, or the corners of its rotated box."""
    outline = truth.outlines[index] if truth.outlines is not None else None
    if outline is not None and not isinstance(outline, RunLengths):
        return np.array(outline[0], np.float64).reshape(-1, 2)
    assert truth.rotated is not None, "areas have outlines or rotated boxes"
    return np.asarray(corners_of(truth.rotated[index : index + 1])[0], np.float64)


def _area_overlaps(tool: Any) -> Callable[[int, int], NDArray[np.float64] | list[Any]]:
    """As `_rotated_overlaps`, by intersection over union."""

    def overlaps(image_id: int, class_id: int) -> NDArray[np.float64] | list[Any]:
        truths, found = tool._gts[image_id, class_id], tool._dts[image_id, class_id]  # noqa: SLF001  (its own hook)
        if not truths or not found:
            return []
        order = np.argsort([-one["score"] for one in found], kind="stable")[:MAX_DETECTIONS]
        boxes = corners_of(np.array([found[i]["rotated"] for i in order], np.float32))
        crowd = np.array([one["iscrowd"] for one in truths], np.bool_)
        return box_overlaps(list(boxes), [one["outline"] for one in truths], crowd)

    return overlaps


def _tool() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pycocotools.coco"), importlib.import_module("pycocotools.cocoeval")
    except ImportError as error:
        raise RkdeployError(
            f'Measuring accuracy needs the package "pycocotools", which cannot be imported: {error}.',
            'Install it with: pip install "rkdeploy[eval]"',
        ) from error


def require_tool() -> None:
    """Check that pycocotools is installed, before the work begins.

    Raises:
        RkdeployError: when it is not.
    """
    _tool()

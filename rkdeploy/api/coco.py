"""Results as COCO JSON, which FiftyOne, CVAT, Label Studio and pycocotools read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rkdeploy.api.result import Result
from rkdeploy.images.coco_rle import rle_counts


def to_coco(results: Iterable[Result]) -> dict[str, Any]:
    """A COCO data set of what was found: `images`, `annotations` with a `score` each, `categories`.

    Category ids are the model's class ids plus 1, as COCO counts from 1.  Boxes are x, y, width, height in pixels,
    masks run lengths as pycocotools writes them, keypoints x, y, v with v 2 where the visibility is above 0.5, else 1.

    Args:
        results: of one model, in any order; `file_name` is each one's source, with the frame's index where a source
            gives more than one frame.

    Returns:
        Plain data for `json.dump`; FiftyOne takes it as `COCODetectionDataset`, pycocotools' `COCO.loadRes` takes the
        list `annotations`.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    names: tuple[str, ...] = ()
    for image_id, result in enumerate(results, 1):
        height, width = result.image_hw
        names = result.names
        images.append(
            {"id": image_id, "file_name": result.source, "frame": result.index, "width": width, "height": height}
        )
        for found in _annotations(result):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **found})
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotations(result: Result) -> Iterable[dict[str, Any]]:
    points, masks = result.keypoints, result.masks
    for i, box in enumerate(result.boxes):
        x1, y1, x2, y2 = box.xyxy
        width, height = x2 - x1, y2 - y1
        one: dict[str, Any] = {
            "category_id": box.class_id + 1,
            "bbox": [round(value, 2) for value in (x1, y1, width, height)],
            "area": round(width * height, 2),
            "iscrowd": 0,
            "score": round(box.confidence, 5),
        }
        if masks is not None:
            crop = masks.crops[i]
            counts = rle_counts(crop.pixels, crop.left, crop.top, result.image_hw)
            one["segmentation"] = {"size": list(result.image_hw), "counts": counts}
            one["area"] = int(crop.pixels.sum())
        if points is not None:
            rows = zip(points.xy[i].tolist(), points.confidence[i].tolist(), strict=True)
            one["keypoints"] = [
                value for (x, y), v in rows for value in (round(x, 2), round(y, 2), 2 if v > 0.5 else 1)
            ]
            one["num_keypoints"] = len(points.xy[i])
        yield one

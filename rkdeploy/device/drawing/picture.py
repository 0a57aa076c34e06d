"""The complete picture, from back to front: depth, class maps, masks, trails, outlines, keypoints, panels, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.chain.answer_words import all_answer_words
from rkdeploy.device.drawing.class_maps import MapClass, draw_class_map, legend_classes, map_classes
from rkdeploy.device.drawing.colors import class_color
from rkdeploy.device.drawing.depth_colors import DepthScale, depth_scale, draw_depth, draw_depth_scale
from rkdeploy.device.drawing.keypoints import draw_keypoints, strokes_of
from rkdeploy.device.drawing.labels import LabelText, draw_label, place_labels
from rkdeploy.device.drawing.masks import draw_mask
from rkdeploy.device.drawing.numbers import draw_numbers
from rkdeploy.device.drawing.outlines import draw_box, draw_polygon, draw_thin_box, near
from rkdeploy.device.drawing.panels import LEGEND_ROWS, draw_legend, draw_match, draw_ranking, draw_read_text
from rkdeploy.device.drawing.pen import Pen, pen_for
from rkdeploy.device.drawing.skeletons import Skeleton, skeleton_for
from rkdeploy.device.drawing.text import class_label
from rkdeploy.device.drawing.tracks import draw_areas, draw_trails
from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.detections import Detections, NestedResult
from rkdeploy.errors import RkdeployError


def draw_detections(
    image: NDArray[np.uint8],
    detections: Detections,
    class_names: Sequence[str],
    skeleton: Skeleton | None = None,
) -> NDArray[np.uint8]:
    """Draw all detections on a copy of the image.

    Objects whose coordinates are not finite are left out.

    Args:
        image: (H, W, 3) uint8 BGR; not changed.
        detections: in pixels of this image.
        class_names: by class id.
        skeleton: limbs and colors of the keypoints; None for the default of their number (`skeleton_for`).

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        RkdeployError: when the skeleton is for another number of keypoints.
    """
    drawn = image.copy()
    height, width = image.shape[:2]
    pen = pen_for(width, height)
    layout = None if detections.keypoints is None else _layout(skeleton, detections.keypoints.shape[1])
    shown = _drawable(detections)
    boxes = _whole_pixels(detections.xyxy[shown], height, width)
    corners = None if detections.rotated is None else near(corners_of(detections.rotated[shown]), drawn)
    ids = detections.class_ids[shown].tolist()

    scale = None if detections.depth is None else depth_scale(detections.depth)
    if detections.depth is not None and scale is not None:
        draw_depth(drawn, detections.depth, scale)
    styles = map_classes(detections.class_maps)
    for found, classes in zip(detections.class_maps, styles, strict=True):
        draw_class_map(drawn, found.class_ids, classes, pen)
    if detections.masks is not None:
        for i, class_id in zip(shown.tolist(), ids, strict=True):
            draw_mask(drawn, detections.masks[i], class_color(class_id), pen)
    if detections.tracks is not None:
        draw_trails(drawn, detections.tracks, shown.tolist(), ids, pen)
    _draw_outlines(drawn, boxes, corners, ids, pen, thin=detections.masks is not None)
    if detections.keypoints is not None and layout is not None:
        strokes = strokes_of(layout)
        for i in shown.tolist():
            draw_keypoints(drawn, detections.keypoints[i], strokes, pen)

    taken = _draw_panels(drawn, detections, class_names, styles, scale, pen)
    if detections.tracks is not None:
        taken = np.vstack((taken, draw_areas(drawn, detections.tracks, pen)))
    scores = detections.scores[shown].tolist()
    names = [_label_name(detections, i, class_names) for i in shown.tolist()]
    texts = [LabelText(name, f"{score:.2f}") for name, score in zip(names, scores, strict=True)]
    labels = place_labels(boxes, texts, range(len(ids) - 1, -1, -1), pen, (height, width), corners=corners, taken=taken)
    for label, class_id in zip(labels, ids, strict=True):
        if label is not None:
            draw_label(drawn, label, class_color(class_id), pen)
    if detections.keypoints is not None and layout is not None and layout.numbered:
        label_boxes = [label.box for label in labels if label is not None]
        draw_numbers(drawn, detections.keypoints[shown], np.vstack((taken, *label_boxes)), pen)
    return drawn if detections.nested is None else _with_nested_objects(drawn, detections.nested)


def _label_name(detections: Detections, index: int, class_names: Sequence[str]) -> str:
    """The class of an object with its id, and what further models of a chain say of it."""
    name = class_label(class_names, int(detections.class_ids[index]))
    if detections.tracks is not None and detections.tracks.ids[index]:
        name = f"{name} {detections.tracks.ids[index]}"
    answers = () if detections.nested is None else all_answer_words(detections.nested[index])
    return " ".join((name, *answers))


def _with_nested_objects(
    drawn: NDArray[np.uint8], nested: Sequence[Sequence[NestedResult | None]]
) -> NDArray[np.uint8]:
    """Draw what further models have detected inside of the objects; their other results are in the labels."""
    for answer in (one for answers in nested for one in answers if one is not None and len(one.detections)):
        objects = replace(answer.detections, class_maps=(), ranking=None, depth=None, text=None, match=None)
        drawn = draw_detections(drawn, objects, answer.class_names)
    return drawn


def _draw_outlines(
    drawn: NDArray[np.uint8],
    boxes: NDArray[np.int32],
    corners: NDArray[np.float32] | None,
    class_ids: Sequence[int],
    pen: Pen,
    *,
    thin: bool,
) -> None:
    """Outline every object: its rotated box if there is one, else its upright one, which is thin around a mask."""
    for i, class_id in enumerate(class_ids):
        color = class_color(class_id)
        if corners is not None:
            draw_polygon(drawn, corners[i], color, pen)
        elif thin:
            draw_thin_box(drawn, boxes[i], color, pen)
        else:
            draw_box(drawn, boxes[i], color, pen)


def _draw_panels(
    drawn: NDArray[np.uint8],
    detections: Detections,
    class_names: Sequence[str],
    styles: Sequence[Sequence[MapClass]],
    scale: DepthScale | None,
    pen: Pen,
) -> NDArray[np.int32]:
    """Draw text, ranking, scale of the depth, and legend of the class maps.  Returns their boxes, (N, 4) in pixels."""
    taken = np.zeros((0, 4), np.int32)
    if detections.text is not None:
        taken = draw_read_text(drawn, detections.text, attribute_label(detections, class_names), pen)
    elif detections.match is not None and detections.match.nearest:
        taken = draw_match(drawn, detections.match, pen)
    elif detections.ranking is not None:
        taken = draw_ranking(drawn, detections.ranking, class_names, pen)
    if detections.depth is not None and scale is not None:
        taken = np.vstack((taken, draw_depth_scale(drawn, detections.depth.kind, scale, pen)))
    if styles:
        top = int(taken[-1, 3]) if len(taken) else 0
        classes_shown = legend_classes(detections.class_maps, styles, LEGEND_ROWS)
        taken = np.vstack((taken, draw_legend(drawn, classes_shown, pen, top)))
    return taken


def attribute_label(detections: Detections, class_names: Sequence[str]) -> str:
    """The most likely class of a text's attribute; empty without one."""
    ranking = detections.ranking
    return class_label(class_names, int(ranking.class_ids[0])) if ranking is not None and len(ranking.class_ids) else ""


def _layout(skeleton: Skeleton | None, keypoint_count: int) -> Skeleton:
    if skeleton is None:
        return skeleton_for(keypoint_count)
    if len(skeleton.point_colors) != keypoint_count:
        raise RkdeployError(
            f"The skeleton is for {len(skeleton.point_colors)} keypoints, expected {keypoint_count} as in the model.",
            "Give one color per keypoint of the model.",
        )
    return skeleton


def _drawable(detections: Detections) -> NDArray[np.intp]:
    """Objects with finite coordinates, lowest score first: objects drawn later are not covered."""
    finite = np.isfinite(detections.xyxy).all(axis=1)
    if detections.rotated is not None:
        finite &= np.isfinite(detections.rotated).all(axis=1)
    by_score = np.argsort(detections.scores, kind="stable")
    return np.asarray(by_score[finite[by_score]])


def _whole_pixels(xyxy: NDArray[np.float32], height: int, width: int) -> NDArray[np.int32]:
    """Boxes rounded to whole pixels and clipped to the image."""
    last = np.array((width - 1, height - 1, width - 1, height - 1), np.float32)
    return np.asarray(np.rint(np.minimum(np.maximum(xyxy, 0), last)), np.int32)

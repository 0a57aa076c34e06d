"""Kinds that are recognized by their inputs, before the graph is simplified."""

from __future__ import annotations

from collections.abc import Callable

from rkdeploy.host.graph.graph_facts import GraphFacts, Shape
from rkdeploy.host.graph.graph_kinds import GraphKind, suppresses

_LEAST_TEXT = 16  # sizes of a text; CLIP takes 77 tokens or 512 values


def _beside_image(facts: GraphFacts) -> list[Shape]:
    """Shapes of the inputs other than one image; empty if there is no image."""
    others = list(facts.inputs.values())
    image = next((shape for shape in others if len(shape) == 4), None)
    if image is None:
        return []
    others.remove(image)
    return others


def _has_pair(facts: GraphFacts) -> bool:
    """An image and one pair of numbers."""
    others = _beside_image(facts)
    return len(others) in (1, 2) and all(len(shape) == 2 and shape[1] == 2 for shape in others)


def _takes_texts(facts: GraphFacts) -> bool:
    """An image, and vectors or tokens of several texts."""
    others = _beside_image(facts)
    return len(others) == 1 and len(others[0]) in (2, 3) and (others[0][-1] or 0) >= _LEAST_TEXT


def _several_images(facts: GraphFacts) -> bool:
    return len(facts.inputs) > 1 and all(len(shape) == 4 for shape in facts.inputs.values())


def _no_image(facts: GraphFacts) -> bool:
    return not any(len(shape) == 4 for shape in facts.inputs.values())


def _channels(count: int) -> Callable[[GraphFacts], bool]:
    def matches(facts: GraphFacts) -> bool:
        shapes = list(facts.inputs.values())
        return len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][1] == count

    return matches


def _image_and_more(facts: GraphFacts) -> bool:
    return bool(_beside_image(facts))


INPUTS = (
    GraphKind(
        "a PaddleDetection export with its post-processing (a second input holds the image's scale)",
        lambda facts: _has_pair(facts) and (suppresses(facts) or any(len(s) == 1 for s in facts.outputs.values())),
        "PicoDet and PP-YOLOE build with it, and as rknn_model_zoo exports them: raw boxes and scores of each level.",
    ),
    GraphKind("a detector with queries (RT-DETR or D-FINE, whose second input holds the image's size)", _has_pair),
    GraphKind(
        "an open-vocabulary detector (YOLO-World or CLIP: a second input holds texts)",
        _takes_texts,
    ),
    GraphKind("a model of several images (a tracker, or stereo)", _several_images),
    GraphKind(
        "a model with inputs in addition to its image",
        _image_and_more,
        "Export the network alone, with one image input.",
    ),
    GraphKind("not an image model (text, sound or a part of another network)", _no_image),
    GraphKind(
        "a model of images with four channels",
        _channels(4),
        "Only color (3 channels) and gray images (1) are supported: train it on those.",
    ),
)
"""Recognized before the graph is simplified."""

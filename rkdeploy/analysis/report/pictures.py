"""Example pictures drawn: float on one, the built model on the other, and which of their objects have no match."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from rkdeploy.accuracy.kept_examples import detections_of, read_examples, read_picture
from rkdeploy.analysis.origin import Origin, simulator
from rkdeploy.analysis.report.model_report import ExampleFacts, ExamplePicture
from rkdeploy.device.drawing import draw_detections
from rkdeploy.device.drawing.colors import PALETTE_RGB
from rkdeploy.device.drawing.text import class_label
from rkdeploy.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rkdeploy.accuracy.kept_examples import KeptExample, KeptResult
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.spec import ModelSpec

MAX_PICTURES = 4
UNMATCHED = "alone"
"""Suffix of the class of an object without a match."""

_MAX_WEBP_BYTES = 100_000  # two a picture and four pictures are 0.8 MB, 1.1 MB in base64
_QUALITIES = (85, 75, 60, 45, 30, 10)
_DASH_PX = 6


def example_facts(bundle: Bundle) -> ExampleFacts | None:
    """The examples of a bundle, drawn; None where it has none.

    Raises:
        BundleError: the examples are damaged.
    """
    kept = read_examples(bundle.folder, bundle.spec)
    if kept is None or not kept.images:
        return None
    return ExampleFacts(
        reference_origin=Origin("host", kept.reference_from),
        built_origin=simulator(kept.built_from),
        confidence=kept.confidence,
        iou=kept.iou,
        score_difference=kept.score_difference,
        pictures=tuple(_picture(bundle, example) for example in kept.images[:MAX_PICTURES]),
    )


def _picture(bundle: Bundle, example: KeptExample) -> ExamplePicture:
    image = read_picture(bundle.folder, example)
    names = bundle.spec.class_names
    sides = ((example.reference, {a for a, _ in example.pairs}), (example.built, {b for _, b in example.pairs}))
    drawn = [_webp(_drawn(image, result, matched, bundle.spec)) for result, matched in sides]
    return ExamplePicture(
        source=example.source,
        width=example.width,
        height=example.height,
        reference_count=len(example.reference.objects),
        built_count=len(example.built.objects),
        matched=len(example.pairs),
        reference_first=_first(example.reference, names),
        built_first=_first(example.built, names),
        reference_webp=drawn[0],
        built_webp=drawn[1],
    )


def _first(result: KeptResult, names: tuple[str, ...]) -> str:
    return names[result.ranking[0].class_id] if result.ranking else ""


def _drawn(image: NDArray[np.uint8], result: KeptResult, matched: set[int], spec: ModelSpec) -> NDArray[np.uint8]:
    """The picture with its objects; one without a match says so in its label and has a dashed white frame."""
    found = detections_of(result, spec, (image.shape[0], image.shape[1]))
    alone = [i for i in range(len(found)) if i not in matched]
    names = [class_label(spec.class_names, i) for i in range(len(spec.class_names))]
    others = -(-len(names) // len(PALETTE_RGB)) * len(PALETTE_RGB)  # the same classes in the same colors once more
    if alone:
        names += ["" for _ in range(others - len(names))] + [f"{name} {UNMATCHED}" for name in names]
        found.class_ids[alone] += others
    drawn = draw_detections(image, found, names)
    for i in alone:
        _dash(drawn, found.xyxy[i])
    return drawn


def _dash(drawn: NDArray[np.uint8], xyxy: NDArray[np.float32]) -> None:
    """A dashed frame inside a box: dark under white, so that it shows on any ground."""
    height, width = drawn.shape[:2]
    x1, y1, x2, y2 = (int(v) for v in np.clip(np.rint(xyxy), 0, (width - 1, height - 1, width - 1, height - 1)))
    x1, y1, x2, y2 = x1 + 3, y1 + 3, x2 - 3, y2 - 3
    if x2 <= x1 or y2 <= y1:
        return
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        for x in range(x1, x2, 2 * _DASH_PX):
            for y in (y1, y2):
                cv2.line(drawn, (x, y), (min(x + _DASH_PX, x2), y), color, thickness)
        for y in range(y1, y2, 2 * _DASH_PX):
            for x in (x1, x2):
                cv2.line(drawn, (x, y), (x, min(y + _DASH_PX, y2)), color, thickness)


def _webp(image: NDArray[np.uint8]) -> bytes:
    """A WebP of at most 100 kB, as good as that allows; of noise that needs more, the smallest."""
    data = b""
    for quality in _QUALITIES:
        written, encoded = cv2.imencode(".webp", image, (cv2.IMWRITE_WEBP_QUALITY, quality))
        if not written:
            raise BundleError("An example picture cannot be drawn: OpenCV was built without WebP.")
        data = encoded.tobytes()
        if len(data) <= _MAX_WEBP_BYTES:
            break
    return data

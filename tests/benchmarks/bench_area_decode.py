"""Speed of finding areas of text in a map of probabilities, compared with the usual code.

Prints one line per number of areas and dtype: the median time from the tensor of a 640x640 input to rotated boxes in
the pixels of a 1920x1080 source.  The usual code is that of PaddleOCR's `DBPostProcess`: dequantize the map, contours
of what is above the threshold, then one area after the other its rectangle, score and enlarged rectangle, with OpenCV.
It enlarges by `area_unclip`, so that neither Clipper nor shapely is needed.  Both find the same before anything is
timed.  `nhwc` and `nc1hwc2` are ours on the same tensor as an NPU lays it out in memory.

    python -m tests.benchmarks.bench_area_decode --repeats 100
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AreaFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.area_reader import AreaReader
from rkdeploy.device.postprocess.area_unclip import outlines_around
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.images.fit import LetterboxTransform
from tests.benchmarks.bench_decode import as_nc1hwc2, as_nhwc, median_ms

SIZE, SOURCE_HW = 640, (1080, 1920)
TRANSFORM = LetterboxTransform(1 / 3, 1 / 3, 0.0, 0.0, SOURCE_HW)
SPEC = ModelSpec(
    "ppocr-det", "text_areas", ("text",), InputSpec("x", SIZE, SIZE, place="top_left"),
    (HeadOutput("text_areas", "area_map", 0, 1, (1, 1, SIZE, SIZE), "sigmoid"),), areas=AreaFormula(),
)  # fmt: skip


def drawn(areas: int) -> NDArray[np.float32]:
    """Shrunken areas with soft edges, in ten columns."""
    rng = np.random.default_rng(0)
    plane = np.zeros((SIZE, SIZE), np.float32)
    for index in range(areas):
        center = (36.0 + 62 * (index % 10), 26.0 + 42 * (index // 10))
        size = (float(rng.uniform(26, 46)), float(rng.uniform(6, 12)))
        corners = cv2.boxPoints((center, size, float(rng.uniform(-15, 15))))
        cv2.fillPoly(plane, [corners.astype(np.int32)], (float(rng.uniform(0.8, 1)),))
    return np.asarray(cv2.GaussianBlur(plane, (5, 5), 1.0), np.float32)


def usual(tensor: HeadTensor) -> list[tuple[NDArray[np.float32], float]]:
    """Corners and score of every area, one after the other."""
    values = tensor.values.astype(np.float32)
    pred = ((values - tensor.zero_point) * tensor.scale)[0, 0]
    bitmap = pred > 0.3
    contours, _ = cv2.findContours((bitmap * 255).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for contour in contours[:1000]:
        rectangle = cv2.minAreaRect(contour)
        if min(rectangle[1]) < 3:
            continue
        box = np.array(cv2.boxPoints(rectangle), np.float32)
        score = box_score(pred, box)
        if score < 0.6:
            continue
        width, height = rectangle[1]
        distance = width * height * 1.5 / (2 * (width + height))
        larger = cv2.minAreaRect(outlines_around(box[None], np.array([distance]))[0])
        if min(larger[1]) < 5:
            continue
        corners = np.array(cv2.boxPoints(larger)) / SIZE * (SIZE * 3)
        found.append((corners.astype(np.float32), score))
    return found


def box_score(pred: NDArray[np.float32], box: NDArray[np.float32]) -> float:
    """Mean probability in a box, as `box_score_fast`."""
    height, width = pred.shape
    x1, x2 = np.clip((np.floor(box[:, 0].min()), np.ceil(box[:, 0].max())), 0, width - 1).astype(int)
    y1, y2 = np.clip((np.floor(box[:, 1].min()), np.ceil(box[:, 1].max())), 0, height - 1).astype(int)
    mask = np.zeros((y2 - y1 + 1, x2 - x1 + 1), np.uint8)
    cv2.fillPoly(mask, [(box - (x1, y1)).astype(np.int32)], (1,))
    return float(cv2.mean(pred[y1 : y2 + 1, x1 : x2 + 1], mask)[0])


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=100)
    repeats = max(5, parser.parse_args().repeats // 5)
    print(
        "".join(f"{name:>11}" for name in ("areas", "dtype", "usual ms", "ours ms", "ratio", "nhwc ms", "nc1hwc2 ms"))
    )
    for areas in (0, 8, 70):
        real = drawn(areas)
        for dtype in ("int8", "float32"):
            raw = np.rint(real * 255 - 128).astype(np.int8) if dtype == "int8" else real
            tensor = HeadTensor(raw[None, None], *((1 / 255, -128) if dtype == "int8" else (1.0, 0)))
            reader = AreaReader(SPEC)

            def run(one: HeadTensor, reader: AreaReader = reader) -> Callable[[], object]:
                return lambda: reader([one], TRANSFORM, confidence=0.6, max_det=1000)

            def theirs(one: HeadTensor = tensor) -> object:
                return usual(one)

            found = reader([tensor], TRANSFORM, confidence=0.6, max_det=1000)
            assert len(found) == len(usual(tensor)) == areas
            np.testing.assert_allclose(sorted(found.scores), sorted(score for _, score in usual(tensor)), atol=1e-4)
            timed = median_ms([theirs, run(tensor), run(as_nhwc(tensor)), run(as_nc1hwc2(tensor))], repeats)
            usual_ms, ours, nhwc, packed = (each[1] for each in timed)
            figures = (usual_ms, ours, usual_ms / ours, nhwc, packed)
            print(f"{areas:>11}{dtype:>11}" + "".join(f"{figure:11.3f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()

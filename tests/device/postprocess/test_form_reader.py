from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import KeypointLayout, PointFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec, OutputPart
from rkdeploy.device.postprocess.form_reader import FormReader
from rkdeploy.device.postprocess.nms import nms
from rkdeploy.device.postprocess.postprocessor import Postprocessor, decoder_for
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError, RkdeployError
from rkdeploy.images.fit import LetterboxTransform

DATA = Path(__file__).parents[2] / "data" / "forms"
IDENTITY = LetterboxTransform(1.0, 1.0, 0.0, 0.0, (64, 64))
ROWS = HeadOutput(
    "rows", "joined", 0, 8, (1, 6, 20), parts=(
        OutputPart("decoded_boxes", (0, 1, 2, 3)), OutputPart("scores", (4, 5), "sigmoid"),
    ), level_strides=(16, 32),
)  # fmt: skip
SPEC = ModelSpec("yolov8", "detect", ("a", "b"), InputSpec("images", 64, 64), (ROWS,), form="zoo")


def recorded(name: str) -> tuple[ModelSpec, list[HeadTensor], dict[str, NDArray[Any]]]:
    """A contract, the simulator's outputs, and what another program reads in them (make_*_boxes.py)."""
    spec = msgspec.convert(json.loads((DATA / f"{name}.json").read_text()), ModelSpec)
    arrays = dict(np.load(DATA / f"{name}.npz"))
    tensors = []
    for index, output in enumerate(spec.outputs):
        values, quantization = arrays[f"output_{index}"], output.quantization
        read = HeadTensor(values)
        if quantization is not None:
            read = HeadTensor(values, quantization.scale, quantization.zero_point)
        tensors.append(read)
    return spec, tensors, arrays


@pytest.mark.parametrize("name", ["yolov5", "yolov8", "yolox"])
def test_the_boxes_are_those_that_the_zoo_reads(name: str) -> None:
    spec, tensors, zoo = recorded(name)
    limits = np.full(len(spec.class_names), 0.25, np.float32)
    found = decoder_for(spec).candidates(tensors, limits)
    order = np.arange(len(found.scores))
    if name == "yolox":  # hundreds of boxes with some equal scores, which the zoo's NMS takes in the order of argsort
        order = found.scores.argsort()[::-1]
    xyxy, scores, class_ids = found.xyxy[order], found.scores[order], found.class_ids[order]
    across = np.zeros_like(class_ids) if name == "yolox" else class_ids  # its demo suppresses across classes
    kept = nms(xyxy, scores, across, iou=0.45, max_det=1000, max_nms=30000)
    assert len(kept) == len(zoo["boxes"])
    ours = np.column_stack((class_ids[kept], scores[kept], xyxy[kept]))
    theirs = np.column_stack((zoo["classes"], zoo["scores"], zoo["boxes"]))
    ours, theirs = (rows[np.lexsort(rows.T[::-1])] for rows in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("name", ["yolov5", "yolov8"])
def test_a_run_gives_the_same(name: str) -> None:
    spec, tensors, zoo = recorded(name)
    size = (spec.input.height, spec.input.width)
    found = Postprocessor(spec, Thresholds(confidence=0.25, iou=0.45))(tensors, replace(IDENTITY, source_hw=size))
    assert len(found) == len(zoo["boxes"])
    np.testing.assert_allclose(np.sort(found.scores), np.sort(zoo["scores"]), rtol=1e-6)


def test_ultralytics_reads_the_same() -> None:
    spec, tensors, theirs = recorded("ultralytics")
    transform = LetterboxTransform(0.5, 0.5, 0.0, 40.0, (480, 640))
    assert transform.source_hw == tuple(theirs["source_hw"])
    found = Postprocessor(spec, Thresholds(confidence=0.25, iou=0.45))(tensors, transform)
    assert len(found) == 4
    np.testing.assert_array_equal(found.class_ids, theirs["classes"])
    np.testing.assert_allclose(found.scores, theirs["scores"])
    np.testing.assert_allclose(found.xyxy, theirs["boxes"], atol=1e-3)


def test_frigate_reads_the_same() -> None:
    """Its rows are boxes that we find; it suppresses at 0.4, and gives top, left, bottom, right as fractions."""
    spec, tensors, theirs = recorded("frigate")
    found = Postprocessor(spec, Thresholds(confidence=0.4))(tensors, replace(IDENTITY, source_hw=(320, 320)))
    assert len(found) == len(theirs["rows"]) == 3
    ours = np.column_stack((found.class_ids, found.scores, found.xyxy[:, [1, 0, 3, 2]] / 320))
    np.testing.assert_allclose(ours, theirs["rows"], atol=1e-6)


def rows_of(*rows: tuple[int, tuple[float, ...]]) -> HeadTensor:
    values = np.zeros((1, 6, 20), np.float32)
    for cell, row in rows:
        values[0, :, cell] = row
    return HeadTensor(values)


def test_rows_of_all_levels_are_read_as_levels() -> None:
    reader = FormReader(SPEC)
    assert [(o.role, o.level, o.stride, o.shape) for o in reader.spec.outputs] == [
        ("decoded_boxes", 0, 16, (1, 4, 4, 4)),
        ("scores", 0, 16, (1, 2, 4, 4)),
        ("decoded_boxes", 1, 32, (1, 4, 2, 2)),
        ("scores", 1, 32, (1, 2, 2, 2)),
    ]
    tensor = rows_of((5, (30, 20, 10, 8, 0.1, 0.9)), (17, (8, 40, 16, 6, 0.7, 0.2)))
    found = Postprocessor(SPEC, Thresholds())([tensor], IDENTITY)
    np.testing.assert_allclose(found.xyxy, [[25, 16, 35, 24], [0, 37, 16, 43]])
    assert found.class_ids.tolist() == [1, 0]


def test_corners_and_fractions_of_the_input() -> None:
    points = PointFormula(unit="fractions", corners=True)
    tensor = rows_of((5, (0.25, 0.5, 0.5, 0.75, 0.1, 0.9)))
    found = Postprocessor(replace(SPEC, points=points), Thresholds())([tensor], IDENTITY)
    np.testing.assert_allclose(found.xyxy, [[16, 32, 32, 48]])


def test_decoded_keypoints_next_to_interleaved_scores() -> None:
    parts = (
        OutputPart("keypoint_xy", (0, 1, 3, 4)),
        OutputPart("keypoint_scores", (2, 5), "sigmoid"),
    )
    points = HeadOutput("points", "joined", 0, 8, (1, 2, 3, 20), parts=parts, level_strides=(16, 32))
    spec = replace(SPEC, outputs=(ROWS, points), keypoints=KeypointLayout(2, scored=True, unit="pixels"))
    keypoints = np.zeros((1, 2, 3, 20), np.float32)
    keypoints[0, :, :, 5] = [[1, 2, 0.5], [3, 4, 0.25]]
    tensors = [rows_of((5, (30, 20, 10, 8, 0.1, 0.9))), HeadTensor(keypoints)]
    found = Postprocessor(spec, Thresholds())(tensors, IDENTITY)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints, [[[1, 2, 0.5], [3, 4, 0.25]]])


def test_nothing_found_in_empty_rows() -> None:
    assert len(Postprocessor(SPEC, Thresholds())([rows_of()], IDENTITY)) == 0


def test_a_tensor_of_another_shape_is_refused() -> None:
    with pytest.raises(BackendError, match="expected"):
        Postprocessor(SPEC, Thresholds())([HeadTensor(np.zeros((1, 6, 21), np.float32))], IDENTITY)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (replace(ROWS, shape=(1, 6, 21)), "has 21 cells, expected 20"),
        (replace(ROWS, parts=()), "names no parts"),
        (replace(ROWS, parts=(OutputPart("scores", (4, 6)),)), "has 6 channels"),
        (replace(ROWS, level_strides=()), r"expected \(1, C, H, W\)"),
    ],
)
def test_a_contract_whose_parts_do_not_fit_is_refused(output: HeadOutput, text: str) -> None:
    with pytest.raises(RkdeployError, match=text):
        FormReader(replace(SPEC, outputs=(output,)))

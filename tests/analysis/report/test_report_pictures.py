"""Example pictures of every task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.analysis.report.model_report import ExampleFacts
from rkdeploy.analysis.report.pictures import example_facts
from rkdeploy.contract.bundle import CONTRACT, new_bundle, read_bundle, write_json
from rkdeploy.contract.formulas import AngleFormula, ClassMapSpec, KeypointLayout
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, InstanceMask, Ranking
from rkdeploy.host.building.agreement_meter import Comparison
from rkdeploy.host.building.detection_matching import Matches
from rkdeploy.host.building.example_keeper import ExampleKeeper
from tests.analysis.report.report_samples import ON_PC, agreement, found, spec

BOX = found((60, 40, 200, 160, 0.9, 0))
NOTHING = Detections.empty()
PIXELS = np.zeros((120, 140), np.bool_)
PIXELS[20:100, 30:110] = True
MAP = np.zeros((240, 320), np.uint8)
MAP[120:, :] = 1
NAMES = ("back", "road")
CASES: dict[str, tuple[ModelSpec, Detections, Detections]] = {
    "detect": (spec(), BOX, NOTHING),
    "pose": (
        spec(task="pose", keypoints=KeypointLayout(2, scored=True)),
        replace(BOX, keypoints=np.array([[[80, 60, 1], [180, 140, 1]]], np.float32)),
        replace(NOTHING, keypoints=np.zeros((0, 2, 3), np.float32)),
    ),
    "segment": (
        spec(task="segment"), replace(BOX, masks=(InstanceMask(60, 40, PIXELS),)), replace(NOTHING, masks=()),
    ),
    "obb": (
        spec(task="obb", angle=AngleFormula(sigmoid=True, gain=1.0, offset=0.0)),
        replace(BOX, rotated=np.array([[130, 100, 120, 40, 0.5]], np.float32)),
        replace(NOTHING, rotated=np.zeros((0, 5), np.float32)),
    ),
    "maps": (
        spec(class_maps=(ClassMapSpec("road", NAMES),)),
        replace(NOTHING, class_maps=(FoundClassMap("road", NAMES, MAP),)),
        replace(NOTHING, class_maps=(FoundClassMap("road", NAMES, np.zeros_like(MAP)),)),
    ),
    "classify": (
        spec(task="classify", anchors=None),
        replace(NOTHING, ranking=Ranking(np.array([1, 0], np.int32), np.array([0.9, 0.1], np.float32))),
        replace(NOTHING, ranking=Ranking(np.array([0, 1], np.int32), np.array([0.6, 0.4], np.float32))),
    ),
}  # fmt: skip


def drawn(
    folder: Path, contract: ModelSpec, reference: Detections, built: Detections, matches: Matches
) -> ExampleFacts:
    with new_bundle(folder) as partial:
        write_json(partial / CONTRACT, contract)
        (partial / "best.rknn").write_bytes(b"RKNN")
        keeper = ExampleKeeper(partial, 4)
        keeper.add("a.jpg", np.full((240, 320, 3), 90, np.uint8), Comparison(reference, built, matches))
        keeper.write(ON_PC, agreement())
    facts = example_facts(read_bundle(folder))
    assert facts is not None
    return facts


def image(data: bytes | None) -> NDArray[np.uint8]:
    assert data is not None
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert read is not None
    return np.asarray(read, np.uint8)


@pytest.mark.parametrize("task", CASES)
def test_what_one_side_has_and_the_other_has_not(tmp_path: Path, task: str) -> None:
    """Of every task the side that found something shows it, the other shows the bare picture or its own answer."""
    contract, reference, built = CASES[task]
    facts = drawn(tmp_path / "b", contract, reference, built, Matches(len(reference), 0, (), ()))
    (picture,) = facts.pictures
    left, right = image(picture.reference_webp), image(picture.built_webp)
    assert left.shape == right.shape == (240, 320, 3)
    assert np.abs(left.astype(int) - 90).max() > 60
    if task == "classify":
        assert (picture.reference_first, picture.built_first) == ("nut", "bolt")
        assert (left != right).any()
    else:
        bare = right[130:] if task == "maps" else right  # the legend of a map is at the top, also of an empty one
        assert np.abs(bare.astype(int) - 90).max() < 40
    assert (facts.reference_origin.kind, facts.built_origin.kind) == ("host", "simulator")


def test_alone_is_told_without_color(tmp_path: Path) -> None:
    """A box without its match differs from one with it in brightness alone: the frame is dashed, the label longer."""
    pair = Matches(1, 1, (1.0,), (0.0,), ((0, 0),))
    matched = drawn(tmp_path / "a", spec(), BOX, BOX, pair).pictures[0]
    alone = drawn(tmp_path / "b", spec(), BOX, BOX, Matches(1, 1, (), ())).pictures[0]
    grey = [cv2.cvtColor(image(p.reference_webp), cv2.COLOR_BGR2GRAY).astype(int) for p in (matched, alone)]
    row = grey[1][43, 66:190] > 170  # along the upper side of the dashed frame
    assert 0.3 < row.mean() < 0.7
    assert (np.diff(row.astype(int)) == 1).sum() >= 8, "dashes, not a line"
    assert not (grey[0][43, 66:190] > 170).any()
    assert np.abs(grey[0] - grey[1])[20:40, 60:200].max() > 60, "another label"


def test_colors_stay_those_of_the_classes(tmp_path: Path) -> None:
    """An object without a match keeps its class's color, also of a model with more classes than colors."""
    names = tuple(f"class {i}" for i in range(30))
    one = found((60, 40, 200, 160, 0.9, 25))
    for matches in (Matches(1, 1, (1.0,), (0.0,), ((0, 0),)), Matches(1, 1, (), ())):
        picture = drawn(tmp_path / str(len(matches.ious)), spec(names=names), one, one, matches).pictures[0]
        label = image(picture.reference_webp)[26:39, 58:90].reshape(-1, 3).astype(int)
        blue, green, red = np.median(label, axis=0).tolist()
        assert red > 150 > blue, "vermilion, the sixth of twenty colors, is class 25's"
        assert 60 < green < 130

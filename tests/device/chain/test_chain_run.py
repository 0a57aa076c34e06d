"""A detector and a classifier in one run: the command, the library, JSON, the picture, a recording."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import rkdeploy as library
from rkdeploy.contract.installed_bundles import installed_bundle
from rkdeploy.device.drawing import draw_detections
from rkdeploy.device.postprocess.detections import Detections, NestedResult, Ranking
from rkdeploy.device.stream.result_json import result_object
from rkdeploy.errors import RkdeployError
from tests.accuracy.tiny_model import make_bundle
from tests.command_line import rkdeploy, without_times
from tests.device.chain.chain_bundles import make_brightness_bundle

BOX = Detections(np.array([(20, 40, 80, 90)], np.float32), np.array([0.9], np.float32), np.array([0], np.int32))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector, a classifier, and a dark and a bright image, in each of which the detector finds a bolt."""
    place = tmp_path_factory.mktemp("chain")
    make_bundle(place / "detector")
    make_brightness_bundle(place / "light")
    (place / "images").mkdir()
    for i, value in enumerate((30, 220)):
        cv2.imwrite(str(place / "images" / f"{i}.png"), np.full((64, 64, 3), value, np.uint8))
    return place


def test_the_command_nests_the_answers(place: Path) -> None:
    """Each line has the detection with what the classifier says; the summary says what it cost."""
    result = rkdeploy("run", "detector", "images", "--then", "light", "-o", "out.jsonl", "--save", "drawn", cwd=place)
    assert result.returncode == 0, result.stderr
    assert "Then light: 2 crops (1.0 a frame); p50/p99 ms: cut " in result.stdout
    lines = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    first = [line["detections"][0]["then"] for line in lines]
    assert [(one["model"], one["ranking"][0]["class_name"]) for one in first] == [
        ("light", "dark"),
        ("light", "bright"),
    ]
    assert (place / "drawn" / "1.png").is_file()
    printed = rkdeploy("run", "detector", "images", "--then", "light", cwd=place).stderr
    assert "1.png [1]: 1 bolt (bright)" in printed


def test_classes_choose_what_is_looked_at(place: Path) -> None:
    """A class that is not there costs nothing; one that the model does not have is named."""
    result = rkdeploy("run", "detector", "images", "--then", "light", "--of", "nut", "--json", cwd=place)
    assert [json.loads(line)["detections"][0]["then"] for line in result.stdout.splitlines()] == [None, None]
    assert "Then light: 0 crops" in result.stderr
    for arguments, message in (
        (("--then", "light", "--of", "screw"), 'has no class "screw"'),
        (("--of", "nut"), "there is no --then"),
        (("--then", "light", "--of", "nut", "--of", "bolt"), "--of is given 2 times, and --then 1 times"),
        (("--then", "light", "--crop", "corners"), "need a detector with four keypoints"),
        (("--then", "nowhere"), '"nowhere" is not a bundle'),
    ):
        refused = rkdeploy("run", "detector", "images", *arguments, cwd=place)
        assert refused.returncode == 1
        assert message in refused.stderr.replace("\n", " ")


def test_a_recorded_chain_replays(place: Path) -> None:
    """The recording has a folder for each model; the replay gives the same lines."""
    words = ("run", "detector", "images", "--then", "light", "--json", "-q")
    recorded = rkdeploy(*words, "--record", "recording", cwd=place)
    replayed = rkdeploy(*words, "--replay", "recording", cwd=place)
    assert recorded.returncode == replayed.returncode == 0, recorded.stderr + replayed.stderr
    assert without_times(recorded.stdout) == without_times(replayed.stdout) != []
    assert (place / "recording" / "then-1" / "index.jsonl").is_file()


def test_the_library_nests_the_answers(place: Path) -> None:
    """`box.then` is the classifier's answer, for calls and for streams; several models answer side by side."""
    with library.load(place / "detector", then=place / "light") as model:
        boxes = list(model(place / "images" / "1.png").boxes)
        assert boxes[0].then is not None
        assert boxes[0].then.ranking is not None
        assert boxes[0].then.ranking.class_name[0] == "bright"
        assert boxes[0].then  # though it has no objects
        assert repr(boxes[0].then) == "<ChainedAnswer of light: bright>"
        firsts = [box.then.ranking.class_name[0] for r in model.stream(place / "images") for box in r.boxes]  # type: ignore[union-attr]
        assert firsts == ["dark", "bright"]
    chain = [library.Then(place / "light", of="nut"), library.Then(place / "detector", margin=0.5)]
    with library.load(place / "detector", then=chain, cores=[0, 1]) as model:
        (box,) = model(place / "images" / "1.png").boxes
    assert box.then is None
    assert box.answers[0] is None
    assert box.answers[1] is not None
    # the box is 8 to 40; with half of its size more on each side, clipped, 0 to 56, of which 4/32 to 20/32 is a bolt
    assert np.allclose(box.answers[1].boxes.xyxy, [(7, 7, 35, 35)], atol=0.1)
    with library.load(place / "detector") as model:
        assert model(place / "images" / "1.png").then is None
    with pytest.raises(RkdeployError, match="finds objects"):
        library.load(place / "light", then=place / "detector")


def test_json_lists_several_answers() -> None:
    """One model gives an object, several a list; null where one did not run.  Without a chain there is no field."""
    ranking = Ranking(np.array([1], np.int32), np.array([0.75], np.float32))
    light = NestedResult("light", ("dark", "bright"), replace(Detections.empty(), ranking=ranking))
    one = result_object("a", 0, (99, 99), _chained((light,)), ("plate",))["detections"][0]["then"]
    assert one == {
        "model": "light",
        "detections": [],
        "ranking": [{"class_id": 1, "class_name": "bright", "confidence": 0.75}],
    }
    assert result_object("a", 0, (99, 99), _chained((None, light)), ("plate",))["detections"][0]["then"] == [None, one]
    assert "then" not in result_object("a", 0, (99, 99), BOX, ("plate",))["detections"][0]


def test_the_label_has_the_answer() -> None:
    """The picture differs only where the longer label is; nested objects get boxes of their own."""
    image = np.full((120, 200, 3), 90, np.uint8)
    ranking = Ranking(np.array([1], np.int32), np.array([0.75], np.float32))
    light = NestedResult("light", ("dark", "bright"), replace(Detections.empty(), ranking=ranking))
    plain, labeled = (draw_detections(image, found, ("plate",)) for found in (BOX, _chained((light,))))
    changed = np.argwhere((plain != labeled).any(axis=2))
    assert len(changed)
    assert changed[:, 0].max() < 40  # above the box
    inner = Detections(np.array([(40, 60, 60, 80)], np.float32), BOX.scores, BOX.class_ids)
    nested = draw_detections(image, _chained((NestedResult("parts", ("letter",), inner),)), ("plate",))
    assert (nested[60, 45:55] != plain[60, 45:55]).any()


def test_a_pushed_bundle_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With or without the hash that push adds; of two builds the one pushed last.  A path is not a name."""
    monkeypatch.setenv("RKDEPLOY_HOME", str(tmp_path))
    assert installed_bundle("light") is None
    make_brightness_bundle(tmp_path / "bundles" / "light-0123456789ab")
    make_brightness_bundle(tmp_path / "bundles" / "light-c09876543210")
    os.utime(tmp_path / "bundles" / "light-0123456789ab", ns=(1, 1))
    assert installed_bundle("light") == tmp_path / "bundles" / "light-c09876543210"
    assert installed_bundle("light-0123456789ab") == tmp_path / "bundles" / "light-0123456789ab"
    assert installed_bundle("../light") is None
    make_bundle(tmp_path / "detector")
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((64, 64, 3), 220, np.uint8))
    result = rkdeploy("run", tmp_path / "detector", image, "--then", "light")
    assert "Then light-c09876543210: 1 crop" in result.stdout, result.stderr


def _chained(answers: tuple[NestedResult | None, ...]) -> Detections:
    return Detections(BOX.xyxy, BOX.scores, BOX.class_ids, nested=(answers,))

"""Labels of areas of text: PP-OCR's file and ICDAR's."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.datasets.open_data import open_data
from rkdeploy.datasets.text_area_labels import text_area_set
from rkdeploy.datasets.truth import DataError
from tests.device.postprocess.test_area_reader import spec

AREA = [[10, 20], [50, 20], [50, 40], [10, 40]]
CONTRACT: ModelSpec = spec((160, 192))


def image(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), np.zeros((8, 8, 3), np.uint8))
    return file


def line(path: str, *texts: tuple[str, list[list[int]]]) -> str:
    return f"{path}\t{json.dumps([{'transcription': t, 'points': p, 'difficult': False} for t, p in texts])}\n"


def test_label_file(tmp_path: Path) -> None:
    """Outlines, the rectangle around each, and texts that do not count; missing images are named."""
    image(tmp_path / "set" / "a.jpg")
    image(tmp_path / "set" / "b.jpg")
    labels = tmp_path / "set" / "Label.txt"
    curved = [[0, 0], [10, 5], [20, 0], [20, 10], [10, 15], [0, 10]]
    labels.write_text(
        line("set/a.jpg", ("Gate 7", AREA), ("###", curved)) + "\n" + line("b.jpg") + line("set/gone.jpg")
    )
    for data in (labels, labels.parent):
        found = open_data(data, CONTRACT)
        assert [one.name for one in found.images] == ["a.jpg", "b.jpg"]
        assert "1 images do not exist" in found.notes[0]
        assert found.objects is not None
        truth = found.objects.of("a.jpg", (8, 8))
        assert truth.crowd.tolist() == [False, True]
        assert truth.xyxy.tolist() == [[10, 20, 50, 40], [0, 0, 20, 15]]
        assert truth.rotated is not None
        assert sorted(truth.rotated[0, 2:4].tolist()) == [20, 40]
        assert truth.rotated[0, :2].tolist() == [30, 30]
        assert truth.areas.tolist() == [800, 200]
        assert len(found.objects.of("b.jpg", (8, 8))) == 0


@pytest.mark.parametrize("separate", [True, False])
def test_icdar(tmp_path: Path, *, separate: bool) -> None:
    """Four corners of 2015, boxes of 2013, commas in texts, a byte order mark; labels next to images or in `gt`."""
    pictures, labels = (tmp_path / "images", tmp_path / "gt") if separate else (tmp_path, tmp_path)
    image(pictures / "img_1.jpg")
    image(pictures / "img_2.jpg")
    labels.mkdir(exist_ok=True)
    text = "10,20,50,20,50,40,10,40,a, b\r\n1,2,3,2,3,4,1,4,###\r\n"
    (labels / "gt_img_1.txt").write_text(text, encoding="utf-8-sig")
    (labels / "gt_img_2.txt").write_text('38, 43, 920, 215, "Tiredness"\n38 43 90 80 word\n')
    found = text_area_set(tmp_path)
    assert found.objects is not None
    first, second = (found.objects.of(one.name, (8, 8)) for one in found.images)
    assert (first.xyxy[0].tolist(), first.crowd.tolist()) == ([10, 20, 50, 40], [False, True])
    assert second.xyxy.tolist() == [[38, 43, 920, 215], [38, 43, 90, 80]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg [1]\n", "no tab"),
        ("a.jpg\t{}\n", "not PP-OCR's JSON"),
        ('a.jpg\t[{"points": [[0, 0], [1, 1]]}]\n', "not PP-OCR's JSON"),
        ('a.jpg\t[{"points": [[0, 0], [1, 1], [1e99, 2]]}]\n', "not PP-OCR's JSON"),
        ("b.jpg\t[]\n", "No image of"),
    ],
)
def test_bad_label_files(tmp_path: Path, text: str, message: str) -> None:
    """Each fault is named with its line."""
    image(tmp_path / "a.jpg")
    (tmp_path / "Label.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        text_area_set(tmp_path)


def test_bad_icdar_files(tmp_path: Path) -> None:
    """A folder without labels, and a line without numbers."""
    with pytest.raises(DataError, match="holds no image"):
        text_area_set(tmp_path)
    image(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("1,2,3\n")
    with pytest.raises(DataError, match="expected 8 or 4 numbers"):
        text_area_set(tmp_path)

"""Lines of text with their labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.accuracy.predictions import ImagePrediction, decoded, encoded
from rkdeploy.accuracy.predictor import Predictor
from rkdeploy.contract.formulas import TextFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.datasets.open_data import open_data
from rkdeploy.datasets.text_labels import text_set
from rkdeploy.datasets.truth import DataError
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor

SPEC = ModelSpec(
    "lprnet", "text", ("text",), InputSpec("x", 8, 24, fit="stretch", antialias=False),
    (HeadOutput("text_logits", "text_logits", 0, 8, (1, 3, 1, 4)),), text=TextFormula(("", "a", "b")),
)  # fmt: skip


def pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".png", np.zeros((8, 24, 3), np.uint8))[1].tobytes()
    for name in names:
        (folder / name).write_bytes(data)


def texts(data: Path) -> dict[str, str | None]:
    return {image.name: image.text for image in text_set(data, "val").images}


def test_names_of_files(tmp_path: Path) -> None:
    """Up to the first - or _, as LPRNet's loader takes them; a folder val inside is preferred."""
    pictures(tmp_path, "苏A1_1.png", "b-2.png", "_x.png")
    assert texts(tmp_path) == {"b-2.png": "b", "苏A1_1.png": "苏A1"}
    pictures(tmp_path / "val", "a.png")
    assert texts(tmp_path) == {"a.png": "a"}


def test_label_file(tmp_path: Path) -> None:
    """Paths are relative to the file or the folder above; what is missing, elsewhere or without a tab is left out."""
    pictures(tmp_path / "crops", "1.png", "2.png")
    file = tmp_path / "crops" / "rec_gt.txt"
    file.write_text("crops/1.png\tab c \n2.png\t文\r\nno.png\tx\n/etc/hostname\tx\n../crops/1.png\tx\nbad\n\n", "utf-8")
    found = text_set(file, "val")
    assert {image.name: image.text for image in found.images} == {"crops/1.png": "ab c", "2.png": "文"}
    assert found.notes == (
        "3 images are missing or repeated and were left out.", "1 lines have no tab and were left out.",
    )  # fmt: skip
    assert texts(tmp_path / "crops") == {"crops/1.png": "ab c", "2.png": "文"}
    assert len(open_data(file, SPEC).images) == 2


def test_nothing_usable(tmp_path: Path) -> None:
    file = tmp_path / "label.txt"
    file.write_text("1.png x\n", "utf-8")
    with pytest.raises(DataError, match=r'its line "1.png x" has no tab'):
        text_set(file, "val")
    file.write_text("1.png\tx\n", "utf-8")
    with pytest.raises(DataError, match="none of its images is there"):
        text_set(file, "val")
    with pytest.raises(DataError, match="neither a label file"):
        text_set(tmp_path / "x.json", "val")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="named after its text"):
        text_set(tmp_path / "empty", "val")


def test_prediction_of_a_text(tmp_path: Path) -> None:
    """One of two characters is right; it survives its way through a file."""
    pictures(tmp_path, "ab.png")
    (image,) = text_set(tmp_path, "val").images
    scores = np.zeros((1, 3, 1, 4), np.float32)
    scores[0, [1, 0, 1, 0], 0, range(4)] = 5
    predictor = Predictor(SPEC, Thresholds(), multi_label=False)
    fitted = predictor.load(image)
    assert not isinstance(fitted, ImagePrediction)
    found = predictor.prediction(image, [HeadTensor(scores)], fitted.transform)
    assert found.text == (False, 0.5)
    assert decoded(encoded([found], "here"))[0][0].text == (False, 0.5)

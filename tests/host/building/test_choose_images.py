"""Choice of images for calibration and for the proof."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from rkdeploy.errors import CalibrationError, RkdeployError
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.chosen_images import choose_images, require_images

ROOT = Path(__file__).parents[3]
IMAGES = sorted((ROOT / "calib_data" / "images" / "calib").glob("*.jpg"))


def folder_of(count: int, tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for image in IMAGES[:count]:
        shutil.copy(image, folder)
    return folder


def choose(folder: Path | None, dtype: str = "int8") -> tuple[int, set[str], set[str], str, str]:
    images = choose_images(BuildOptions(Path("best.pt"), calib=folder, dtype=dtype))
    calibration = {i.path for i in images.calibration.images} if images.calibration else set()
    return len(calibration), calibration, {i.path for i in images.proof}, images.proof_source, " ".join(images.notes)


def test_a_set_that_calibration_would_use_up_gives_a_quarter_away(tmp_path: Path) -> None:
    """With exactly as many images as calibration takes, some are held out, with a note."""
    count, calibration, proof, _, warnings = choose(folder_of(20, tmp_path))
    assert count == 15
    assert len(proof) == 5
    assert not calibration & proof
    assert "5 images were kept out of calibration" in warnings


def test_a_larger_set_needs_no_reserve(tmp_path: Path) -> None:
    """The remaining images prove the model."""
    count, calibration, proof, _, _ = choose(folder_of(30, tmp_path))
    assert count == 20
    assert len(proof) == 10
    assert not calibration & proof


def test_a_tiny_set_is_compared_on_itself_and_says_so(tmp_path: Path) -> None:
    """Two images are better than no comparison; the source of the figures names them for what they are."""
    _, calibration, proof, source, warnings = choose(folder_of(2, tmp_path))
    assert calibration == proof
    assert "the calibration images themselves" in source
    assert "too few images" in warnings


def test_a_float_build_compares_on_all_but_one(tmp_path: Path) -> None:
    """fp16 calibrates on nothing, so its images prove it, without warnings about calibration."""
    _, _, proof, _, warnings = choose(folder_of(8, tmp_path), "fp16")
    assert len(proof) == 7
    assert "calibration" not in warnings


def test_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None at all is an error for int8, and fine for fp16."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CalibrationError):
        choose(None)
    assert choose(None, "fp16")[2] == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "No calibration images"),
        ({"dtype": "int8", "calib": Path("nowhere")}, "does not exist"),
        ({"dtype": "fp16"}, "nothing would prove it"),
    ],
)
def test_a_build_without_images_is_refused_before_the_network_is_exported(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal costs no work: no stage was announced, and nothing is left."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "calib_data" / "best.pt", tmp_path)
    stages: list[str] = []

    class Stages(BuildEvents):
        def stage(self, title: str) -> None:
            stages.append(title)

    with pytest.raises(CalibrationError, match=message):
        build(BuildOptions(Path("best.pt"), **options), Stages())
    assert stages == []
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


@pytest.mark.parametrize("name", ["best.pt", "best.onnx"])
def test_a_model_that_does_not_build_is_said_before_that_images_are_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal says that the model is broken, not that images are missing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"not a model")
    with pytest.raises(RkdeployError, match=name) as caught:
        build(BuildOptions(Path(name)), BuildEvents())
    assert not isinstance(caught.value, CalibrationError)


def test_a_float_build_taken_unproven_needs_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused that choosing the images would take."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.pt").write_bytes(b"not read")
    require_images(BuildOptions(Path("best.pt"), dtype="fp16", allow_unproven=True))

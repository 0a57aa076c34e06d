"""Default name of a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.bundle_name import MOST_BYTES, default_name


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("best.pt", "best"),
        ("calib_data/best.pt", "best"),
        ("runs/detect/helmet/weights/best.pt", "helmet"),
        ("/data/runs/train/exp3/weights/last.pt", "exp3-last"),
        ("runs/detect/安全帽/weights/epoch50.onnx", "安全帽-epoch50"),
        ("weights/yolov5n.pt", "yolov5n"),
        ("yolov8n-seg.onnx", "yolov8n-seg"),
        ("a\nb\udcff.pt", "a_b_"),
    ],
)
def test_default_names(model: str, name: str) -> None:
    """The file's name; in a run's folder `weights` the run's, for the names that every trainer gives."""
    assert default_name(Path(model)) == name


def test_a_long_name_is_cut_between_characters() -> None:
    """A name of 3 bytes a character ends on a whole one."""
    name = default_name(Path("模" * 80 + ".pt"))
    assert name == "模" * (MOST_BYTES // 3)


def test_a_given_name_names_the_folder() -> None:
    """As it is written, before target and type."""
    assert BuildOptions(Path("best.pt"), name="头盔 v2.1").folder == Path("build/头盔 v2.1-rk3588-int8")


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".a", " a", "a\n", "x" * 101])
def test_names_that_are_none(name: str) -> None:
    """A text that cannot begin a file name is refused before any work."""
    with pytest.raises(RkdeployError, match="--name"):
        BuildOptions(Path("best.pt"), name=name)

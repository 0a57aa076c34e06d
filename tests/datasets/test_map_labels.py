"""Files of class maps and of depth next to images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import ClassMapSpec, DepthFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.datasets.depth_files import read_depth
from rkdeploy.datasets.open_data import open_data
from rkdeploy.datasets.truth import DataError

DEPTH = ModelSpec(
    family="ultralytics",
    task="depth",
    class_names=("depth",),
    input=InputSpec("images", 8, 8, fit="stretch"),
    outputs=(HeadOutput("depth", "depth_map", 0, 4, (1, 1, 2, 2)),),
    depth=DepthFormula("metric"),
)
ONE = ModelSpec(
    family="ultralytics",
    task="semantic",
    class_names=("background", "road"),
    input=InputSpec("images", 8, 8),
    outputs=(HeadOutput("semantic", "class_map", 0, 4, (1, 1, 2, 2)),),
    class_maps=(ClassMapSpec("semantic", ("background", "road")),),
)


def image_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((4, 6, 3), 90, np.uint8))
    return path


def png(path: Path, values: NDArray[np.integer[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values)
    return path


def npy(path: Path, values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values, allow_pickle=True)  # type: ignore[arg-type]  # objects too, to be refused
    return path


def test_depth_of_a_folder(tmp_path: Path) -> None:
    """No data.yaml: images and depth; one without a depth is left out, with a note."""
    for name in ("a", "b", "c"):
        image_file(tmp_path / f"images/{name}.png")
    npy(tmp_path / "depth/a.npy", np.full((4, 6), 1.5, np.float32))
    png(tmp_path / "depth/c.png", np.full((4, 6), 2500, np.uint16))
    data = open_data(tmp_path, DEPTH)
    assert [image.name for image in data.images] == ["images/a.png", "images/c.png"]
    assert "1 images have no depth" in data.notes[0]
    values = [read_depth(image.depth, (4, 6)) for image in data.images if image.depth is not None]
    assert [float(depth[0, 0]) for depth in values] == [1.5, 2.5]


def test_depth_of_a_data_yaml(tmp_path: Path) -> None:
    """As ultralytics lays it out; class names do not matter."""
    image_file(tmp_path / "images/val/a.png")
    npy(tmp_path / "depth/val/a.npy", np.full((4, 6), 3, np.int32))
    (tmp_path / "data.yaml").write_text("path: .\nval: images/val\nnames: [depth]\n")
    (image,) = open_data(tmp_path / "data.yaml", DEPTH).images
    assert image.depth is not None
    assert float(read_depth(image.depth, (4, 6))[0, 0]) == pytest.approx(0.003)


def test_no_depth_at_all(tmp_path: Path) -> None:
    """The message says where they are looked for; COCO has none."""
    image_file(tmp_path / "images/a.png")
    with pytest.raises(DataError, match=r'looked for files such as ".*depth/a\.npy"'):
        open_data(tmp_path, DEPTH)
    (tmp_path / "coco.json").write_text("{}")
    with pytest.raises(DataError, match="no labels for a depth model"):
        open_data(tmp_path / "coco.json", DEPTH)


def test_unusable_depth(tmp_path: Path) -> None:
    """Other sizes and types, pickles and broken files are refused by name."""
    whole = np.ones((4, 6), np.float32)
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"\x93NUMPY\x01\x00\xff\xffgarbage")
    for file, message in (
        (npy(tmp_path / "size.npy", whole[:2]), r"is 6x2 \(width x height\), its image 6x4"),
        (npy(tmp_path / "flat.npy", whole[0]), "expected \\(height, width\\)"),
        (npy(tmp_path / "objects.npy", np.array([[{}]])), "is not an array"),
        (png(tmp_path / "gray.png", np.ones((4, 6), np.uint8)), "uint8, expected"),
        (broken, "is not an array that NumPy saved"),
        (tmp_path / "missing.npy", "cannot be read"),
        (tmp_path / "missing.png", "does not exist"),
    ):
        with pytest.raises(DataError, match=message):
            read_depth(file, (4, 6))


def test_masks_of_one_class(tmp_path: Path) -> None:
    """A data.yaml does not name the background that a model of one class has; a folder needs no data.yaml."""
    image_file(tmp_path / "images/val/a.png")
    mask = png(tmp_path / "masks/val/a.png", np.zeros((4, 6), np.uint8))
    (tmp_path / "set.yaml").write_text("path: .\nval: images/val\nnames: [road]\n")
    assert open_data(tmp_path / "set.yaml", ONE).images[0].maps == (mask,)
    assert open_data(tmp_path, ONE).images[0].maps == (mask,)
    mask.unlink()
    with pytest.raises(DataError, match=r"No image of the folder .* has a class map"):
        open_data(tmp_path, ONE)

"""Finding labeled images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.contract.formulas import ClassMapSpec, KeypointLayout
from rkdeploy.contract.spec import HeadOutput
from rkdeploy.datasets.open_data import open_data
from rkdeploy.datasets.truth import DataError
from tests.accuracy.tiny_model import SPEC, make_data

SAMPLE = Path(__file__).parents[2] / "calib_data"
SAMPLE_SPEC = replace(SPEC, class_names=("bolt", "nut", "washer"))
CLASSIFIER = replace(SPEC, task="classify", outputs=(HeadOutput("scores", "class_scores", 0, 32, (1, 2, 1, 1)),))


def test_the_sample() -> None:
    """100 validation images with 874 objects, also when its folder is named."""
    for given in (SAMPLE / "data.yaml", SAMPLE):
        data = open_data(given, SAMPLE_SPEC)
        assert len(data.images) == 100
        assert data.objects is not None
        assert sum(len(data.objects.of(image.name, (480, 640))) for image in data.images) == 874
        assert data.notes == ()


def test_the_samples_keypoints() -> None:
    """Another folder of labels, and the number of keypoints out of the contract."""
    spec = replace(SAMPLE_SPEC, task="pose", keypoints=KeypointLayout(2, scored=True))
    data = open_data(SAMPLE / "data.yaml", spec, labels="labels_pose")
    assert data.objects is not None
    truth = data.objects.of("images/val/val_0001.jpg", (480, 640))
    assert truth.keypoints is not None
    assert truth.keypoints[1, 1].tolist() == pytest.approx([0.850495 * 640, 0.186513 * 480, 2])


def test_a_limit_takes_the_same_images() -> None:
    """Chosen by their names, whatever their number; their labels come with them."""
    data = open_data(SAMPLE / "data.yaml", SAMPLE_SPEC, limit=10)
    names = [image.name for image in data.images]
    assert len(names) == 10
    assert names == sorted(names)
    assert set(names) < {i.name for i in open_data(SAMPLE / "data.yaml", SAMPLE_SPEC, limit=20).images}
    assert "10 of 100 images" in data.notes[0]


def test_unusable_labels_leave_their_image_out(tmp_path: Path) -> None:
    """As in training; the note names file and line."""
    yaml = make_data(tmp_path / "set")
    (tmp_path / "set/labels/val/004.txt").write_text("9 .5 .5 .1 .1")
    data = open_data(yaml, SPEC)
    assert len(data.images) == 19
    assert "004.txt" in data.notes[0]
    assert "line 1: class 9" in data.notes[0]


def test_what_is_not_there(tmp_path: Path) -> None:
    """A missing file, split, label folder, or form: each has its message."""
    yaml = make_data(tmp_path / "set", 4)
    with pytest.raises(DataError, match="does not exist"):
        open_data(tmp_path / "none.yaml", SPEC)
    with pytest.raises(DataError, match="has no test split") as caught:
        open_data(yaml, SPEC, split="test")
    assert "val" in caught.value.hint
    with pytest.raises(DataError, match=r"has labels: looked for .*elsewhere/val/000.txt"):
        open_data(yaml, SPEC, labels="elsewhere")
    with pytest.raises(DataError, match=r"holds no data\.yaml"):
        open_data(tmp_path, SPEC)
    with pytest.raises(DataError, match=r"neither a data\.yaml"):
        open_data(Path(__file__), SPEC)
    yaml.write_text("val: images/val\nnames: [bolt]\n")
    with pytest.raises(DataError, match="has 1 classes"):
        open_data(yaml, SPEC)
    yaml.write_text("val: [")
    with pytest.raises(DataError, match="not valid YAML"):
        open_data(yaml, SPEC)


def test_a_test_split_and_keypoints_of_a_data_yaml(tmp_path: Path) -> None:
    """`test` and `kpt_shape` are read; another number of keypoints than the model's is refused."""
    yaml = make_data(tmp_path / "set", 4)
    yaml.write_text("test: images/val\nkpt_shape: [1, 2]\nnames: [bolt, nut]\n")
    spec = replace(SPEC, task="pose", keypoints=KeypointLayout(1, scored=False))
    (tmp_path / "set/labels/val/000.txt").write_text("0 .5 .5 .1 .1 .5 .5")
    (tmp_path / "set/labels/val/002.txt").unlink()
    data = open_data(yaml, spec, split="test")
    assert data.objects is not None
    assert data.objects.of("images/val/000.png", (32, 32)).keypoints is not None
    with pytest.raises(DataError, match=r"1 keypoints .*the model 2"):
        open_data(yaml, replace(spec, keypoints=KeypointLayout(2, scored=True)), split="test")


def test_class_folders(tmp_path: Path) -> None:
    """A folder's name is its class, in the model's numbering and not in the alphabet's."""
    spec = replace(CLASSIFIER, class_names=("nut", "bolt"))
    for name in ("bolt", "nut"):
        (tmp_path / "val" / name).mkdir(parents=True)
        (tmp_path / "val" / name / "a.jpg").touch()
    data = open_data(tmp_path, spec)
    assert {image.name: image.class_id for image in data.images} == {"bolt/a.jpg": 1, "nut/a.jpg": 0}
    (tmp_path / "val" / "screw").mkdir()
    (tmp_path / "val" / "screw" / "a.jpg").touch()
    with pytest.raises(DataError, match='not classes of the model: "screw"'):
        open_data(tmp_path, spec)


def test_class_folders_of_other_names(tmp_path: Path) -> None:
    """As many folders as classes, none of a class's name: the alphabet decides, as in training, and it is said."""
    for name in ("n02", "n01"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").touch()
    data = open_data(tmp_path, CLASSIFIER)
    assert {image.name: image.class_id for image in data.images} == {"n01/a.jpg": 0, "n02/a.jpg": 1}
    assert "alphabetical" in data.notes[0]


def test_masks_stand_beside_images(tmp_path: Path) -> None:
    """One map: masks/; several: a folder each.  All or none must be there."""
    yaml = make_data(tmp_path / "set", 2)
    one = HeadOutput("road", "class_map", 0, 1, (1, 2, 32, 32))
    spec = replace(SPEC, outputs=(*SPEC.outputs, one), class_maps=(ClassMapSpec("road", ("no", "yes")),))
    data = open_data(yaml, spec)
    assert data.images[0].maps == ()
    assert "masks/val/000.png" in data.notes[0]
    (tmp_path / "set/masks/val").mkdir(parents=True)
    (tmp_path / "set/masks/val/000.png").touch()
    with pytest.raises(DataError, match="1 masks are missing"):
        open_data(yaml, spec)
    (tmp_path / "set/masks/val/001.png").touch()
    assert open_data(yaml, spec).images[1].maps == (tmp_path / "set/masks/val/001.png",)
    two = replace(spec, class_maps=(*spec.class_maps, ClassMapSpec("lane", ("no", "yes"))))
    assert "masks_road" in open_data(yaml, two).notes[0]

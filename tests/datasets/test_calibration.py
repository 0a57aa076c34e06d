"""Choosing calibration images."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from rkdeploy.datasets.calibration import CalibrationSet, find_calibration, load_letterboxed
from rkdeploy.datasets.data_yaml import read_data_yaml
from rkdeploy.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
CALIB = ROOT / "calib_data" / "images" / "calib"
VAL = ROOT / "calib_data" / "images" / "val"


def copy_images(source: Path, target: Path, count: int) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir())[:count]:
        shutil.copy(path, target / path.name)
    return target


def paths(chosen: CalibrationSet) -> list[str]:
    return [image.path for image in chosen.images]


def warned(chosen: CalibrationSet, text: str) -> bool:
    return any(text in warning for warning in chosen.warnings)


def write_image(path: Path, image: cv2.typing.MatLike) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def test_the_sample_is_found_without_an_option() -> None:
    """None finds ./calib_data, uses its train split, holds back its val split, and has nothing to warn about."""
    chosen = find_calibration(None, ROOT, 30, 0)
    assert chosen.source == 'train split of "./calib_data/data.yaml"'
    assert len(chosen.images) == 30
    assert chosen.warnings == ()
    assert all(path.startswith("images/calib/") for path in paths(chosen))
    assert (chosen.images[0].width, chosen.images[0].height) == (640, 480)
    held = chosen.held_out(8)
    assert len(held.images) == 8
    assert held.note == ""
    assert all(image.path.startswith("images/val/") for image in held.images)


def test_nothing_found_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    """Without any images there is no INT8: never random data, but an error that says what to give."""
    with pytest.raises(CalibrationError, match="No calibration images") as caught:
        find_calibration(None, tmp_path, 10, 0)
    assert "--calib" in caught.value.hint
    (tmp_path / "calib_data").mkdir()
    with pytest.raises(CalibrationError, match="holds no images"):
        find_calibration(None, tmp_path, 10, 0)


def test_the_choice_is_the_same_wherever_the_folder_is(tmp_path: Path) -> None:
    """The same names give the same choice in another place, and from a list file in another order."""
    one, two = copy_images(CALIB, tmp_path / "one", 30), copy_images(CALIB, tmp_path / "deep" / "two", 30)
    names = sorted((path.name for path in two.iterdir()), reverse=True)
    (two / "list.txt").write_text("\n".join(names))
    chosen = [find_calibration(option, tmp_path, 10, 7) for option in (one, Path("deep/two"), two / "list.txt")]
    assert chosen[0].images == chosen[1].images == chosen[2].images
    assert paths(chosen[0]) == sorted(paths(chosen[0]))
    assert paths(find_calibration(one, tmp_path, 10, 8)) != paths(chosen[0])


def test_the_choice_is_pinned() -> None:
    """The choice from the sample with seed 0 never changes between versions: bundles name it."""
    assert paths(find_calibration(CALIB, ROOT, 3, 0)) == ["train_0003.jpg", "train_0005.jpg", "train_0017.jpg"]


def test_an_added_image_replaces_at_most_one(tmp_path: Path) -> None:
    """A set that grows by one image keeps the rest of its choice."""
    folder = copy_images(CALIB, tmp_path, 20)
    before = set(paths(find_calibration(folder, tmp_path, 10, 0)))
    shutil.copy(VAL / "val_0000.jpg", folder / "added.jpg")
    assert len(before - set(paths(find_calibration(folder, tmp_path, 10, 0)))) <= 1


def test_folders_are_searched_below_and_hidden_files_left_out(tmp_path: Path) -> None:
    """A folder counts with all below it, links included and loops survived; hidden files are not images."""
    copy_images(CALIB, tmp_path / "set" / "a" / "b", 3)
    copy_images(CALIB, tmp_path / "elsewhere", 5)
    (tmp_path / "set" / "._photo.jpg").write_bytes(b"\0")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "loop").symlink_to(tmp_path / "set")
    chosen = find_calibration(Path("set"), tmp_path, 50, 0)
    assert len(chosen.images) == 5
    assert warned(chosen, "3 images have the same pixels as another")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are spelled, in folder and file names: a build's record is JSON, which has none."""
    folder = copy_images(CALIB, tmp_path / os.fsdecode(b"set\xe9"), 4)
    first = min(folder.iterdir())
    first.rename(folder / os.fsdecode(b"caf\xe9.jpg"))
    chosen = find_calibration(folder, tmp_path, 4, 0)
    assert "caf\\xe9.jpg" in paths(chosen)
    assert "set\\xe9" in chosen.source
    for text in (*paths(chosen), chosen.source):
        text.encode()


def test_unreadable_images_are_named_and_left_out(tmp_path: Path) -> None:
    """Broken files are left out with a warning that names five and counts the rest."""
    folder = copy_images(CALIB, tmp_path, 20)
    for i in range(7):
        (folder / f"broken_{i}.jpg").write_bytes(b"GIF or so")
    chosen = find_calibration(folder, tmp_path, 40, 0)
    assert len(chosen.images) == 20
    text = next(warning for warning in chosen.warnings if "cannot be read" in warning)
    assert text.startswith("7 images")
    assert text.count("broken_") == 5
    assert "and 2 more" in text


def test_a_mostly_unreadable_set_is_an_error(tmp_path: Path) -> None:
    """When more than half cannot be read, something is wrong with the whole set."""
    folder = copy_images(CALIB, tmp_path, 2)
    for i in range(3):
        (folder / f"broken_{i}.jpg").write_bytes(b"x")
    with pytest.raises(CalibrationError, match="3 of 5 calibration images"):
        find_calibration(folder, tmp_path, 10, 0)


def test_exact_duplicates_are_left_out_of_the_choice(tmp_path: Path) -> None:
    """The same pixels count once, in another file format too, and others take their places."""
    folder = copy_images(CALIB, tmp_path, 22)
    first = min(folder.iterdir())
    write_image(folder / "again.png", cv2.imread(str(first)))
    shutil.copy(first, folder / "copy.jpg")
    chosen = find_calibration(folder, tmp_path, 22, 0)
    assert len(chosen.images) == 22
    assert len({image.sha256 for image in chosen.images}) == 22


def test_few_images_are_warned_about_with_the_reason(tmp_path: Path) -> None:
    """Fewer than 20 images are allowed, with a warning that says what they do to INT8."""
    chosen = find_calibration(copy_images(CALIB, tmp_path, 5), tmp_path, 5, 0)
    assert warned(chosen, "5 calibration images are few")
    assert warned(chosen, "range")


def test_flat_images_are_warned_about(tmp_path: Path) -> None:
    """Black and single-colored images are named, and a set of nothing else does not fail in the comparison."""
    write_image(tmp_path / "black.png", np.zeros((48, 64, 3), np.uint8))
    write_image(tmp_path / "grey.png", np.full((48, 64, 3), 128, np.uint8))
    chosen = find_calibration(tmp_path, tmp_path, 5, 0)
    assert warned(chosen, "2 of 2 images are one flat color (1 of them black): black.png, grey.png")


def test_alike_images_are_warned_about(tmp_path: Path) -> None:
    """Frames of one fixed camera are noticed, and so are a few near-duplicates among others."""
    rng = np.random.default_rng(0)
    scene = cv2.imread(str(CALIB / "train_0000.jpg"))
    for i in range(20):
        noise = rng.integers(0, 6, scene.shape, dtype=np.uint8)
        write_image(tmp_path / "camera" / f"{i}.png", cv2.add(scene, noise))
        if i < 4:
            write_image(tmp_path / "mixed" / f"near_{i}.png", cv2.add(scene, noise))
    copy_images(VAL, tmp_path / "mixed", 20)
    assert warned(find_calibration(Path("camera"), tmp_path, 20, 0), "all alike")
    mixed = find_calibration(Path("mixed"), tmp_path, 24, 0)
    assert warned(mixed, "3 of 24 images are nearly the same")
    assert not warned(mixed, "all alike")


def test_very_mixed_sizes_are_warned_about(tmp_path: Path) -> None:
    """Thumbnails among camera pictures are noticed."""
    folder = copy_images(CALIB, tmp_path, 20)
    write_image(folder / "thumb.png", cv2.resize(cv2.imread(str(VAL / "val_0001.jpg")), (64, 48)))
    assert warned(find_calibration(folder, tmp_path, 21, 0), "from 64x48 (thumb.png) to 640x480")


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(count: int) -> None:
    """Without images there is no calibration."""
    with pytest.raises(CalibrationError, match="expected 1 or more"):
        find_calibration(None, ROOT, count, 0)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("none", "does not exist"),
        ("one.jpg", "is a single image"),
        ("archive.zip", "UTF-8|NUL"),
        ("empty.txt", "names no image"),
        ("empty", "holds no images"),
    ],
)
def test_options_that_are_no_set(tmp_path: Path, option: str, says: str) -> None:
    """Anything that is neither folder, list nor data.yaml is refused with the forms that are taken."""
    shutil.copy(VAL / "val_0000.jpg", tmp_path / "one.jpg")
    (tmp_path / "archive.zip").write_bytes(b"PK\x03\x04\xff\xfe\0")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CalibrationError, match=says) as caught:
        find_calibration(Path(option), tmp_path, 10, 0)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "train: images/train\nval: images/val\n",
        "path: ..\ntrain: set/images/train\nval: set/images/val\n",
        "train: [images/train]\nval: [images/val]\n",
        "train: train.txt\nval: images/val\n",
        "train: ../images/train\nvalid: ../images/val\n",
    ],
    ids=["folder", "path", "lists of folders", "list file", "Roboflow"],
)
def test_data_yaml_forms(tmp_path: Path, text: str) -> None:
    """Every way of naming a split that Ultralytics takes finds the same images."""
    base = tmp_path / "set"
    copy_images(CALIB, base / "images" / "train", 6)
    copy_images(VAL, base / "images" / "val", 4)
    (base / "train.txt").write_text("".join(f"./images/train/train_{i:04}.jpg\n" for i in range(6)))
    (base / "my.yaml").write_text(text + "names: [bolt, nut]\n")
    chosen = find_calibration(Path("set/my.yaml"), tmp_path, 50, 0)
    assert len(chosen.images) == 6
    assert [image.file.name for image in chosen.held_out(9).images] == [f"val_{i:04}.jpg" for i in range(4)]
    assert "Only 4 of the 9" in chosen.held_out(9).note


def test_data_yaml_path_relative_to_the_working_directory(tmp_path: Path) -> None:
    """A `path` that does not exist next to the yaml is looked for in the working directory, as in the training code."""
    copy_images(CALIB, tmp_path / "datasets" / "x", 3)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "x.yaml").write_text("path: datasets\ntrain: x\n")
    assert len(find_calibration(Path("conf/x.yaml"), tmp_path, 5, 0).images) == 3


def test_val_stands_in_for_a_missing_train_split_with_a_warning(tmp_path: Path) -> None:
    """If only val is on this machine it is used, with a warning, and held-out images come from its rest."""
    copy_images(VAL, tmp_path / "val", 8)
    (tmp_path / "data.yaml").write_text("train: no/such\nval: val\n")
    chosen = find_calibration(tmp_path, tmp_path, 5, 0)
    assert chosen.source.startswith("val split")
    assert warned(chosen, "so the val split was used")
    held = chosen.held_out(3)
    assert not {image.path for image in held.images} & set(paths(chosen))
    assert len(held.images) == 3


def test_held_out_images_are_never_calibration_images(tmp_path: Path) -> None:
    """COCO128 has one folder as train and val: what was calibrated on is left out, by its pixels."""
    copy_images(CALIB, tmp_path / "all", 10)
    (tmp_path / "data.yaml").write_text("train: all\nval: all\n")
    chosen = find_calibration(tmp_path, tmp_path, 7, 0)
    held = chosen.held_out(10)
    assert len(held.images) == 3
    assert not {image.sha256 for image in held.images} & {image.sha256 for image in chosen.images}


def test_no_held_out_images_are_said() -> None:
    """When calibration took every image, the note says that none is left for the proof."""
    held = find_calibration(CALIB, ROOT, 100, 0).held_out(4)
    assert held.images == ()
    assert "No image is left" in held.note


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("names: [a]\n", 'no "train" and no "val"'),
        ("train: gone\nval: gone2\n", "is on this machine"),
        ("- a\n- b\n", "holds a list"),
        ("", "holds a NoneType"),
        ("train: {a: b}\n", "expected a folder, a list file"),
        ("train: [1, 2]\n", "expected a folder, a list file"),
        ("path: 3\ntrain: x\n", '"path"'),
        ("train: [unclosed\n", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("train: x\nnames: {1: a}\n", "expected 0 to 0"),
        ("train: x\nnames: 3\n", "expected a list or a mapping"),
    ],
)
def test_bad_data_yaml(tmp_path: Path, text: str, says: str) -> None:
    """A data.yaml that names nothing usable is refused with what is wrong in it."""
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(CalibrationError, match=says):
        find_calibration(Path("data.yaml"), tmp_path, 10, 0)


def test_class_names_in_both_forms(tmp_path: Path) -> None:
    """`names` as a list and as a mapping, in any order, give names by class id."""
    for text in ("names: [bolt, nut]\n", "names: {1: nut, 0: bolt}\n"):
        (tmp_path / "data.yaml").write_text(text)
        assert read_data_yaml(tmp_path / "data.yaml", tmp_path).class_names == ("bolt", "nut")


@dataclass
class Boxed:
    image: NDArray[np.uint8]


def test_letterboxed_images_own_their_memory() -> None:
    """Images come in the set's order, in either layout, and survive the letterbox reusing its buffer."""
    buffer = np.empty((1, 24, 32, 3), np.uint8)

    def letterbox(image: NDArray[np.uint8]) -> Boxed:
        cv2.resize(image, (32, 24), dst=buffer[0])
        return Boxed(buffer)

    chosen = find_calibration(None, ROOT, 3, 0)
    nhwc, nchw = list(load_letterboxed(chosen, letterbox)), list(load_letterboxed(chosen, letterbox, "nchw"))
    assert [image.shape for image in nhwc] == [(1, 24, 32, 3)] * 3
    assert [image.shape for image in nchw] == [(1, 3, 24, 32)] * 3
    for image, a, b in zip(chosen.images, nhwc, nchw, strict=True):
        assert np.array_equal(a[0], cv2.resize(image.read(), (32, 24)))
        assert np.array_equal(a.transpose(0, 3, 1, 2), b)
        assert b.flags.c_contiguous


def test_an_image_that_changed_is_noticed(tmp_path: Path) -> None:
    """The chosen and hashed content is what is read, or the build stops."""
    chosen = find_calibration(copy_images(CALIB, tmp_path, 2), tmp_path, 2, 0)
    shutil.copy(VAL / "val_0000.jpg", chosen.images[0].file)
    with pytest.raises(CalibrationError, match="changed while"):
        list(load_letterboxed(chosen, lambda image: Boxed(image[None])))


def test_a_worthless_set_has_faults(tmp_path: Path) -> None:
    """One picture under many names, and mostly flat pictures; a good set, and a few copies, have none."""
    assert find_calibration(CALIB, ROOT, 20, 0).faults == ()
    few = copy_images(CALIB, tmp_path / "few", 4)
    source = min(few.iterdir())
    (few / "copy.jpg").write_bytes(source.read_bytes())
    assert find_calibration(few, tmp_path, 20, 0).faults == ()
    many = copy_images(CALIB, tmp_path / "many", 1)
    for i in range(5):
        (many / f"copy{i}.jpg").write_bytes(min(many.iterdir()).read_bytes())
    assert "6 calibration files are the same picture" in find_calibration(many, tmp_path, 20, 0).faults[0]

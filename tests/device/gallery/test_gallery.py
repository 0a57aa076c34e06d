"""Nearest names, and the gallery's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.gallery.gallery import Gallery
from rkdeploy.device.gallery.gallery_file import read_gallery, write_gallery
from rkdeploy.device.gallery.make_gallery import embedding_in, pictures_of
from rkdeploy.device.postprocess.detections import Detections, NestedResult
from rkdeploy.errors import RkdeployError


def at(*degrees: float) -> NDArray[np.float32]:
    angles = np.radians(degrees)
    return np.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.float32)


KNOWN = Gallery(("ada", "ada", "bob", "eve", "kim"), at(0, 100, 45, 180, 200), 0.9)


def test_names_by_their_nearest_image() -> None:
    """95 degrees: ada by her second image (5 degrees away), then bob (50), then eve (85)."""
    found = KNOWN.match(at(95)[0])
    assert found.name == "ada"
    assert [one.name for one in found.nearest] == ["ada", "bob", "eve"]
    np.testing.assert_allclose([one.cosine for one in found.nearest], np.cos(np.radians([5, 50, 85])), atol=1e-6)
    assert found.cosine == found.nearest[0].cosine


def test_nothing_is_near_enough() -> None:
    found = KNOWN.match(at(72.5)[0])
    assert found.name is None
    assert found.nearest[0].cosine == pytest.approx(np.cos(np.radians(27.5)), abs=1e-6)


def nested(*vectors: NDArray[np.float32] | None) -> Detections:
    """Objects of growing size, each with the embedding that a further model gives."""
    count = len(vectors)
    boxes = np.array([(0, 0, i + 1, i + 1) for i in range(count)], np.float32)
    answers = [
        None if one is None else NestedResult("faces", ("embedding",), replace(Detections.empty(), embedding=one))
        for one in vectors
    ]
    found = Detections(boxes, np.ones(count, np.float32), np.zeros(count, np.int32))
    return replace(found, nested=tuple((one,) for one in answers))


def test_embeddings_of_a_chain_are_named() -> None:
    found = KNOWN.named(nested(at(1)[0], None, at(44)[0]))
    assert found.match is None
    assert found.nested is not None
    names = [
        None if one is None or one.detections.match is None else one.detections.match.name for (one,) in found.nested
    ]
    assert names == ["ada", None, "bob"]
    other = KNOWN.named(replace(Detections.empty(), embedding=np.ones(3, np.float32)))  # of another model
    assert other.match is None


def test_the_largest_object_stands_for_a_picture() -> None:
    zero = np.zeros(2, np.float32)
    largest = embedding_in(nested(at(1)[0], at(2)[0], None, zero))
    assert largest is not None
    assert largest.tolist() == at(2)[0].tolist()
    assert embedding_in(nested(None)) is None
    assert embedding_in(Detections.empty()) is None
    assert embedding_in(replace(Detections.empty(), embedding=zero)) is None


def test_file(tmp_path: Path) -> None:
    """The file gives back names and vectors; the threshold is that of the run."""
    path = tmp_path / "known.npz"
    named = Gallery(("Ada 螺", "b"), at(30, 60), 0.9)
    write_gallery(path, named, "ab12")
    found = read_gallery(path, "ab12", 0.5)
    assert (found.names, found.threshold) == (("Ada 螺", "b"), 0.5)
    np.testing.assert_allclose(found.vectors, named.vectors, atol=1e-6)
    with pytest.raises(RkdeployError, match="is of another model"):
        read_gallery(path, "cd34", 0.5)
    with pytest.raises(RkdeployError, match=r"ends in \.npz"):
        write_gallery(tmp_path / "known.txt", named, "ab12")


def test_files_that_are_no_gallery(tmp_path: Path) -> None:
    """Damaged anywhere, with pickles, or with other arrays: refused with one sentence, or read as it is."""
    path = tmp_path / "known.npz"
    write_gallery(path, Gallery(("a", "b"), at(30, 60)), "ab12")
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(RkdeployError, match="gallery"):
            read_gallery(path, "ab12", 0.5)
    for place in range(0, len(whole), 5):
        changed = bytearray(whole)
        changed[place] ^= 0x41
        path.write_bytes(bytes(changed))
        try:
            assert len(read_gallery(path, "ab12", 0.5).names) == 2
        except RkdeployError:
            continue
    arrays = {"vectors": at(30, 60), "names": np.array(["a", "b"]), "model": np.array("ab12")}
    for name, wrong in (
        ("names", np.array(["a", b"b"], object)),
        ("names", np.array(["a"])),
        ("vectors", np.full((2, 2), np.nan, np.float32)),
        ("vectors", np.zeros((0, 2), np.float32)),
    ):
        np.savez(path, **{**arrays, name: wrong})
        with pytest.raises(RkdeployError, match="is not a gallery"):
            read_gallery(path, "ab12", 0.5)
    with pytest.raises(RkdeployError, match="cannot be read"):
        read_gallery(tmp_path / "nowhere.npz", "ab12", 0.5)


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    for name in ("ada/1.jpg", "ada/2.png", "bob.jpg", "notes.txt", ".hidden/3.jpg", "ada/.4.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [(name, file.name) for name, file in pictures_of(tmp_path)] == [
        ("bob", "bob.jpg"),
        ("ada", "1.jpg"),
        ("ada", "2.png"),
    ]
    (tmp_path / "none").mkdir()
    with pytest.raises(RkdeployError, match="has 0 pictures"):
        pictures_of(tmp_path / "none")
    with pytest.raises(RkdeployError, match="cannot be listed"):
        pictures_of(tmp_path / "nowhere")

"""Retrieval and verification by hand, and data sets of identities."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.accuracy.identity_figures import best_cosine, identity_figures, made_pairs, retrieval, verification
from rkdeploy.datasets.identities import identity_set
from rkdeploy.datasets.truth import DataError, ImagePair


def at(*degrees: float) -> NDArray[np.float32]:
    angles = np.radians(degrees)
    return np.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.float32)


def test_retrieval_by_hand() -> None:
    """Identity 0 at 0, 10 and 50 degrees, identity 1 at 40 and 100, a third alone at 200.

    From 0: 10 (hit), 40, 50 (hit): (1/1 + 2/3) / 2.  From 10: 0 (hit), 40, 50 (hit): the same.  From 50: 40, 10 (hit),
    0 (hit): (1/2 + 2/3) / 2 - of 40 degrees to 10 and of 50 to 0, 100 lies as far as 0 and comes behind it.
    From 40: 50, 10, 0, 100 (hit): 1/4.  From 100: 50, 40 (hit): 1/2.
    """
    ids = np.array([0, 0, 0, 1, 1, 2])
    top1, mean_ap, queries = retrieval(ids, at(0, 10, 50.1, 40, 100.3, 200))
    assert (top1, queries) == (2 / 5, 5)
    expected = [5 / 6, 5 / 6, (1 / 2 + 2 / 3) / 2, 1 / 4, 1 / 2]
    assert mean_ap == pytest.approx(np.mean(expected))


def test_retrieval_without_queries() -> None:
    assert retrieval(np.array([0, 1]), at(0, 90)) == (0.0, 0.0, 0)
    assert identity_figures(["a", "b"], np.array([0, 1]), at(0, 90), ()) is None


def test_best_cosine_lies_in_the_middle_of_the_widest_gap() -> None:
    cosines, same = np.array([0.1, 0.2, 0.7, 0.9]), np.array([False, False, True, True])
    assert best_cosine(cosines, same) == pytest.approx(0.45)
    assert best_cosine(cosines, ~same) in (pytest.approx(-0.45), pytest.approx(0.95))  # all or none


def test_verification_over_folds() -> None:
    """The held-out fold is judged with the threshold of the other: 0.5 from the first, 0.65 from the second."""
    cosines = np.array([0.3, 0.7, 0.6, 0.7])
    same = np.array([False, True, False, True])
    accuracy, threshold = verification(cosines, same, np.array([0, 0, 1, 1]))
    assert accuracy == pytest.approx((1.0 + 0.5) / 2)
    assert threshold == pytest.approx(0.65)


def test_made_pairs_are_balanced() -> None:
    ids = np.repeat(np.arange(8), 4)
    ends, same = made_pairs(ids)
    assert same.sum() == 8 * 6
    assert len(ends) == 2 * same.sum()
    assert ((ids[ends[:, 0]] == ids[ends[:, 1]]) == same).all()
    assert np.array_equal(ends, made_pairs(ids)[0])


def test_perfect_embeddings() -> None:
    ids = np.repeat(np.arange(4), 3)
    found = identity_figures([str(i) for i in range(12)], ids, np.eye(4, dtype=np.float32)[ids], ())
    assert found is not None
    assert (found.top1, found.mean_ap, found.verification, found.threshold) == (1.0, 1.0, 1.0, 0.5)
    assert (found.queries, found.identities, found.given_pairs) == (12, 4, False)


def make_folders(root: Path, **counts: int) -> list[Path]:
    files = []
    for name, count in counts.items():
        for i in range(1, count + 1):
            files.append(root / name / f"{name}_{i:04}.jpg")
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            files[-1].write_bytes(b"")
    return files


def test_pairs_of_lfw(tmp_path: Path) -> None:
    """Ten folds of one pair of each kind, with pairs whose images are missing left out."""
    files = make_folders(tmp_path, Abel=2, Berta=2)
    (tmp_path / "pairs.txt").write_text("2\t1\nAbel\t1\t2\nAbel\t1\tBerta\t2\nBerta\t1\t2\nAbel\t2\tCarl\t1\n")
    found = identity_set(files, tmp_path, "folder")
    assert [image.class_id for image in found.images] == [0, 0, 1, 1]
    a, b = "Abel/Abel_0001.jpg", "Berta/Berta_0001.jpg"
    assert found.pairs == (
        ImagePair(a, "Abel/Abel_0002.jpg", True, 0),
        ImagePair(a, "Berta/Berta_0002.jpg", False, 0),
        ImagePair(b, "Berta/Berta_0002.jpg", True, 1),
    )
    figures = identity_figures([i.name for i in found.images], np.array([0, 0, 1, 1]), at(0, 5, 90, 95), found.pairs)
    assert figures is not None
    assert (figures.pairs, figures.verification, figures.given_pairs) == (3, 1.0, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [("Abel\t1\tx\n", "expected a name and numbers"), ("Carl\t1\t2\n", "None of the 1 pairs"), ("\0", "pairs.txt")],
)
def test_bad_pairs(tmp_path: Path, text: str, message: str) -> None:
    files = make_folders(tmp_path, Abel=2, Berta=1)
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        identity_set(files, tmp_path, "folder")


def test_folders_without_pairs_of_images(tmp_path: Path) -> None:
    files = make_folders(tmp_path, Abel=1, Berta=1)
    with pytest.raises(DataError, match="2 images in 2 folders"):
        identity_set(files, tmp_path, "folder")
    shutil.rmtree(tmp_path / "Berta")
    with pytest.raises(DataError, match="1 folders"):
        identity_set(make_folders(tmp_path, Abel=3), tmp_path, "folder")

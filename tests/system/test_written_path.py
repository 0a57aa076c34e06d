"""Paths as people write them, also on Windows."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkdeploy.datasets.data_yaml import read_data_yaml
from rkdeploy.errors import CalibrationError, SourceError
from rkdeploy.images.list_file import paths_in_list
from rkdeploy.system.written_path import find_written, is_of_windows


def test_backslashes_and_blanks(tmp_path: Path) -> None:
    """A backslash is a slash, blanks around do not count; but a file that is really called so is taken."""
    assert find_written("images\\train\\a.jpg", tmp_path) == tmp_path / "images" / "train" / "a.jpg"
    assert find_written("images/train ", tmp_path) == tmp_path / "images" / "train"
    (tmp_path / "odd\\name ").mkdir()
    assert find_written("odd\\name ", tmp_path) == tmp_path / "odd\\name "


def test_names_of_windows() -> None:
    """Drives and servers; a colon further on is none."""
    assert [is_of_windows(t) for t in ("D:\\data", " c:/data", "\\\\nas\\data", "a:b", "images\\a.jpg")] == [
        *(True, True, True),
        *(False, False),
    ]


def test_a_list_from_a_windows_machine(tmp_path: Path) -> None:
    """Its drive is not mounted: said once, with a hint, rather than a broken image per line."""
    (tmp_path / "list.txt").write_text("D:\\data\\a.jpg\nD:\\data\\b.jpg\n")
    with pytest.raises(SourceError, match=r"path of a Windows machine\. Write the paths relative"):
        paths_in_list(tmp_path / "list.txt")


def test_a_yaml_from_a_windows_machine(tmp_path: Path) -> None:
    """A root on its drive is the yaml's folder, to which the set was copied."""
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "images" / "train" / "a.jpg").write_bytes(b"x")
    (tmp_path / "data.yaml").write_text("path: D:\\sets\\parts\ntrain: images\\train\nval: ..\\images\\train\n")
    data = read_data_yaml(tmp_path / "data.yaml", tmp_path)
    assert data.root == tmp_path
    for split in (data.train, data.val):
        assert split is not None
        assert split.files == (tmp_path / "images" / "train" / "a.jpg",)


@pytest.mark.parametrize("text", ['train: "images\\train"', 'train: "C:\\Users\\me"', 'path: "a\\bin"\ntrain: x'])
def test_backslashes_in_double_quotes(text: str, tmp_path: Path) -> None:
    """YAML makes escapes of them: a tab, or an error of its own."""
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(CalibrationError, match="In double quotes a backslash begins an escape"):
        read_data_yaml(tmp_path / "data.yaml", tmp_path)

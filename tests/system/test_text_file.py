"""Text files as Linux and Windows leave them: what is read, and how the rest is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rkdeploy.datasets.data_yaml import read_data_yaml
from rkdeploy.datasets.yolo_labels import BadLabelsError, LabelForm, read_labels
from rkdeploy.errors import CalibrationError, RkdeployError, SourceError
from rkdeploy.host.building.input_choice import read_names
from rkdeploy.images.list_file import paths_in_list
from rkdeploy.system.text_file import TextFileError, decode_text, read_text, text_lines

WORDS = "0: 螺丝\r\n1: camión\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_are_read(encoding: str) -> None:
    """UTF-8, and whatever begins with its mark, give the same text."""
    assert decode_text(WORDS.encode(encoding), "x") == WORDS


def test_utf_16_of_the_other_byte_order() -> None:
    """The mark says the order."""
    assert decode_text(b"\xfe\xff" + WORDS.encode("utf-16-be"), "x") == WORDS


def test_lines_end_as_on_all_systems() -> None:
    """LF, CRLF and CR end lines; a form feed or a line separator is part of a name."""
    assert text_lines("a\r\nb\rc\nd\u2028e\x0cf") == ["a", "b", "c", "d\u2028e\x0cf"]


@pytest.mark.parametrize(
    ("data", "reason", "fix"),
    [
        ("a: b\nc: [螺丝]".encode("gbk"), 'line 2, byte 9.*as GBK it would read "螺丝"', "iconv -f GB18030"),
        ("a\xf3".encode("latin-1"), "is not UTF-8 text", "Save it as UTF-8"),
        ("names".encode("utf-16-le"), "NUL", "Save it as UTF-8"),
        ("names: [螺, x]".encode("utf-16-be"), "is not UTF-8 text", "Save it as UTF-8"),
        (b"PK\x03\x04\x00\xff\xff", "is not UTF-8 text", "^$"),
        (b"\xff\xfea", "is not UTF-16-LE text", ""),
    ],
)
def test_encodings_that_are_refused(data: bytes, reason: str, fix: str) -> None:
    """GBK is named, with a fix, never guessed; for a zip file the fix is not to save it as UTF-8."""
    with pytest.raises(TextFileError, match=reason) as caught:
        decode_text(data, "data.yaml")
    assert re.search(fix, caught.value.fix)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    """Nothing, a folder, a file that is too large."""
    (tmp_path / "big").write_bytes(b"12345")
    for name, reason in ((".", "is a folder"), ("none", "cannot be read"), ("big", "5 bytes")):
        with pytest.raises(TextFileError, match=reason):
            read_text(tmp_path / name, 4)


def test_every_kind_of_file_reads_what_windows_writes(tmp_path: Path) -> None:
    """A data.yaml, a list, class names and labels with a byte order mark and CRLF."""
    (tmp_path / "图 片").mkdir()
    (tmp_path / "图 片" / "a.jpg").write_bytes(b"x")
    for encoding in ("utf-8-sig", "utf-16"):
        for name, text in (
            ("data.yaml", "train: '图 片\\ '\r\nnames: [螺丝]\r\n"),
            ("list.txt", "图 片\\a.jpg \r\n"),
            ("names.txt", "螺丝 \r\n"),
            ("labels.txt", "0 0.5 0.5 0.25 0.25\r\n"),
        ):
            (tmp_path / name).write_bytes(text.encode(encoding))
        data = read_data_yaml(tmp_path / "data.yaml", tmp_path)
        assert data.train is not None
        assert data.train.files == (tmp_path / "图 片" / "a.jpg",)
        assert data.class_names == ("螺丝",)
        assert paths_in_list(tmp_path / "list.txt") == (tmp_path / "图 片" / "a.jpg",)
        assert read_names(tmp_path / "names.txt") == ("螺丝",)
        assert read_labels(tmp_path / "labels.txt", LabelForm("detect", 1)).xywh.tolist() == [[0.5, 0.5, 0.25, 0.25]]


def test_every_kind_of_file_refuses_gbk(tmp_path: Path) -> None:
    """Each with the fix, where there is room for one."""
    file = tmp_path / "x.yaml"
    file.write_bytes("螺丝".encode("gbk"))
    with pytest.raises(CalibrationError, match="Save it as UTF-8"):
        read_data_yaml(file, tmp_path)
    with pytest.raises(SourceError, match="Save it as UTF-8"):
        paths_in_list(file)
    with pytest.raises(BadLabelsError, match="UTF-8"):
        read_labels(file, LabelForm("detect", 1))
    with pytest.raises(RkdeployError, match="Save it as UTF-8"):
        read_names(file.rename(tmp_path / "x.txt"))

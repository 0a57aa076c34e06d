"""Input sets: named by content, the same after a journey, refused when damaged."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from rkdeploy.analysis.tune.input_store import InputStore
from rkdeploy.errors import RkdeployError


def filled(store: InputStore, **files: str) -> str:
    with store.fill() as (folder, named):
        for name, text in files.items():
            (folder / name).write_text(text)
    (name,) = named
    return name


@pytest.fixture
def store(tmp_path: Path) -> InputStore:
    (tmp_path / "store").mkdir()
    return InputStore(tmp_path / "store")


def test_the_name_is_the_content(store: InputStore) -> None:
    """Equal files give one input set; another text, or another name of a file, another one."""
    names = [filled(store, a="1"), filled(store, a="1"), filled(store, a="2"), filled(store, b="1")]
    assert len(set(names)) == 3
    assert names[0] == names[1]
    assert {path.name for path in store.folder.iterdir()} == set(names)


def test_an_error_while_filling_leaves_nothing(store: InputStore) -> None:
    """An input set is whole or not there."""

    def fail() -> None:
        with store.fill() as (folder, _):
            (folder / "a").write_text("1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(store.folder.iterdir())


def test_a_journey(store: InputStore, tmp_path: Path) -> None:
    """Packed, unpacked elsewhere (twice: the second time there is nothing to do), and the same, folders too."""
    with store.fill() as (folder, named):
        (folder / "maps").mkdir()
        (folder / "maps" / "one.png").write_bytes(bytes(range(256)))
        (folder / "index.json").write_text("{}")
    block = store.packed(named[0])
    assert block == store.packed(named[0])
    elsewhere = InputStore(tmp_path / "elsewhere")
    for _ in range(2):
        elsewhere.unpack(named[0], block)
    assert named[0] in elsewhere
    assert (elsewhere.path(named[0]) / "maps" / "one.png").read_bytes() == bytes(range(256))
    assert [path.name for path in elsewhere.folder.iterdir()] == named


def test_damaged_and_foreign_blocks_are_refused(store: InputStore, tmp_path: Path) -> None:
    """Half a block, another input set's block, and one that would write outside: no file of theirs stays."""
    name, other = filled(store, a="1" * 5000), filled(store, a="2")
    elsewhere = InputStore(tmp_path / "elsewhere")
    outside = io.BytesIO()
    with zipfile.ZipFile(outside, "w") as archive:
        archive.writestr("../outside.txt", "x")
    for block in (store.packed(name)[:-40], store.packed(other), outside.getvalue(), b""):
        with pytest.raises(RkdeployError):
            elsewhere.unpack(name, block)
        assert not list(elsewhere.folder.iterdir())
    assert not (tmp_path / "outside.txt").exists()

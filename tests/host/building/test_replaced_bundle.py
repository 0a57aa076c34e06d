"""A bundle of another model is kept when a build takes its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rkdeploy.contract.bundle import CONTRACT, find_bundle, read_bundle
from rkdeploy.errors import BundleError
from rkdeploy.host.building.replaced_bundle import keep_replaced, replaced_note
from tests.board.board_files import write_bundle

A, B, C = "a" * 64, "b" * 64, "c" * 64


def write(folder: Path, sha256: str) -> Path:
    """The last step of a build of that source."""
    keep_replaced(folder, sha256)
    return write_bundle(folder, source=sha256).folder


def models(folder: Path) -> dict[str, str]:
    return {p.name: read_bundle(p).record.source.sha256[:1] for p in sorted(folder.iterdir())}


def test_nothing_of_three_projects_is_lost(tmp_path: Path) -> None:
    """Each keeps the one before; the newest has the name, and is what is found near by."""
    for sha256 in (A, B, C):
        write(tmp_path / "best", sha256)
    assert models(tmp_path) == {"best": "c", "best.previous": "a", "best.previous-2": "b"}
    found, sentence = find_bundle(tmp_path)
    assert found.folder == tmp_path / "best"
    assert "the only bundle near by" in sentence


def test_the_same_model_replaces_its_own(tmp_path: Path) -> None:
    """Building again leaves one bundle."""
    for _ in range(2):
        write(tmp_path / "best", A)
    assert models(tmp_path) == {"best": "a"}


def test_a_build_that_dies_in_between_loses_nothing(tmp_path: Path) -> None:
    """Kept but not yet replaced: both are whole, and the next build does not keep it a second time."""
    folder = write(tmp_path / "best", A)
    assert keep_replaced(folder, B) == tmp_path / "best.previous"
    assert models(tmp_path) == {"best": "a", "best.previous": "a"}
    write(folder, B)
    assert models(tmp_path) == {"best": "b", "best.previous": "a"}


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are copied there."""

    def refuse(_a: str, _b: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write(write(tmp_path / "best", A), B)
    assert models(tmp_path) == {"best": "b", "best.previous": "a"}


def test_what_cannot_be_kept_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old bundle stays where it is, nothing half-copied is left."""
    folder = write(tmp_path / "best", A)

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(BundleError, match=r"cannot be kept as .*No space left"):
        keep_replaced(folder, B)
    assert models(tmp_path) == {"best": "a"}


def test_what_is_said(tmp_path: Path) -> None:
    """The note says where the old one goes and how to avoid it; no note if there is none."""
    folder = write(tmp_path / "best", A)
    hw = (read_bundle(folder).spec.input.height, read_bundle(folder).spec.input.width)
    note = replaced_note(folder, B, hw)
    assert f'kept as "{folder}.previous"' in note
    assert "--name" in note
    assert replaced_note(folder, A, hw) == replaced_note(tmp_path / "free", A, hw) == ""
    assert "is for" in replaced_note(folder, A, (hw[0], 2 * hw[1]))
    (folder / CONTRACT).write_text("{")
    assert "is a bundle of unknown origin" in replaced_note(folder, A, hw)

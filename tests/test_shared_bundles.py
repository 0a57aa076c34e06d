"""Bundles that are built once for all workers of a run."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from rkdeploy.contract.bundle import Bundle, read_bundle
from rkdeploy.errors import BundleError
from tests import shared_bundles
from tests.board.board_files import write_bundle


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The bundles that were written; a small one takes the place of the toolkit's."""
    written: list[Path] = []

    def build(options: object, _events: object) -> Bundle:
        folder: Path = options.folder  # type: ignore[attr-defined]
        written.append(folder)
        return write_bundle(folder)

    monkeypatch.setattr("rkdeploy.host.building.build_stages.build", build)
    return written


class Factory:
    """Of a worker's temporary folders."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def getbasetemp(self) -> Path:
        return self.base


def test_it_is_built_once_for_all_workers(built: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second worker takes the first one's; another run has its own."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    for worker in ("gw0", "gw1"):
        with shared_bundles.shared_bundle("best.pt", Factory(tmp_path / "run" / worker)) as bundle:  # type: ignore[arg-type]
            assert bundle.folder == built[0]
    assert len(built) == 1
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    with shared_bundles.shared_bundle("best.pt", Factory(tmp_path / "run" / "gw0")):  # type: ignore[arg-type]
        assert len(built) == 2


def test_a_test_that_changes_it_is_found(built: list[Path], tmp_path: Path) -> None:
    """A file that another test would read changed fails the run."""
    with contextlib.ExitStack() as stack:
        bundle = stack.enter_context(shared_bundles.shared_bundle("best.pt", Factory(tmp_path)))  # type: ignore[arg-type]
        assert read_bundle(built[0]).spec == bundle.spec
        with bundle.rknn.open("ab") as file:
            file.write(b" ")
        with pytest.raises(BundleError):
            stack.close()

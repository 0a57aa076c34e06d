"""Plug-ins of other packages: the example of the docs is installed, and each of its parts is used."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rkdeploy.contract.bundle import Bundle
from rkdeploy.device.runtime.backend_names import backend_names
from rkdeploy.device.runtime.backends import backend_module
from rkdeploy.errors import BackendError, RkdeployError, SourceError
from rkdeploy.system import plugins as plugin_module
from rkdeploy.system.plugins import BACKENDS, SOURCES, load_plugin, plugins

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "plugin_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example package, as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(folder), str(EXAMPLE)], check=True, capture_output=True)
    return folder


def rkdeploy(installed: Path, *arguments: str | Path, where: Path) -> subprocess.CompletedProcess[str]:
    """A command with the package installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(installed), str(ROOT)))}
    command = [sys.executable, "-m", "rkdeploy", *map(str, arguments)]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)


def test_a_family(installed: Path, tmp_path: Path) -> None:
    """A plug-in's family is asked before our own."""
    result = rkdeploy(installed, "inspect", ROOT / "calib_data" / "best.pt", "--json", where=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["generation"] == "of the hardware store"


def test_a_source_a_backend_and_a_sink(installed: Path, sample_bundle: Bundle, tmp_path: Path) -> None:
    """`run` takes all three by name."""
    command = (
        "run",
        sample_bundle.folder,
        "color://3",
        "--backend",
        "constant",
        "--conf",
        "0.0",
        "--sink",
        "csv:x.csv",
    )
    result = rkdeploy(installed, *command, where=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "ones" in result.stdout
    rows = list(csv.DictReader((tmp_path / "x.csv").open(encoding="utf-8")))
    assert {row["source"] for row in rows} == {"color://3"}
    assert {row["frame"] for row in rows} == {"0", "1", "2"}


def test_what_is_not_installed(installed: Path, sample_bundle: Bundle, tmp_path: Path) -> None:
    """The messages name what there is, plug-ins included."""
    result = rkdeploy(installed, "run", sample_bundle.folder, "color://1", "--sink", "cvs:x", where=tmp_path)
    assert result.returncode == 1
    assert 'Did you mean "csv"?' in result.stderr
    result = rkdeploy(installed, "run", sample_bundle.folder, "color://1", "--backend", "constants", where=tmp_path)
    assert result.returncode == 2
    assert "constant" in result.stderr.replace("constants", "")


def point(value: str, name: str = "x", group: str = BACKENDS) -> EntryPoint:
    return EntryPoint(name, value, group)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points of this test only."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(plugin_module, "entry_points", lambda group: [one for one in points if one.group == group])
    plugins.cache_clear()
    return points


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    plugins.cache_clear()


def test_one_that_does_not_load(offered: list[EntryPoint]) -> None:
    """The package is named, and the cause."""
    offered.append(point("no_such_module_anywhere"))
    assert "x" in backend_names()
    with pytest.raises(RkdeployError, match=r'"x" of the package no_such_module_anywhere cannot be loaded: ModuleNotF'):
        backend_module("x")


def test_two_of_one_name(offered: list[EntryPoint]) -> None:
    """Neither is taken."""
    offered += [point("json"), point("csv")]
    with pytest.raises(RkdeployError, match="offered by two packages: json and csv"):
        plugins(BACKENDS)


def test_our_own_backends_stay_ours(offered: list[EntryPoint]) -> None:
    """A plug-in cannot take the name of a backend of ours."""
    offered.append(point("json", "onnxruntime"))
    assert backend_module("onnxruntime").__name__ == "rkdeploy.device.runtime.onnxruntime"
    with pytest.raises(BackendError, match="does not exist"):
        backend_module("y")


def test_an_unknown_scheme(offered: list[EntryPoint]) -> None:
    """Without the plug-in, the message names the scheme."""
    from rkdeploy.device.stream.sources import open_source

    with pytest.raises(SourceError, match='unknown scheme "color"'):
        open_source("color://3")
    offered.append(point("builtins:int", "color", SOURCES))
    plugins.cache_clear()
    with pytest.raises(TypeError):  # int("color://3", None)
        open_source("color://3")
    assert load_plugin(point("builtins:int")) is int

"""Fixtures of all tests."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer.main

from rkdeploy.contract.bundle import Bundle
from rkdeploy.device.postprocess.native.decode_library import DECODE_VARIABLE, decode_choice
from tests.board.sample_model import shim_text
from tests.board.shim import Shim, build_shim
from tests.first_imports import import_share
from tests.longest_first import Recorder, sort_by_seconds
from tests.shared_bundles import shared_bundle

# One test process per core: more threads below it only wait for each other, and memory that is returned at once is
# asked for again at once.  The workers of pytest-xdist and all processes that tests start inherit these.
for _name, _value in {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "ZIG_GLOBAL_CACHE_DIR": str(Path(__file__).parents[1] / ".cache" / "zig"),  # libc for aarch64 is compiled once
}.items():
    os.environ.setdefault(_name, _value)

# Without compiled files every process compiles anew what it imports, for a third of its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Typer makes its parser of all commands anew for each call, which takes longer than most commands do.
typer.main.get_command = functools.cache(typer.main.get_command)


@pytest.hookimpl(optionalhook=True)  # the environments of `tests/resolutions.py` have no xdist
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than cores: a test that waits for a process of its own leaves its core to another."""
    return (os.cpu_count() or 1) + 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `longest_first.py`."""
    parser.addoption("--record-seconds", action="store_true", help="bring tests/seconds.json up to date")


def pytest_configure(config: pytest.Config) -> None:
    """Take Ctrl-C even where the shell started us with it ignored (`make test &`): tests send it to what they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--record-seconds") and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Recorder())


def pytest_sessionstart(session: pytest.Session) -> None:
    """Divide the first compilation of test files among the workers of a whole run."""
    worker = getattr(session.config, "workerinput", None)
    if worker and session.config.args == session.config.getini("testpaths"):
        import_share(int(worker["workerid"].removeprefix("gw")), worker["workercount"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first: what is handed out last is short, so workers end together."""
    sort_by_seconds(items)


def pytest_collection_finish() -> None:
    """Take what collection made out of garbage collection: it stays, and a fork need not copy its pages."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def built_shims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The stand-in for librknnrt.so: as today's, and as an early runtime's."""
    folder = tmp_path_factory.mktemp("shim")
    return {
        "today": build_shim(folder / "today.so"),
        "old": build_shim(folder / "old.so", "-DSHIM_OLD"),
    }


@pytest.fixture
def make_shim(built_shims: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shim]:
    """Make a copy of the stand-in the runtime of this test: `make_shim(text, age="today", fail="rknn_run:-2@3")`."""

    def make(text: str | None = None, *, age: str = "today", fail: str = "") -> Shim:
        shim = Shim(tmp_path / "librknnrt.so", tmp_path / "shim.log", tmp_path / "shim.txt")
        shim.library.unlink(missing_ok=True)  # one that this process has loaded must not change under it
        shutil.copyfile(built_shims[age], shim.library)
        shim.spec.write_text(shim_text() if text is None else text)
        monkeypatch.setenv("RKDEPLOY_LIBRKNNRT", str(shim.library))
        monkeypatch.setenv("RKNN_SHIM_LOG", str(shim.log))
        monkeypatch.setenv("RKNN_SHIM_SPEC", str(shim.spec))
        monkeypatch.setenv("RKNN_SHIM_FAIL", fail)
        return shim

    return make


@pytest.fixture(scope="session")
def sample_bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """The sample's detector, int8 for rk3588, built once per run by the toolkit: only read it, or copy it."""
    with shared_bundle("best.pt", tmp_path_factory) as bundle:
        yield bundle


@pytest.fixture(scope="session")
def sample_pose_bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """The sample's pose model, int8 for rk3588, built once per run by the toolkit: only read it, or copy it."""
    with shared_bundle("best-pose.pt", tmp_path_factory) as bundle:
        yield bundle


@pytest.fixture(scope="module", params=["numpy", "native"])
def decode(request: pytest.FixtureRequest) -> Iterator[str]:
    """The implementation of the decode: every test of a module that uses it runs once with numpy and once with C."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DECODE_VARIABLE, request.param)
        decode_choice.cache_clear()
        yield request.param
    decode_choice.cache_clear()

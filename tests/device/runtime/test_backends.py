"""VersionFinding backends by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.spec import NpuModel
from rkdeploy.device.runtime import backends
from rkdeploy.device.runtime.backend_names import BACKENDS
from rkdeploy.device.runtime.backends import (
    BackendChoice,
    backend_module,
    choose_backend,
    open_runtime,
    open_runtimes,
)
from rkdeploy.device.runtime.board_identity import Board
from rkdeploy.device.runtime.cores import CoreMask
from rkdeploy.device.runtime.protocol import RuntimeOptions
from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.contexts import Contexts
from rkdeploy.errors import BackendError
from tests.board.sample_model import SPEC, picture, write_rknn
from tests.board.shim import Shim


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A folder with nothing but a model for the stand-in runtime."""
    write_rknn(tmp_path / "best.rknn")
    return Bundle(tmp_path, SPEC, NpuModel("best.rknn", "rk3588", "int8"))


@pytest.mark.parametrize("name", ["onnxruntime", "opencv_dnn"])
def test_a_backend_is_found_by_its_name(name: str) -> None:
    """A name gives the module that is registered for it."""
    assert backend_module(name).__name__ == BACKENDS[name]


@pytest.mark.parametrize(("name", "hint"), [("opencv-dnn", '"opencv_dnn"'), ("OnnxRuntime", '"onnxruntime"'), ("", "")])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str, hint: str) -> None:
    """An unknown name gives the list, and the nearest one where there is one."""
    with pytest.raises(BackendError, match=r"expected one of .*onnxruntime, opencv_dnn") as caught:
        backend_module(name)
    assert hint in caught.value.hint


def test_backends_are_imported_only_when_chosen() -> None:
    """Importing the registry, or a backend's module, imports no optional package."""
    code = (
        "import sys, rkdeploy.device.runtime.backends as r\n"
        "from rkdeploy.device.runtime.backend_names import BACKENDS\n"
        "assert not any(module in sys.modules for module in BACKENDS.values())\n"
        "r.backend_module('onnxruntime'); r.backend_module('opencv_dnn')\n"
        "assert not {'onnx', 'onnxruntime', 'torch', 'yaml'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def on_a_pc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No Rockchip board and no NPU runtime, whatever this machine is; returns where a runtime would be looked for."""
    monkeypatch.setattr(backends, "read_board", lambda: Board(None, None))
    library = tmp_path / "no" / "librknnrt.so"
    monkeypatch.setenv("RKDEPLOY_LIBRKNNRT", str(library))
    return library


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr(backends, "_is_installed", lambda package: package in packages)


def test_auto_on_a_pc(on_a_pc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime is better than OpenCV, and the choice is explained."""
    installed(monkeypatch, "onnxruntime", "cv2")
    assert choose_backend().backend == "onnxruntime"
    installed(monkeypatch, "cv2")
    assert choose_backend() == BackendChoice(
        "opencv_dnn", "Backend opencv_dnn: this is not a Rockchip board, and RKDEPLOY_LIBRKNNRT names no runtime."
    )


def test_auto_on_a_board(make_shim: Callable[..., Shim], monkeypatch: pytest.MonkeyPatch) -> None:
    """librknnrt is best; without it rknnlite, then the CPU, each with the reason and a warning."""
    monkeypatch.setattr(backends, "read_board", lambda: Board("rk3588", "0.9.8"))
    installed(monkeypatch, "rknnlite", "cv2")
    shim = make_shim()
    assert choose_backend() == BackendChoice("librknnrt", "Backend librknnrt, because this board has an rk3588.")
    shim.library.unlink()
    lite = choose_backend()
    assert (lite.backend, lite.degraded) == ("rknnlite", True)
    assert "does not exist" in lite.reason
    installed(monkeypatch, "cv2")
    host = choose_backend()
    assert (host.backend, host.degraded) == ("opencv_dnn", True)
    assert "its NPU is not used" in host.reason


def test_a_library_that_is_named_is_taken(make_shim: Callable[..., Shim], bundle: Bundle) -> None:
    """If no board is recognized, an existing librknnrt.so decides, and one context is opened without a core."""
    shim = make_shim()
    (runtime,) = open_runtimes("auto", bundle)
    with runtime:
        assert runtime.name == "librknnrt"
        assert runtime.infer(picture(0))[0].shape == SPEC.outputs[0].shape
    assert shim.calls()["rknn_set_core_mask"] == 0


def test_one_runtime_a_core(make_shim: Callable[..., Shim], bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cores of the board, or those that were asked for, in that order, with the weights loaded once."""
    monkeypatch.setattr(backends, "read_board", lambda: Board("rk3588", None))
    shim = make_shim()
    with ExitStack() as stack:
        for runtime in [*open_runtimes("librknnrt", bundle), *open_runtimes("librknnrt", bundle, [2, 0])]:
            stack.enter_context(runtime).infer(picture(0))
    masks = [line.rpartition("=")[2].rstrip(")") for line in shim.lines() if "set_core_mask" in line]
    assert masks == ["1", "2", "4", "4", "1"]
    assert (shim.calls()["rknn_init"], shim.calls()["rknn_dup_context"]) == (2, 3)
    assert shim.open_contexts() == 0


def test_more_contexts_than_cores(
    make_shim: Callable[..., Shim], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contexts go round the cores, all share the weights that were loaded once, and each says its memory."""
    monkeypatch.setattr(backends, "read_board", lambda: Board("rk3588", None))
    shim = make_shim()
    runtimes = open_runtimes("librknnrt", bundle, contexts=5)
    with Contexts(runtimes, Backoff(0.0, 0.0), 1, lambda _: True) as contexts:
        assert [(size.weights, size.internal) for size in contexts.memory] == [(1000, 2000)] * 5
    masks = [line.rpartition("=")[2].rstrip(")") for line in shim.lines() if "set_core_mask" in line]
    assert masks == ["1", "2", "4", "1", "2"]
    assert (shim.calls()["rknn_init"], shim.calls()["rknn_dup_context"]) == (1, 4)
    assert len(open_runtimes("librknnrt", bundle, [2, 0], contexts=1)) == 1
    assert len(open_runtimes("opencv_dnn", bundle, [0, 1], contexts=3)) == 3
    assert len(open_runtimes("opencv_dnn", bundle, contexts=3)) == 3


def test_cores_that_the_board_lacks(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core beyond the SoC's is refused by name; an NPU of one core is given no mask."""
    monkeypatch.setattr(backends, "read_board", lambda: Board("rk3576", None))
    with pytest.raises(BackendError, match="NPU core 2 does not exist: an rk3576 has 2 cores") as caught:
        open_runtimes("librknnrt", bundle, [0, 2])
    assert "Choose from 0, 1." in caught.value.hint
    monkeypatch.setattr(backends, "read_board", lambda: Board("rk3568", None))
    assert backends._core_masks(None) == backends._core_masks([0]) == [None]


@pytest.mark.parametrize("name", ["librknnrt", "rknnlite"])
def test_an_unknown_soc_gets_one_context_and_a_note(name: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for a single context is given if no core was chosen, and only then."""
    fake = SimpleNamespace(open_bundle=lambda _bundle, mask, _options: SimpleNamespace(mask=mask, notes=("its own",)))
    monkeypatch.setattr(backends, "backend_module", lambda _: fake)
    monkeypatch.setattr(backends, "read_board", lambda: Board(None, None))
    (runtime,) = open_runtimes(name, bundle)
    first, own = runtime.notes
    assert "one context is used" in first
    assert own == "its own"
    assert [r.notes for r in open_runtimes(name, bundle, [0, 1])] == [("its own",)] * 2
    monkeypatch.setattr(backends, "read_board", lambda: Board("rk3568", None))
    assert [r.notes for r in open_runtimes(name, bundle)] == [("its own",)]


def test_copies_on_the_host(bundle: Bundle) -> None:
    """Without an NPU a runtime a core is as many copies, and without cores one."""
    assert [runtime.name for runtime in open_runtimes("opencv_dnn", bundle, [0, 1])] == ["opencv_dnn"] * 2
    assert len(open_runtimes("opencv_dnn", bundle)) == 1
    assert open_runtime("opencv_dnn", bundle, CoreMask.CORE_1).name == "opencv_dnn"


def test_replay_needs_a_folder(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording is named by an option or an environment variable, and its absence is explained."""
    monkeypatch.delenv("RKDEPLOY_REPLAY", raising=False)
    with pytest.raises(BackendError, match="needs a recording") as caught:
        open_runtime("replay", bundle)
    assert "--replay, or in the environment variable RKDEPLOY_REPLAY" in caught.value.hint
    monkeypatch.setenv("RKDEPLOY_REPLAY", "/nowhere/1")
    for options, folder in (
        (RuntimeOptions(), "/nowhere/1"),
        (RuntimeOptions(recording=Path("/nowhere/2")), "/nowhere/2"),
    ):
        with (
            pytest.raises(BackendError, match=f'"{folder}" holds no recording'),
            open_runtime("replay", bundle, options=options),
        ):
            pass


@pytest.mark.parametrize("soc", [None, "rk3568", "rk3576", "rk3588"])
@pytest.mark.parametrize("cores", [None, (0,)])
def test_masks_of_each_soc(
    soc: str | None, cores: tuple[int, ...] | None, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many contexts as cores, and no mask if the runtime chooses: on one core, or if the SoC is unknown."""
    fake = SimpleNamespace(open_bundle=lambda _bundle, mask, _options: SimpleNamespace(mask=mask, notes=()))
    monkeypatch.setattr(backends, "backend_module", lambda _: fake)
    monkeypatch.setattr(backends, "read_board", lambda: Board(soc, None))
    runtimes: list[Any] = list(open_runtimes("librknnrt", bundle, cores))
    assert len(runtimes) == (1 if cores else {"rk3576": 2, "rk3588": 3}.get(soc or "", 1))
    assert (runtimes[0].mask is None) == (soc == "rk3568" or (soc is None and cores is None))

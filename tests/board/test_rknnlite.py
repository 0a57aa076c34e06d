"""The rknnlite backend on a package that fails as silently as the real one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkdeploy.contract.embedded_contract import custom_string
from rkdeploy.contract.spec import Anchors
from rkdeploy.device.runtime.cores import CoreMask
from rkdeploy.device.runtime.rknnlite import RknnLite
from rkdeploy.errors import BackendError
from tests.board import fake_rknnlite
from tests.board.sample_model import SPEC, echoed, picture, shim_text, write_rknn
from tests.board.shim import Shim

IMAGE = picture(0)


@pytest.fixture
def rknn(tmp_path: Path) -> Path:
    return write_rknn(tmp_path / "best.rknn")


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in fake_rknnlite.install().items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("fmt", ["nchw", "nhwc"])
def test_outputs_are_float_and_exact(make_shim: Callable[..., Shim], rknn: Path, fmt: str) -> None:
    """The package's float outputs are the integers of the model, dequantized, frame after frame, in either layout."""
    shim = make_shim(shim_text(fmt=fmt, fill="const:7"))
    with RknnLite(rknn, SPEC, core=CoreMask.CORE_2) as runtime:
        for _ in range(3):
            for tensor, output in zip(runtime.infer(IMAGE), SPEC.outputs, strict=True):
                assert tensor.shape == output.shape
                assert tensor.values.dtype == np.float32
                np.testing.assert_array_equal(tensor.values, np.float32(21) * np.float32(0.05))
        assert "librknnrt 2.3.2 (shim@" in runtime.figures_from
        assert "driver 0.9.8" in runtime.figures_from
    assert any("mask=4" in line for line in shim.lines())
    assert shim.open_contexts() == 0


def test_frames_are_not_mixed(make_shim: Callable[..., Shim], rknn: Path) -> None:
    """Every frame gives its own values, although the package reuses its buffers."""
    make_shim()
    with RknnLite(rknn, SPEC) as runtime:
        for seed in range(3):
            tensors = runtime.infer(picture(seed))
            for tensor, wanted in zip(tensors, echoed(picture(seed)), strict=True):
                np.testing.assert_array_equal(tensor.values, wanted.dequantized())


def test_another_contracts_model_is_told(make_shim: Callable[..., Shim], rknn: Path) -> None:
    """The text in the model is read from the package's own context; other anchors are named, and nothing runs."""
    assert SPEC.anchors is not None
    other = replace(SPEC, anchors=Anchors((*SPEC.anchors.levels_px[:1], ((1.0, 2.0), (3.0, 4.0)))))
    shim = make_shim(shim_text() + f"custom {custom_string(other)}\n")
    with pytest.raises(BackendError, match=r"anchors: .*\[1.0,2.0\].* in the model, .* in the contract"):
        RknnLite(rknn, SPEC).__enter__()
    assert (shim.calls()["rknn_run"], shim.open_contexts()) == (0, 0)
    shim.spec.write_text(shim_text() + f"custom {custom_string(SPEC)}\n")
    with RknnLite(rknn, SPEC) as runtime:
        runtime.infer(IMAGE)


def test_a_failed_run_gives_no_stale_boxes(make_shim: Callable[..., Shim], rknn: Path) -> None:
    """The package ignores a failed rknn_run and returns the frame before; the backend raises, then goes on."""
    shim = make_shim(fail="rknn_run:-1@3")
    with RknnLite(rknn, SPEC) as runtime:
        runtime.infer(picture(0))
        runtime.infer(picture(1))
        with pytest.raises(BackendError, match="rknn_run failed with -1, RKNN_ERR_FAIL"):
            runtime.infer(picture(2))
        np.testing.assert_array_equal(runtime.infer(picture(3))[0].values, echoed(picture(3))[0].dequantized())
    assert shim.open_contexts() == 0


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("rknn_init:-6", r"init_runtime answered -1 \(RKNN init failed. code: -6\)"),
        ("rknn_set_core_mask:-1", "init_runtime answered -1"),
        ("rknn_query:-5@1", "cannot tell the version of the runtime"),
        ("rknn_query:-5@3", r"rknn_query\(INPUT_ATTR\) failed with -5, RKNN_ERR_PARAM_INVALID"),
    ],
)
def test_nothing_runs_after_a_failed_start(make_shim: Callable[..., Shim], rknn: Path, fail: str, message: str) -> None:
    """A start that answers -1 or None is an error with its reason, no frame runs, and no context stays."""
    shim = make_shim(fail=fail)
    runtime = RknnLite(rknn, SPEC)
    with pytest.raises(BackendError, match=message), runtime:
        pass
    with pytest.raises(BackendError, match="is not open"):
        runtime.infer(IMAGE)
    assert shim.calls()["rknn_run"] == 0
    assert shim.open_contexts() == 0


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("rknn_inputs_set:-5@2", "rknn_inputs_set failed with -5"),
        ("rknn_run:-2@2", "rknn_run failed with -2, RKNN_ERR_TIMEOUT"),
        ("rknn_outputs_get:-1@2", "rknn_outputs_get failed with -1"),
    ],
)
def test_a_failed_frame_says_which_call_failed(
    make_shim: Callable[..., Shim], rknn: Path, fail: str, message: str
) -> None:
    """None, or another frame's boxes, become an error that names the call and its code."""
    shim = make_shim(fail=fail)
    with RknnLite(rknn, SPEC) as runtime:
        runtime.infer(IMAGE)
        with pytest.raises(BackendError, match=message):
            runtime.infer(IMAGE)
    assert shim.open_contexts() == 0


def lying(method: str, answer: Any) -> type[fake_rknnlite.RKNNLite]:
    return type("Lying", (fake_rknnlite.RKNNLite,), {method: lambda self, *args, **options: answer})


@pytest.mark.parametrize(
    ("method", "answer", "message"),
    [
        ("load_rknn", -1, "load_rknn answered -1"),
        ("load_rknn", None, "load_rknn answered None"),
        ("init_runtime", None, "init_runtime answered None"),
        ("get_sdk_version", None, "cannot tell the version"),
        ("get_sdk_version", "nothing of use", "cannot tell the version"),
    ],
)
def test_every_answer_of_the_start_is_checked(
    make_shim: Callable[..., Shim], rknn: Path, monkeypatch: pytest.MonkeyPatch, method: str, answer: Any, message: str
) -> None:
    """-1, None and text without a version are refused."""
    shim = make_shim()
    monkeypatch.setattr(fake_rknnlite, "RKNNLite", lying(method, answer))
    with pytest.raises(BackendError, match=message), RknnLite(rknn, SPEC):
        pass
    assert shim.open_contexts() == 0


@pytest.mark.parametrize("answer", [None, [], [np.zeros((1, 18, 4, 8), np.float32)] * 2])
def test_frames_that_did_not_pass_the_library_are_refused(
    make_shim: Callable[..., Shim], rknn: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """Whatever it answers, a frame for which no rknn_run was seen is refused: its failure could not have been seen."""
    make_shim()
    monkeypatch.setattr(fake_rknnlite, "RKNNLite", lying("inference", answer))
    with (
        RknnLite(rknn, SPEC) as runtime,
        pytest.raises(BackendError, match="did not run the model through the library"),
    ):
        runtime.infer(IMAGE)


def test_outputs_of_another_shape_are_refused(
    make_shim: Callable[..., Shim], rknn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output that is not what the runtime promised is refused by name."""
    make_shim()
    plain = fake_rknnlite.RKNNLite.inference

    def turned(self: Any, inputs: Any, reuse_outputs: bool = False) -> Any:
        return [values.transpose(0, 2, 3, 1) for values in plain(self, inputs) or []]

    monkeypatch.setattr(fake_rknnlite.RKNNLite, "inference", turned)
    with (
        RknnLite(rknn, SPEC) as runtime,
        pytest.raises(BackendError, match=r'"stride8_map" as \(1, 4, 8, 18\) float32, expected \(1, 18, 4, 8\)'),
    ):
        runtime.infer(IMAGE)


def test_a_package_that_hides_its_library_is_refused(
    make_shim: Callable[..., Shim], rknn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If return codes cannot be seen nothing runs, and the hint says so."""
    shim = make_shim()

    class Hidden(fake_rknnlite.RKNNRuntime):
        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            return None if name == "lib" and self.__dict__.get("context") is not None and hidden else value

    hidden = False
    plain = fake_rknnlite.RKNNLite.get_sdk_version
    start = fake_rknnlite.RKNNLite.init_runtime

    def init_then_hide(self: Any, **options: Any) -> int:
        nonlocal hidden
        answer = start(self, **options)
        hidden = True
        return answer

    def release(self: Any) -> None:
        nonlocal hidden
        hidden = False
        plain_release(self)

    plain_release = fake_rknnlite.RKNNLite.release
    monkeypatch.setattr(fake_rknnlite, "RKNNRuntime", Hidden)
    monkeypatch.setattr(fake_rknnlite.RKNNLite, "init_runtime", init_then_hide)
    monkeypatch.setattr(fake_rknnlite.RKNNLite, "release", release)
    monkeypatch.setattr(fake_rknnlite.RKNNLite, "get_sdk_version", plain)
    with pytest.raises(BackendError, match="hides its library") as caught, RknnLite(rknn, SPEC):
        pass
    assert "librknnrt" in caught.value.hint
    assert shim.open_contexts() == 0


def test_another_contract_is_refused(make_shim: Callable[..., Shim], rknn: Path) -> None:
    """The package compares nothing; the backend compares names, shapes and scales when opening."""
    shim = make_shim(shim_text(scale=0.3))
    with pytest.raises(BackendError, match=r'"stride8_map" is int8 with scale 0\.3'), RknnLite(rknn, SPEC):
        pass
    assert shim.open_contexts() == 0


def test_without_the_package(rknn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is named, with what to install."""
    monkeypatch.setitem(sys.modules, "rknnlite", None)
    monkeypatch.setitem(sys.modules, "rknnlite.api", None)
    with pytest.raises(BackendError, match="rknn-toolkit-lite2") as caught, RknnLite(rknn, SPEC):
        pass
    assert "rkdeploy[board]" in caught.value.hint

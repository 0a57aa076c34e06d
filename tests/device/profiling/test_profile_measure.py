"""Whole profiles: on the stand-in runtime, and on this PC."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from rkdeploy.device.profiling.measure import ProfileOptions, measure_profile
from rkdeploy.device.profiling.one_context import MeasureLimits
from rkdeploy.device.profiling.profile_document import SCHEMA_VERSION, Profile
from rkdeploy.device.runtime import backends
from rkdeploy.device.runtime.board_identity import Board
from rkdeploy.errors import BackendError, SourceError
from tests.board.board_files import put, write_board, write_bundle
from tests.board.sample_model import shim_text
from tests.board.shim import Shim
from tests.command_line import rkdeploy

SHORT = MeasureLimits(frames=20, seconds=20.0, warmup=2)
MakeShim = Callable[..., Shim]


def options(backend: str, **changed: object) -> ProfileOptions:
    return replace(ProfileOptions(backend, frame_wh=(128, 96), limits=SHORT), **changed)  # type: ignore[arg-type]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a board with three cores, also for the registry, which looks at the machine itself."""
    monkeypatch.setattr(backends, "read_board", lambda: Board("rk3588", "0.9.8"))
    return write_board(tmp_path / "board")


def reasons(profile: Profile) -> dict[str, str]:
    return {item.figure: item.reason for item in profile.missing}


def codes(profile: Profile) -> set[str]:
    return {advice.code for advice in profile.advice}


def test_every_figure_on_the_stand_in(make_shim: MakeShim, tmp_path: Path, board: Path) -> None:
    """With librknnrt on three cores nothing is missing, every context is closed, and no time passes for an NPU's."""
    shim = make_shim()
    bundle = write_bundle(tmp_path / "best")
    profile = measure_profile(bundle, options("librknnrt", sysroot=board))
    assert profile.missing == ()
    assert [item.contexts for item in profile.throughput] == [1, 3, 6]
    assert [item.cores for item in profile.throughput] == [(0,), (0, 1, 2), (0, 1, 2, 0, 1, 2)]
    assert all(item.frames == 20 and item.frames_per_second > 0 for item in profile.throughput)
    assert all(item.network_per_second > 0 and item.failed == 0 for item in profile.throughput)
    assert profile.throughput[0].npu_load_percent == (87.0, 5.0, 0.0)
    assert [core.core for core in profile.cores] == [0, 1, 2]
    assert profile.stages.total.count == 20
    assert profile.stages.npu is not None
    assert profile.layers is not None
    assert [(layer.op, layer.target) for layer in profile.layers.layers] == [
        ("InputOperator", "CPU"), ("ConvRelu", "NPU"), ("OutputOperator", "CPU"),
    ]  # fmt: skip
    assert profile.npu_memory is not None
    assert (profile.npu_memory.weights, profile.npu_memory.internal) == (1000, 2000)
    assert profile.process_memory is not None
    assert profile.process_memory.slope_bytes_per_1000_frames == 0
    versions = profile.versions
    assert (versions.soc, versions.board, versions.kernel) == ("rk3588", "Radxa ROCK 5B", "5.10.160-rockchip")
    assert versions.runtime is not None
    assert versions.runtime.startswith("2.3.2")
    assert (versions.driver, versions.model_file) == ("0.9.8", 6)
    assert "shim" in profile.figures_from
    assert not profile.on_npu
    assert {"stand_in_board", "governor", "npu_clock_below_maximum"} <= codes(profile)
    assert shim.open_contexts() == shim.open_memory() == 0


def test_a_bundle_without_its_record(make_shim: MakeShim, tmp_path: Path, board: Path) -> None:
    """Nothing of a profile comes from build.json."""
    make_shim()
    versions = measure_profile(
        write_bundle(tmp_path / "best", recorded=False), options("librknnrt", contexts=(1,), sysroot=board)
    ).versions
    assert (versions.target, versions.dtype, versions.toolkit) == ("rk3588", "int8", "rknn-toolkit2 2.3.2")


def test_the_layer_profile_has_a_context_of_its_own(make_shim: MakeShim, tmp_path: Path, board: Path) -> None:
    """Only one context is opened with the profiling flag, so that it slows none of the other figures."""
    shim = make_shim()
    measure_profile(write_bundle(tmp_path / "best"), options("librknnrt", sysroot=board))
    opened = [line for line in shim.lines() if line.startswith("rknn_init")]
    assert len(opened) > 3
    assert sum("flag=0x8" in line or "flag=8" in line for line in opened) == 1, opened[:2]


def test_an_old_runtime_without_core_masks(make_shim: MakeShim, tmp_path: Path) -> None:
    """If the SoC is unknown no core is chosen: a runtime that cannot choose any is measured with one context."""
    make_shim(age="old")
    profile = measure_profile(write_bundle(tmp_path / "best"), options("librknnrt", sysroot=tmp_path))
    assert [(item.contexts, item.cores) for item in profile.throughput] == [(1, None)]
    assert "--contexts 1,2,3" in reasons(profile)["throughput of more contexts"]


def test_resets_during_the_measurement_are_named(make_shim: MakeShim, tmp_path: Path, board: Path) -> None:
    """Lines that the kernel logs meanwhile are warnings; those from before are not this run's."""
    make_shim()

    def log_a_reset(step: str = "layer by layer") -> None:
        if step == "layer by layer":
            with (board / "dev/kmsg").open("a") as log:
                log.write("6,900,3600000000,-;RKNPU: soft reset, num: 6\n")

    log_a_reset()
    profile = measure_profile(write_bundle(tmp_path / "best"), options("librknnrt", sysroot=board), log_a_reset)
    (reset,) = [advice for advice in profile.advice if advice.code == "kernel_npu_reset"]
    assert reset.level == "warning"
    assert "the driver reset the NPU" in reset.message
    assert '1 line in the kernel\'s log, the latest "RKNPU: soft reset, num: 6"' in reset.message
    assert profile.missing == ()


def test_without_root_the_load_is_missing(make_shim: MakeShim, tmp_path: Path) -> None:
    """If debugfs shows nothing the load is None with the reason, and nothing else is lost."""
    make_shim()
    bare = tmp_path / "bare"
    put(bare, "proc/self/statm", "1 2 3")
    profile = measure_profile(write_bundle(tmp_path / "best"), options("librknnrt", sysroot=bare))
    assert profile.throughput[0].npu_load_percent is None
    assert "rknpu" in reasons(profile)["throughput.npu_load_percent"]
    assert reasons(profile)["kernel_log"] == "/dev/kmsg: No such file or directory"
    assert "unknown_soc" in codes(profile)
    assert profile.layers is not None


def test_a_runtime_that_fails_ends_the_profile(make_shim: MakeShim, tmp_path: Path) -> None:
    """A frame that fails is a known error, and all contexts are closed."""
    shim = make_shim(fail="rknn_run:-1")
    with pytest.raises(BackendError, match="rknn_run failed"):
        measure_profile(write_bundle(tmp_path / "best"), options("librknnrt", sysroot=tmp_path))
    assert shim.open_contexts() == 0


def test_contexts_that_cannot_be_opened_are_left_out(make_shim: MakeShim, tmp_path: Path) -> None:
    """A number of contexts that the runtime refuses is missing with the reason; the others are measured."""
    make_shim(fail="rknn_dup_context:-1,rknn_init:-4@4,rknn_init:-4@5")
    profile = measure_profile(write_bundle(tmp_path / "best"), options("librknnrt", contexts=(2, 1), sysroot=tmp_path))
    assert [item.contexts for item in profile.throughput] == [1]
    assert "rknn_init failed with -4" in reasons(profile)["throughput of 2 contexts"]


@pytest.mark.parametrize("backend", ["onnxruntime", "opencv_dnn"])
def test_a_pc_says_what_it_is(tmp_path: Path, backend: str) -> None:
    """A host backend gives stages, rate and memory as this PC's, and says why the NPU's figures are missing."""
    pytest.importorskip("onnx")
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    profile = measure_profile(write_bundle(tmp_path / "best"), options(backend, contexts=(1, 2)))
    assert [item.contexts for item in profile.throughput] == [1, 2]
    assert all(item.cores is None for item in profile.throughput)
    assert "on this PC" in profile.figures_from
    assert not profile.on_npu
    assert [profile.stages.npu, profile.layers, profile.npu_memory] == [None, None, None]
    assert {"stages.npu", "npu_memory", "layers", "cores", "throughput.npu_load_percent"} <= reasons(profile).keys()
    assert all(reason for reason in reasons(profile).values())
    assert {"not_an_npu", "noise"} <= codes(profile)
    assert not {"governor", "npu_clock_below_maximum", "contexts_network"} & codes(profile)
    assert profile.process_memory is not None


def test_profile_json_is_read_back(make_shim: MakeShim, tmp_path: Path) -> None:
    """The document carries its schema version and is the same profile after a round trip."""
    make_shim()
    profile = measure_profile(write_bundle(tmp_path / "best"), options("librknnrt", sysroot=tmp_path))
    assert profile.schema_version == SCHEMA_VERSION
    text = json.dumps(msgspec.to_builtins(profile))
    assert msgspec.json.decode(text, type=Profile) == profile


def test_noise_is_the_same_every_time(make_shim: MakeShim, tmp_path: Path) -> None:
    """Seeded noise of the size that was asked for, in several different frames."""
    from rkdeploy.device.profiling.input_frames import noise

    images, told = noise(64, 48)
    again, _ = noise(64, 48)
    assert (told.width, told.height, told.count, told.is_noise) == (64, 48, len(images), True)
    assert all(image.shape == (48, 64, 3) and image.dtype == np.uint8 for image in images)
    assert all(np.array_equal(a, b) for a, b in zip(images, again, strict=True))
    assert not np.array_equal(images[0], images[1])


def test_own_images(make_shim: MakeShim, tmp_path: Path) -> None:
    """A source is the images of a folder; a stream is refused, because it sets the rate itself."""
    make_shim(shim_text(fill="const:100"))
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((40, 70, 3), number, np.uint8))
    bundle = write_bundle(tmp_path / "best")
    profile = measure_profile(bundle, options("librknnrt", sources=(str(folder),), sysroot=tmp_path))
    assert (profile.frames.count, profile.frames.width, profile.frames.height) == (3, 70, 40)
    assert "noise" not in codes(profile)
    with pytest.raises(SourceError, match="own rate"):
        measure_profile(bundle, options("librknnrt", sources=("rtsp://camera/1",)))


def test_the_command(make_shim: MakeShim, tmp_path: Path) -> None:
    """The table goes to stdout and the document to its file; with --json stdout holds the document alone."""
    make_shim()
    bundle = write_bundle(tmp_path / "best").folder
    short = ("--backend", "librknnrt", "--frames", "10", "--warmup", "1", "--frame-size", "64x48")
    done = rkdeploy("profile", bundle, *short, "-o", tmp_path / "profile.json")
    assert done.returncode == 0, done.stderr
    for text in ("preprocess", "network in it", "ConvRelu", "pipeline, frames/s", "not a board", "1.0 KiB"):
        assert text in done.stdout, text
    written = msgspec.json.decode((tmp_path / "profile.json").read_bytes(), type=Profile)
    assert written.stages.total.count == 10
    piped = rkdeploy("profile", bundle, *short, "--json", "--contexts", "2,1")
    assert [item["contexts"] for item in json.loads(piped.stdout)["throughput"]] == [1, 2]
    assert "Measuring" not in piped.stdout + piped.stderr


def test_wrong_usage_and_known_failures(tmp_path: Path) -> None:
    """Bad numbers are usage (2); a missing bundle or folder is a known failure (1), before anything is measured."""
    for wrong in (("--contexts", "0"), ("--contexts", "1;2"), ("--frame-size", "big"), ("--backend", "npu")):
        assert rkdeploy("profile", *wrong).returncode == 2
    missing = rkdeploy("profile", tmp_path / "no")
    assert (missing.returncode, "is not a bundle" in missing.stderr) == (1, True)
    unwritable = rkdeploy("profile", "-o", tmp_path / "no/profile.json")
    assert (unwritable.returncode, "there is no folder" in unwritable.stderr) == (1, True)

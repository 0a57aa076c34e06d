"""Every call of librknnrt made to fail in turn: a clear error, no stale boxes, nothing left open, no hang.

The table of docs/board-faults.md lists these cases by their ids.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.contract.embedded_contract import custom_string
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.cores import CoreMask
from rkdeploy.device.runtime.librknnrt import abi
from rkdeploy.device.runtime.librknnrt.context import Context
from rkdeploy.device.runtime.librknnrt.runtime import IoMode, LibRknnRt
from rkdeploy.device.runtime.librknnrt.shared_model import SharedModel
from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.pipeline import Pipeline, PipelineOptions
from rkdeploy.errors import BackendError
from tests.board.sample_model import SPEC, echoed, picture, shim_text, write_rknn
from tests.board.shim import Shim
from tests.device.stream.stand_ins import ListSink, StandInSource, frame

DOCS = Path(__file__).parents[2] / "docs" / "board-faults.md"
MakeShim = Callable[..., Shim]

OPENING = {
    "init": ("rknn_init:-6", "cannot open .*best.rknn.*rknn_init failed with -6, RKNN_ERR_MODEL_INVALID"),
    "init-memory": ("rknn_init:-4", "rknn_init failed with -4, RKNN_ERR_MALLOC_FAIL"),
    "init-no-device": ("rknn_init:-3", "rknn_init failed with -3, RKNN_ERR_DEVICE_UNAVAILABLE"),
    "init-unknown-code": ("rknn_init:-99", "rknn_init failed with -99, which rkdeploy does not know"),
    "core-mask": ("rknn_set_core_mask:-1", "rknn_set_core_mask failed with -1"),
    "query-versions": ("rknn_query:-5@1", r"rknn_query\(SDK_VERSION\) failed with -5"),
    "query-counts": ("rknn_query:-7@2", r"rknn_query\(IN_OUT_NUM\) failed with -7, RKNN_ERR_CTX_INVALID"),
    "query-input": ("rknn_query:-5@3", r"rknn_query\(INPUT_ATTR\) failed with -5"),
    "query-output": ("rknn_query:-5@5", r"rknn_query\(OUTPUT_ATTR\) failed with -5"),
    "create-mem-input": ("rknn_create_mem:-1@1", "has no memory for the input: 6,144 bytes"),
    "create-mem-output": ("rknn_create_mem:-1@3", "has no memory for the output stride16_map"),
    "set-io-mem-input": ("rknn_set_io_mem:-1@1", "rknn_set_io_mem failed with -1"),
    "set-io-mem-output": ("rknn_set_io_mem:-5@2", "rknn_set_io_mem failed with -5"),
}

FRAMES: dict[str, tuple[str, IoMode, str]] = {
    "run": ("rknn_run:-1@3", "zero_copy", "rknn_run failed with -1, RKNN_ERR_FAIL"),
    "run-copied": ("rknn_run:-1@3", "copy", "rknn_run failed with -1, RKNN_ERR_FAIL"),
    "inputs-set": ("rknn_inputs_set:-5@3", "copy", "rknn_inputs_set failed with -5"),
    "outputs-get": ("rknn_outputs_get:-1@3", "copy", "rknn_outputs_get failed with -1"),
    "outputs-release": ("rknn_outputs_release:-1@3", "copy", "rknn_outputs_release failed with -1"),
    "mem-sync-input": ("rknn_mem_sync:-1@7", "zero_copy", "rknn_mem_sync failed with -1"),
    "mem-sync-output": ("rknn_mem_sync:-1@8", "zero_copy", "rknn_mem_sync failed with -1"),
}


@pytest.fixture
def rknn(tmp_path: Path) -> Path:
    return write_rknn(tmp_path / "best.rknn")


def require_right(*runtimes: LibRknnRt) -> None:
    """Each answers with the outputs of its own picture."""
    for seed, runtime in enumerate(runtimes):
        for tensor, wanted in zip(runtime.infer(picture(seed)), echoed(picture(seed)), strict=True):
            np.testing.assert_array_equal(tensor.nchw(), wanted.values)


@pytest.mark.parametrize("case", OPENING)
def test_a_failure_while_opening(make_shim: MakeShim, rknn: Path, case: str) -> None:
    """The error names the call, its code and what that means; nothing runs, and nothing stays open."""
    fail, message = OPENING[case]
    shim = make_shim(fail=fail)
    runtime = LibRknnRt(SharedModel(rknn), SPEC, core=CoreMask.CORE_0)
    with pytest.raises(BackendError, match=message), runtime:
        pass
    with pytest.raises(BackendError, match="is not open"):
        runtime.infer(picture(0))
    assert shim.calls()["rknn_run"] == 0
    assert (shim.open_contexts(), shim.open_memory()) == (0, 0)
    if case.startswith("init"):
        # The runtime leaves a context that is not zero: it must not even be destroyed.
        assert set(shim.calls()) == {"rknn_init"}


@pytest.mark.parametrize("case", FRAMES)
def test_a_failure_at_the_third_frame(make_shim: MakeShim, rknn: Path, case: str) -> None:
    """Two frames are right, the third is an error and no earlier frame's boxes, the fourth is right again."""
    fail, io, message = FRAMES[case]
    shim = make_shim(fail=fail)
    with LibRknnRt(SharedModel(rknn), SPEC, io=io) as runtime:
        for seed in range(4):
            image = picture(seed)
            if seed == 2:
                with pytest.raises(BackendError, match=message):
                    runtime.infer(image)
                continue
            for tensor, wanted in zip(runtime.infer(image), echoed(image), strict=True):
                np.testing.assert_array_equal(tensor.nchw(), wanted.values)
    assert (shim.open_contexts(), shim.open_memory()) == (0, 0)


@pytest.mark.parametrize("case", ["timeout", "device-lost"])
def test_a_runtime_is_not_used_after_a_timeout(make_shim: MakeShim, rknn: Path, case: str) -> None:
    """The NPU may still write after a timeout: the runtime refuses every further frame until it is opened again."""
    shim = make_shim(fail=f"rknn_run:{-2 if case == 'timeout' else -3}@2")
    runtime = LibRknnRt(SharedModel(rknn), SPEC)
    with runtime:
        runtime.infer(picture(0))
        with pytest.raises(BackendError, match="rknn_run failed with"):
            runtime.infer(picture(1))
        with pytest.raises(BackendError, match="is not used any more") as caught:
            runtime.infer(picture(2))
        assert "open it again" in caught.value.hint
    assert shim.calls()["rknn_run"] == 2
    with runtime:
        np.testing.assert_array_equal(runtime.infer(picture(3))[0].nchw(), echoed(picture(3))[0].values)
    assert (shim.open_contexts(), shim.open_memory()) == (0, 0)


def test_a_limit_of_time_reaches_the_runtime(make_shim: MakeShim, rknn: Path) -> None:
    """A run longer than timeout_ms ends with the runtime's own timeout (case timeout-real), not with a hang."""
    shim = make_shim(shim_text() + "run_us=5000000\n")
    started = time.monotonic()
    with (
        LibRknnRt(SharedModel(rknn), SPEC, timeout_ms=50) as runtime,
        pytest.raises(BackendError, match="rknn_run failed with -2, RKNN_ERR_TIMEOUT"),
    ):
        runtime.infer(picture(0))
    assert time.monotonic() - started < 2
    assert any("timeout_ms=50" in line for line in shim.lines())
    with LibRknnRt(SharedModel(rknn), SPEC, timeout_ms=0) as runtime, pytest.raises(BackendError, match="is 0 ms"):
        runtime.infer(picture(0))


def test_other_threads_go_on_while_a_run_blocks(make_shim: MakeShim, rknn: Path) -> None:
    """A blocking rknn_run releases the GIL (case blocking)."""
    make_shim(shim_text() + "run_us=300000\n")
    with LibRknnRt(SharedModel(rknn), SPEC) as runtime:
        worker = threading.Thread(target=runtime.infer, args=(picture(0),))
        started = time.monotonic()
        worker.start()
        time.sleep(0.01)
        assert time.monotonic() - started < 0.2
        worker.join()


def test_a_second_context_that_cannot_be_made(make_shim: MakeShim, rknn: Path) -> None:
    """If rknn_dup_context fails, the model is loaded once more, and a note says so (case dup-context)."""
    shim = make_shim(fail="rknn_dup_context:-1@1")
    model = SharedModel(rknn)
    first, second = LibRknnRt(model, SPEC), LibRknnRt(model, SPEC)
    with first, second:
        require_right(first, second)
        assert first.notes == ()
        assert "with weights of its own: rknn_dup_context failed with -1" in second.notes[0]
    assert (shim.calls()["rknn_init"], shim.open_contexts(), shim.open_memory()) == (2, 0, 0)


def test_a_model_that_cannot_be_loaded_twice(make_shim: MakeShim, rknn: Path) -> None:
    """If there is no second copy either, that runtime alone has the error (case dup-and-init)."""
    shim = make_shim(fail="rknn_dup_context:-1@1,rknn_init:-4@2")
    model = SharedModel(rknn)
    first, second = LibRknnRt(model, SPEC), LibRknnRt(model, SPEC)
    with first:
        with pytest.raises(BackendError, match="rknn_init failed with -4"), second:
            pass
        with second:  # the next attempt succeeds, and shares
            require_right(first, second)
    assert (shim.calls()["rknn_init"], shim.calls()["rknn_dup_context"]) == (2, 2)
    assert (shim.open_contexts(), shim.open_memory(), shim.abuses()) == (0, 0, [])


@pytest.mark.parametrize("failing", [*itertools.permutations(range(3), 1), *itertools.permutations(range(3), 2)])
@pytest.mark.parametrize("code", [-1, -2])
def test_a_context_that_is_opened_again_shares_again(
    make_shim: MakeShim, rknn: Path, failing: tuple[int, ...], code: int
) -> None:
    """Whichever fail, the one that loaded the model included, they share with one that goes on (case rebuilt)."""
    shim = make_shim(fail=",".join(f"rknn_run:{code}@{number}" for number in range(4, 4 + len(failing))))
    model = SharedModel(rknn)
    runtimes = [LibRknnRt(model, SPEC, core=CoreMask.of_core(core)) for core in range(3)]
    with ExitStack() as stack:
        for runtime in runtimes:
            stack.enter_context(runtime)
        require_right(*runtimes)
        for place in failing:  # both are down before the first is opened again
            with pytest.raises(BackendError, match=f"rknn_run failed with {code}") as caught:
                runtimes[place].infer(picture(9))
            runtimes[place].__exit__(BackendError, caught.value, None)
        for place in failing:
            runtimes[place].__enter__()
        require_right(*runtimes)
        assert [runtime.notes for runtime in runtimes] == [()] * 3
    assert (shim.calls()["rknn_init"], shim.calls()["rknn_dup_context"]) == (1, 2 + len(failing))
    masks = [line.rpartition("=")[2].rstrip(")") for line in shim.lines() if "set_core_mask" in line]
    assert masks == ["1", "2", "4", *(str(1 << place) for place in failing)]
    assert (shim.open_contexts(), shim.open_memory(), shim.abuses()) == (0, 0, [])


def test_a_model_whose_contexts_all_failed_is_loaded_anew(make_shim: MakeShim, rknn: Path) -> None:
    """Nothing of the old ones is left then, and the new ones share among themselves (case all-lost)."""
    shim = make_shim()
    model = SharedModel(rknn)
    runtimes = [LibRknnRt(model, SPEC) for _ in range(3)]
    for _ in range(2):
        for runtime in runtimes:
            runtime.__enter__()
        require_right(*runtimes)
        for runtime in runtimes:
            runtime.__exit__(None, None, None)
        assert (shim.open_contexts(), shim.open_memory()) == (0, 0)
    assert (shim.calls()["rknn_init"], shim.calls()["rknn_dup_context"]) == (2, 4)
    assert shim.abuses() == []


def test_a_context_is_not_duplicated_while_it_runs(make_shim: MakeShim, rknn: Path) -> None:
    """A run is waited for; one that does not come back is left alone, and the model loaded (case dup-busy)."""
    shim = make_shim(shim_text() + "run_us=300000\n")
    for idle_s, loaded in ((10.0, 1), (0.01, 2)):
        before = shim.calls()["rknn_init"]
        model = SharedModel(rknn, idle_s=idle_s)
        first, second = LibRknnRt(model, SPEC), LibRknnRt(model, SPEC)
        with first:
            runs = shim.calls()["rknn_run"]
            worker = threading.Thread(target=first.infer, args=(picture(0),))
            worker.start()
            while shim.calls()["rknn_run"] == runs:
                time.sleep(0.001)
            with second:
                assert any("does not return" in note for note in second.notes) == (loaded == 2)
            worker.join()
        assert shim.calls()["rknn_init"] - before == loaded
    assert (shim.open_contexts(), shim.open_memory(), shim.abuses()) == (0, 0, [])


def test_a_pipeline_puts_its_contexts_right(make_shim: MakeShim, rknn: Path) -> None:
    """Of three contexts on one model two fail in the run: the frames are lost, the weights are not (case rebuilt)."""
    shim = make_shim(fail="rknn_run:-1@14,rknn_run:-2@30")  # 9 runs try the buffers when the contexts are opened
    model = SharedModel(rknn)
    source, sink = StandInSource(map(frame, range(40))), ListSink()
    pipeline = Pipeline(
        source, source.frames, [LibRknnRt(model, SPEC) for _ in range(3)], SPEC, Thresholds(), [sink],
        options=PipelineOptions(backoff=Backoff(0.0, 0.0)),
    )  # fmt: skip
    with pipeline:
        assert pipeline.wait(60)
    stats = pipeline.stats()
    assert (stats.failed, stats.processed, stats.contexts_rebuilt) == (2, 38, 2)
    assert len(sink.indices) == 38
    assert sink.indices == sorted(sink.indices)
    assert (shim.calls()["rknn_init"], shim.calls()["rknn_dup_context"]) == (1, 4)
    assert (shim.open_contexts(), shim.open_memory(), shim.abuses()) == (0, 0, [])


def test_another_contracts_model_is_told(make_shim: MakeShim, rknn: Path) -> None:
    """Tensors alike, but built with other class names: refused with both, nothing runs (case other-contract)."""
    other = replace(SPEC, class_names=("cat", *SPEC.class_names[1:]))
    shim = make_shim(shim_text() + f"custom {custom_string(other)}\n")
    with pytest.raises(BackendError, match=r'names: .*"cat".* in the model, .*"bolt"') as caught:
        LibRknnRt(SharedModel(rknn), SPEC).__enter__()
    assert "build the bundle again" in caught.value.hint
    assert (shim.calls()["rknn_run"], shim.open_contexts(), shim.open_memory()) == (0, 0, 0)
    shim.spec.write_text(shim_text() + f"custom {custom_string(SPEC)}\n")
    with LibRknnRt(SharedModel(rknn), SPEC) as runtime:
        require_right(runtime)


def test_a_runtime_that_does_not_know_the_custom_string(make_shim: MakeShim, rknn: Path) -> None:
    """The model is run without that comparison (case query-custom-string)."""
    shim = make_shim(fail="rknn_query:-5@6")
    with LibRknnRt(SharedModel(rknn), SPEC) as runtime:
        require_right(runtime)
        assert runtime.notes == ()
    assert any("INJECT rknn_query" in line for line in shim.lines())
    assert shim.open_contexts() == 0


def test_the_runtimes_own_words_are_the_reason(
    make_shim: MakeShim, rknn: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The library's output when it rejects a model goes into the error and nowhere else (case init-not-a-model)."""
    shim = make_shim("no model at all")
    with pytest.raises(BackendError, match="RKNN_ERR_MODEL_INVALID") as caught, LibRknnRt(SharedModel(rknn), SPEC):
        pass
    assert "rknn_init, load model failed!" in caught.value.hint
    assert capfd.readouterr() == ("", "")
    assert shim.open_contexts() == 0


def test_a_known_line_of_the_runtime_is_explained(
    make_shim: MakeShim, rknn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that the table of known faults has comes with its meaning and fix; a failed run points to the doctor."""
    make_shim(fail="rknn_init:-6@1,rknn_run:-1")
    create = Context._create

    def speak(context: Context, handle: abi.rknn_context) -> None:
        os.write(2, b"E RKNN: [10:49:05.216] failed to malloc npu memory, size: 3085697024, flags: 0x2\n")
        create(context, handle)

    monkeypatch.setattr(Context, "_create", speak)
    with pytest.raises(BackendError) as caught, LibRknnRt(SharedModel(rknn), SPEC):
        pass
    assert "failed to malloc npu memory" in caught.value.hint
    assert "There was no memory for the NPU. Close other programs" in caught.value.hint
    with LibRknnRt(SharedModel(rknn), SPEC) as runtime, pytest.raises(BackendError, match="rknn_run failed") as failed:
        runtime.infer(picture(0))
    assert "rkdeploy doctor" in failed.value.hint


def test_an_old_runtime_is_explained_before_it_fails(
    make_shim: MakeShim, rknn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that cannot read the file's version is refused in words, before rknn_init (case old-runtime)."""
    shim = make_shim()
    content = shim.library.read_bytes()
    shim.library.write_bytes(content.replace(b"librknnrt version: 2.3.2", b"librknnrt version: 1.4.0"))
    with (
        pytest.raises(BackendError, match=r'1\.4\.0 reads versions up to 1 .*"Invalid RKNN model version 6"') as caught,
        LibRknnRt(SharedModel(rknn), SPEC),
    ):
        pass
    assert "Install librknnrt.so of version 2.3.2 or later" in caught.value.hint
    assert shim.calls()["rknn_init"] == 0


def test_a_refused_model_of_a_newer_toolkit_is_explained(make_shim: MakeShim, tmp_path: Path) -> None:
    """If init fails and the runtime is older than the toolkit, the error says so (case newer-toolkit)."""
    make_shim(fail="rknn_init:-6")
    newer = write_rknn(tmp_path / "newer.rknn", toolkit="2.5.0")
    with pytest.raises(BackendError) as caught, LibRknnRt(SharedModel(newer), SPEC):
        pass
    assert "librknnrt 2.3.2 is older than the rknn-toolkit2 2.5.0" in caught.value.hint


def test_a_model_of_a_newer_toolkit_that_loads_is_a_note(make_shim: MakeShim, tmp_path: Path) -> None:
    """If it loads nevertheless, the user is warned."""
    make_shim()
    with LibRknnRt(SharedModel(write_rknn(tmp_path / "newer.rknn", toolkit="2.5.0")), SPEC) as runtime:
        assert "older than the rknn-toolkit2 2.5.0" in runtime.notes[0]


LIBRARIES = {
    "library-missing": (None, "does not exist"),
    "library-empty": (b"", "cannot be loaded"),
    "library-other-machine": (b"\x7fELF\x02\x01\x01".ljust(64, b"\0"), "cannot be loaded"),
}


@pytest.mark.parametrize("case", LIBRARIES)
def test_a_library_that_is_none(make_shim: MakeShim, rknn: Path, case: str) -> None:
    """A missing, empty or foreign library is named, with where to get one."""
    content, message = LIBRARIES[case]
    shim = make_shim()
    shim.library.unlink()
    if content is not None:
        shim.library.write_bytes(content)
    with pytest.raises(BackendError, match=message) as caught, LibRknnRt(SharedModel(rknn), SPEC):
        pass
    assert "$RKDEPLOY_LIBRKNNRT" in caught.value.hint


def test_the_table_lists_every_case() -> None:
    """docs/board-faults.md has a row for every fault that is tried here, and no other."""
    tried = {*OPENING, *FRAMES, *LIBRARIES, "timeout", "device-lost"}
    tried |= {
        match for line in Path(__file__).read_text().splitlines() for match in re.findall(r"\(case ([\w-]+)\)", line)
    }
    listed = set(re.findall(r"^\| `([\w-]+)` \|", DOCS.read_text(), re.MULTILINE))
    assert listed == tried

"""NPU memory used in place: letterboxes written where the NPU reads, outputs decoded where it wrote, two in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typing_extensions import Self

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.librknnrt.runtime import LibRknnRt
from rkdeploy.device.runtime.librknnrt.shared_model import SharedModel
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.pipeline import Pipeline
from rkdeploy.device.stream.statistics import PipelineStats
from rkdeploy.images.fit import Letterbox
from tests.board.sample_model import SPEC, H, W, echoed, picture, shim_text, write_rknn
from tests.board.shim import Shim
from tests.device.stream.stand_ins import WAIT_S, StandInSource

MakeShim = Callable[..., Shim]
THRESHOLDS = Thresholds(confidence=0.3)


@pytest.fixture
def rknn(tmp_path: Path) -> Path:
    return write_rknn(tmp_path / "best.rknn")


class KeepingSink:
    """Keeps the detections of each frame."""

    def __init__(self) -> None:
        self.found: dict[int, Detections] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, frame: Frame, detections: Detections) -> None:
        self.found[frame.index] = detections


def frames(count: int) -> list[Frame]:
    """Pictures that are padded on one axis or on none, each another one."""
    sizes = ((H, W), (2 * H, W), (H, 3 * W), (17, 23))
    rng = np.random.default_rng(3)
    return [Frame(rng.integers(0, 256, (*sizes[i % 4], 3), np.uint8), "x", i) for i in range(count)]


def require_right(runtimes: Sequence[LibRknnRt], count: int = 40) -> PipelineStats:
    """A pipeline finds in each frame, to the bit, what the decode finds in the stand-in's answer to its letterbox."""
    source, sink = StandInSource(frames(count)), KeepingSink()
    with Pipeline(source, source.frames, runtimes, SPEC, THRESHOLDS, [sink]) as pipeline:
        assert pipeline.wait(WAIT_S)
    letterbox, postprocess = Letterbox(SPEC.input), Postprocessor(SPEC, THRESHOLDS)
    objects = 0
    for frame in (one for one in frames(count) if one.index in sink.found):
        boxed, found = letterbox(frame.image), sink.found[frame.index]
        wanted = postprocess(echoed(boxed.image), boxed.transform)
        np.testing.assert_array_equal(found.xyxy, wanted.xyxy)
        np.testing.assert_array_equal(found.scores, wanted.scores)
        np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
        objects += len(wanted)
    assert objects > 100
    return pipeline.stats()


def contexts(rknn: Path, count: int = 3) -> list[LibRknnRt]:
    model = SharedModel(rknn)
    return [LibRknnRt(model, SPEC) for _ in range(count)]


@pytest.mark.parametrize("row_padding", [0, 5])
def test_the_same_detections_as_with_copies(
    make_shim: MakeShim, rknn: Path, row_padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three contexts on shared memory find the same without a copy by us or by the runtime, whatever the row length."""
    text = shim_text().replace("fmt=nhwc type=int8 zp=-128", f"fmt=nhwc pad_w={row_padding} type=int8 zp=-128", 1)
    shim = make_shim(text)
    runtimes = contexts(rknn)
    for runtime in runtimes:
        monkeypatch.setattr(runtime, "infer", pytest.fail)  # which copies
    assert require_right(runtimes).processed == 40
    calls = shim.calls()
    assert calls["rknn_inputs_set"] == calls["rknn_outputs_get"] == 0
    assert calls["rknn_create_mem"] == 3 * 2 * 3  # of three contexts two buffers, each for an input and two outputs
    assert calls["rknn_run"] == 40 + 3 * 3  # each context's buffers are tried with three runs
    inputs = [line for line in shim.lines() if line.startswith("rknn_set_io_mem(name=images")]
    assert all(f"size_with_stride={H * (W + row_padding) * 3} " in line for line in inputs)
    assert (shim.open_contexts(), shim.open_memory(), shim.abuses()) == (0, 0, [])
    assert [runtime.notes for runtime in runtimes] == [()] * 3


def test_a_buffers_outputs_stay_while_the_other_runs(make_shim: MakeShim, rknn: Path) -> None:
    """Outputs are valid until their own buffer's next run; each run passes one input and its outputs on."""
    shim = make_shim()
    with LibRknnRt(SharedModel(rknn), SPEC) as runtime:
        images = runtime.open_buffers(2)
        before = shim.calls()
        images[0][...] = picture(0)
        first = runtime.infer_buffer(0)
        for seed in (1, 2):
            images[1][...] = picture(seed)
            second = runtime.infer_buffer(1)
            for tensors, wanted in ((first, echoed(picture(0))), (second, echoed(picture(seed)))):
                for tensor, expected in zip(tensors, wanted, strict=True):
                    np.testing.assert_array_equal(tensor.nchw(), expected.values)
        since = shim.calls() - before
        assert (since["rknn_run"], since["rknn_mem_sync"]) == (3, 3 * (1 + 2))
        assert since["rknn_set_io_mem"] == 2 * 3  # to buffer 0, and once to buffer 1
        assert runtime.open_buffers(2)[0].ctypes.data == images[0].ctypes.data
        np.testing.assert_array_equal(runtime.infer(picture(5))[0].nchw(), echoed(picture(5))[0].values)


def test_outputs_that_nothing_decodes_are_not_passed_on(make_shim: MakeShim, rknn: Path) -> None:
    """A score sum, which the decode does not read, costs no synchronization; `infer` reads all."""
    spec = replace(SPEC, outputs=(SPEC.outputs[0], replace(SPEC.outputs[1], role="score_sum")))
    shim = make_shim()
    with LibRknnRt(SharedModel(rknn), spec) as runtime:
        runtime.open_buffers(2)
        before = shim.calls()["rknn_mem_sync"]
        runtime.infer_buffer(1)
        assert shim.calls()["rknn_mem_sync"] - before == 1 + 1
        runtime.infer(picture(0))
        assert shim.calls()["rknn_mem_sync"] - before == 1 + 1 + 1 + 2


REFUSALS = {
    "no second input": ("", "rknn_create_mem:-1@4", "has no memory for the input"),
    "no second output": ("", "rknn_create_mem:-1@6", "has no memory for the output stride16_map"),
    "not registered": ("", "rknn_set_io_mem:-5@4", "rknn_set_io_mem failed with -5"),
    "not registered in turn": ("", "rknn_set_io_mem:-5@7", "rknn_set_io_mem failed with -5"),
    "trial failed": ("", "rknn_run:-1@2", "rknn_run failed with -1"),
    "ignored": ("rebind=0\n", "", "do not work in turn"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_runtime_that_refuses_is_copied_to(make_shim: MakeShim, rknn: Path, case: str) -> None:
    """If a second buffer is refused, or is taken and not used, the same is found by copies, and said once."""
    more, fail, said = REFUSALS[case]
    shim = make_shim(shim_text() + more, fail=fail)
    runtimes = contexts(rknn, 1)
    assert require_right(runtimes).processed == 40
    (note,) = runtimes[0].notes
    assert note.startswith("Images and outputs are copied, which takes longer.")
    assert said in note
    assert (shim.open_contexts(), shim.open_memory()) == (0, 0)


@pytest.mark.parametrize(("text", "age", "notes"), [(shim_text(pad_w=3), "today", 1), (None, "old", 0)])
def test_memory_that_cannot_be_shared_has_no_buffers(
    make_shim: MakeShim, rknn: Path, text: str | None, age: str, notes: int
) -> None:
    """An output with gaps and an early runtime are copied; the first says so when it is opened, and only then."""
    make_shim(text, age=age)
    with LibRknnRt(SharedModel(rknn), SPEC) as runtime:
        assert runtime.open_buffers(2) == ()
        assert len(runtime.notes) == notes
    assert require_right(contexts(rknn, 2)).processed == 40


def test_a_failed_contexts_memory_is_not_used_any_more(make_shim: MakeShim, rknn: Path) -> None:
    """While frames are decoded and written, contexts fail and their memory is given back: every frame is right."""
    fails = ",".join(f"rknn_run:-1@{n}" for n in range(20, 120, 9))
    shim = make_shim(shim_text() + "run_us=300\n", fail=fails)
    stats = require_right(contexts(rknn), 120)
    assert stats.processed + stats.failed == 120
    assert stats.contexts_rebuilt >= 5
    assert (shim.open_contexts(), shim.open_memory()) == (0, 0)

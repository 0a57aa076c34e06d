"""The librknnrt backend on the stand-in library: the C ABI, the order of calls, and what comes out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkdeploy.contract.spec import HeadOutput, ModelSpec, Quantization
from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.runtime.cores import CoreMask
from rkdeploy.device.runtime.librknnrt import abi
from rkdeploy.device.runtime.librknnrt.context import Context
from rkdeploy.device.runtime.librknnrt.library import Library
from rkdeploy.device.runtime.librknnrt.runtime import IoMode, LibRknnRt
from rkdeploy.device.runtime.librknnrt.shared_model import SharedModel
from rkdeploy.device.runtime.librknnrt.tensor_io import UnviewableLayoutError, _require_viewable_output
from rkdeploy.errors import BackendError
from tests.board.sample_model import SPEC, echoed, picture, shim_text, write_rknn
from tests.board.shim import Shim

MakeShim = Callable[..., Shim]
IMAGE = picture(0)


@pytest.fixture
def rknn(tmp_path: Path) -> Path:
    return write_rknn(tmp_path / "best.rknn")


def opened(rknn: Path, spec: ModelSpec = SPEC, **options: Any) -> LibRknnRt:
    return LibRknnRt(SharedModel(rknn), spec, **options)


@pytest.mark.parametrize("io", ["zero_copy", "copy"])
@pytest.mark.parametrize(("fmt", "native"), list(itertools.product(["nchw", "nhwc"], ["nchw", "nhwc", "nc1hwc2"])))
def test_raw_outputs_in_every_layout(make_shim: MakeShim, rknn: Path, io: IoMode, fmt: str, native: str) -> None:
    """Whatever layout the runtime uses, tensors are its exact integers, frame after frame, and decode alike."""
    shim = make_shim(shim_text(fmt=fmt, native=native))
    limits = np.full(4, 0.4, np.float32)
    reference = "nhwc" if fmt == "nhwc" else "nchw"
    with opened(rknn, io=io) as runtime:
        for seed in range(3):
            image = picture(seed)
            tensors = runtime.infer(image)
            expected = echoed(image)
            if reference == "nhwc":  # `echo` follows the order of the runtime's logical tensor
                expected = [
                    replace(
                        tensor,
                        values=tensor.values.reshape(1, *tensor.shape[2:], tensor.shape[1]).transpose(0, 3, 1, 2),
                    )
                    for tensor in expected
                ]
            for tensor, wanted in zip(tensors, expected, strict=True):
                assert tensor.values.dtype == np.int8
                assert tensor.shape == wanted.shape
                np.testing.assert_array_equal(tensor.nchw(), wanted.values)
                np.testing.assert_array_equal(tensor.dequantized(), wanted.dequantized())
            found = AnchorDecoder(SPEC).candidates(tensors, limits)
            again = AnchorDecoder(SPEC).candidates(expected, limits)
            assert len(found.scores) > 5
            np.testing.assert_array_equal(found.scores, again.scores)
            np.testing.assert_array_equal(found.xyxy, again.xyxy)
    assert shim.open_contexts() == shim.open_memory() == 0
    assert (shim.calls()["rknn_create_mem"] == 3) == (io == "zero_copy")
    assert (shim.calls()["rknn_inputs_set"] == 3) == (io == "copy")


@pytest.mark.parametrize("padding", [{"pad_w": 3}, {"pad_h": 2}, {"pad_w": 1, "pad_h": 1}])
@pytest.mark.parametrize("native", ["nchw", "nhwc", "nc1hwc2"])
def test_a_layout_with_gaps_is_copied(make_shim: MakeShim, rknn: Path, native: str, padding: dict[str, Any]) -> None:
    """An output whose rows or columns are padded is not read as if they were not: it is copied, with a note."""
    shim = make_shim(shim_text(native=native, **padding))
    with opened(rknn) as runtime:
        for seed in range(2):
            image = picture(seed)
            for tensor, wanted in zip(runtime.infer(image), echoed(image), strict=True):
                np.testing.assert_array_equal(tensor.nchw(), wanted.values)
        (note,) = [note for note in runtime.notes if "are copied" in note]
        assert 'pads the output "stride8_map" (1, 18, 4, 8)' in note
    assert shim.calls()["rknn_set_io_mem"] == 0  # what is bound once cannot be taken back
    with pytest.raises(BackendError, match="bytes without gaps"), opened(rknn, io="zero_copy"):
        pass
    assert shim.open_contexts() == shim.open_memory() == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"size_with_stride": 2048}, "2,048 bytes with strides 0 and 0"),
        ({"w_stride": 16}, "strides 0 and 16"),
        ({"h_stride": 8}, "strides 8 and 0"),
        ({"dims": (1, 2, 4, 9, 16)}, r"native axes \(1, 2, 4, 9, 16\)"),
        ({"dims": (1, 2, 6, 8, 16)}, r"native axes \(1, 2, 6, 8, 16\)"),
    ],
)
def test_what_a_native_layout_says_is_compared(changed: dict[str, Any], said: str) -> None:
    """Strides of 0 or of the dense size can be viewed; any other number, each by itself, or other axes cannot."""
    logical = abi.TensorAttr(
        name=b"out", n_dims=4, type=abi.TENSOR_DTYPES.index("int8"), fmt=abi.TensorFormat.NCHW, qnt_type=2, scale=1.0
    )
    logical.dims[:4] = (1, 18, 4, 8)
    for strides in ((0, 0, 0), (1024, 4, 8)):
        native = abi.TensorAttr(
            name=b"out", n_dims=5, type=abi.TENSOR_DTYPES.index("int8"), fmt=abi.TensorFormat.NC1HWC2
        )
        native.dims[:5] = (1, 2, 4, 8, 16)
        native.size_with_stride, native.h_stride, native.w_stride = strides
        _require_viewable_output(native, logical)
    native.size_with_stride = native.h_stride = native.w_stride = 0
    for name, value in changed.items():
        if name == "dims":
            native.dims[:5] = value
        else:
            setattr(native, name, value)
    with pytest.raises(UnviewableLayoutError, match=said):
        _require_viewable_output(native, logical)


def test_outputs_are_never_dequantized_by_the_runtime(make_shim: MakeShim, rknn: Path) -> None:
    """Copied outputs are asked for raw and into buffers of our own, every output at once."""
    shim = make_shim()
    with opened(rknn, io="copy") as runtime:
        runtime.infer(IMAGE)
    asked = [line for line in shim.lines() if line.startswith("  output[")]
    assert len(asked) == 2
    assert all("want_float=0 is_prealloc=1" in line for line in asked)


def test_an_early_runtime_is_copied_to_and_from(make_shim: MakeShim, rknn: Path) -> None:
    """Without I/O memory, dup_context and core masks the same frames give the same tensors."""
    shim = make_shim(age="old")
    with opened(rknn) as runtime:
        for tensor, wanted in zip(runtime.infer(IMAGE), echoed(IMAGE), strict=True):
            np.testing.assert_array_equal(tensor.nchw(), wanted.values)
    model = SharedModel(rknn)
    with LibRknnRt(model, SPEC), LibRknnRt(model, SPEC):
        assert shim.calls()["rknn_init"] == 3
    assert shim.open_contexts() == 0
    with pytest.raises(BackendError, match="cannot choose NPU cores"), opened(rknn, core=CoreMask.CORE_1):
        pass
    with pytest.raises(BackendError, match="has no I/O memory"), opened(rknn, io="zero_copy"):
        pass
    assert shim.open_contexts() == 0


@pytest.mark.parametrize("leaving", list(itertools.permutations(range(3))))
def test_one_context_a_core_shares_the_weights(make_shim: MakeShim, rknn: Path, leaving: tuple[int, ...]) -> None:
    """Three runtimes load the model once, run on their own cores, and may be left in any order, the first last."""
    shim = make_shim()
    model = SharedModel(rknn)
    runtimes = [LibRknnRt(model, SPEC, core=CoreMask.of_core(core)) for core in range(3)]
    for runtime in runtimes:
        runtime.__enter__()
    for seed, runtime in enumerate(runtimes):
        image = picture(seed)
        np.testing.assert_array_equal(runtime.infer(image)[0].nchw(), echoed(image)[0].values)
    for place in leaving:
        runtimes[place].__exit__(None, None, None)
    assert (shim.calls()["rknn_init"], shim.calls()["rknn_dup_context"], shim.calls()["rknn_destroy"]) == (1, 2, 3)
    masks = [line.rpartition("mask=")[2].rstrip(")") for line in shim.lines() if "set_core_mask" in line]
    assert masks == ["1", "2", "4"]
    first = next(line for line in shim.lines() if line.startswith("  -> ctx=")).split()[1]
    destroyed = [line for line in shim.lines() if line.startswith("rknn_destroy(")]
    assert destroyed[-1] == f"rknn_destroy({first})"
    assert shim.open_memory() == 0
    with runtimes[0] as again:  # opened again from nothing
        again.infer(IMAGE)
    assert shim.open_contexts() == 0


def test_it_says_which_versions_gave_its_figures(make_shim: MakeShim, rknn: Path) -> None:
    """Versions of runtime and driver are in the name of the figures; the stand-in cannot pass for the real one."""
    make_shim()
    with opened(rknn) as runtime:
        assert runtime.figures_from == "librknnrt 2.3.2 (shim@2025-01-01T00:00:00), driver 0.9.8"
        assert runtime.notes == ()


def test_what_a_context_answers(make_shim: MakeShim, rknn: Path) -> None:
    """Memory, custom string, duration and per-layer table are read; none of them before it means something."""
    make_shim()
    with Context(Library(), rknn, collect_perf=True) as context:
        assert context.memory_size().weights == 1000
        assert context.memory_size().internal == 2000
        assert context.custom_string() == "shim"
        for ask in (context.run_duration_us, context.perf_detail):
            with pytest.raises(BackendError, match="has not run yet"):
                ask()
    with opened(rknn) as runtime:
        runtime.infer(IMAGE)
        assert 0 <= runtime.context.run_duration_us() < 10_000_000
        with pytest.raises(BackendError, match="was not collected"):
            runtime.context.perf_detail()
    with LibRknnRt(SharedModel(rknn, collect_perf=True), SPEC) as runtime:
        runtime.infer(IMAGE)
        assert "Network Layer Information Table" in runtime.context.perf_detail()


def test_a_model_from_memory(make_shim: MakeShim) -> None:
    """A context opens a model given as bytes."""
    shim = make_shim()
    with Context(Library(), shim_text().encode()) as context:
        assert context.tensor_counts() == (1, 2)
    assert "rknn_init(model=<mem>" in shim.lines()[0]


def test_a_closed_context_is_not_used(make_shim: MakeShim, rknn: Path) -> None:
    """Before entering, after leaving and twice: no call reaches the library, which would crash."""
    shim = make_shim()
    context = Context(Library(), rknn)
    with pytest.raises(BackendError, match="not open"):
        context.run()
    with context, pytest.raises(BackendError, match="already open"):
        context.__enter__()
    context.close()
    with pytest.raises(BackendError, match="not open"):
        context.memory_size()
    runtime = opened(rknn)
    with pytest.raises(BackendError, match="not open"):
        runtime.infer(IMAGE)
    assert shim.calls()["rknn_destroy"] == shim.calls()["rknn_init"] == 1


@pytest.mark.parametrize(
    "image",
    [np.zeros((32, 64, 3), np.uint8), np.zeros((1, 3, 32, 64), np.uint8), np.zeros((1, 32, 64, 3), np.float32)],
    ids=["three axes", "NCHW", "float"],
)
def test_wrong_images_never_reach_the_runtime(make_shim: MakeShim, rknn: Path, image: Any) -> None:
    """An image that is not what the contract says is refused before the runtime reads past its end."""
    shim = make_shim()
    with opened(rknn) as runtime, pytest.raises(BackendError, match=r"expected contiguous \(1, 32, 64, 3\) uint8"):
        runtime.infer(image)
    assert shim.calls()["rknn_run"] == 0


FIRST = SPEC.outputs[0]
MISMATCHES: dict[str, tuple[str, ModelSpec, str]] = {
    "name": (shim_text(name="other"), SPEC, "has the outputs other, stride16_map, expected stride8_map, stride16_map"),
    "order": (
        shim_text(),
        replace(SPEC, outputs=SPEC.outputs[::-1]),
        "expected stride16_map, stride8_map, in this order",
    ),
    "count": (shim_text(), replace(SPEC, outputs=SPEC.outputs[:1]), "expected stride8_map, in this order"),
    "shape": (shim_text(dims="1,18,8,4"), SPEC, r"has shape \(1, 18, 8, 4\) in the model, expected \(1, 18, 4, 8\)"),
    "three axes": (shim_text(dims="1,18,32"), SPEC, r"has shape \(1, 18, 32\) in the model"),
    "type": (
        shim_text(type="uint8"),
        SPEC,
        "is uint8 with scale 0.05.* expected int8 with scale 0.05 and zero point -14",
    ),
    "scale": (shim_text(scale=0.051), SPEC, "scale 0.0509.* expected int8 with scale 0.05 and"),
    "zero point": (shim_text(zp=3), SPEC, "zero point 3 in the model, expected .* zero point -14"),
    "float for int8": (shim_text(type="float16"), SPEC, "is float16 in the model, expected int8"),
    "int8 for float": (
        shim_text(),
        replace(SPEC, outputs=(replace(FIRST, quantization=None), SPEC.outputs[1])),
        "expected float16 or float32",
    ),
    "input size": (
        shim_text(),
        replace(SPEC, input=replace(SPEC.input, height=64)),
        r'the input "images" \(1, 3, 32, 64\), expected one input "images" \(1, 3, 64, 64\)',
    ),
    "input name": (shim_text(), replace(SPEC, input=replace(SPEC.input, name="data")), 'expected one input "data"'),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_another_models_contract_is_refused(make_shim: MakeShim, rknn: Path, case: str) -> None:
    """Names, order, shapes, types, scales and zero points are compared when opening, and nothing stays open."""
    text, spec, message = MISMATCHES[case]
    shim = make_shim(text)
    with pytest.raises(BackendError, match=message) as caught, opened(rknn, spec):
        pass
    assert "build the bundle again" in caught.value.hint
    assert shim.open_contexts() == shim.open_memory() == 0
    assert shim.calls()["rknn_run"] == 0


@pytest.mark.parametrize("io", ["zero_copy", "copy"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_float_models(make_shim: MakeShim, rknn: Path, io: IoMode, dtype: str) -> None:
    """A model without quantization gives its floats, with scale 1 and zero point 0."""
    outputs: tuple[HeadOutput, ...] = tuple(replace(output, quantization=None) for output in SPEC.outputs)
    spec = replace(SPEC, outputs=outputs)
    make_shim(shim_text(spec, fill="const:1.5").replace("type=float16", f"type={dtype}"))
    with opened(rknn, spec, io=io) as runtime:
        for tensor in runtime.infer(IMAGE):
            assert (tensor.values.dtype, tensor.scale, tensor.zero_point) == (np.dtype(dtype), 1.0, 0)
            assert (tensor.nchw() == 1.5).all()


def test_an_int16_model(make_shim: MakeShim, rknn: Path) -> None:
    """int16 tensors pack eight channels, and still decode to the same candidates as NCHW."""
    outputs = tuple(replace(o, quantization=Quantization("int16", 0.001, 5)) for o in SPEC.outputs)
    spec = replace(SPEC, outputs=outputs)
    make_shim(shim_text(spec))
    found = []
    for io in ("zero_copy", "copy"):
        with opened(rknn, spec, io=io) as runtime:
            tensors = runtime.infer(IMAGE)
            assert tensors[0].values.dtype == np.int16
            found.append(AnchorDecoder(spec).candidates(tensors, np.full(4, 0.1, np.float32)))
    np.testing.assert_array_equal(found[0].xyxy, found[1].xyxy)
    assert len(found[0].scores) > 5

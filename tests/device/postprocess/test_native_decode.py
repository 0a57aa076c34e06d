from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rkdeploy.contract.roles import OutputRole
from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.postprocess.decoder import Decoder
from rkdeploy.device.postprocess.point_decode import PointDecoder
from rkdeploy.device.runtime.protocol import HeadTensor
from tests.device.postprocess.anchor_heads import AnchorHead
from tests.device.postprocess.both_ways import ODD_LAYOUTS, assert_same, both_ways
from tests.device.postprocess.point_heads import RAW_ANGLE, SIGMOID_ANGLE, PointHead
from tests.device.postprocess.tensor_layouts import as_nhwc, as_packed, as_slice

RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
LAYOUTS: dict[str, Any] = {
    "nchw": lambda tensor: tensor,
    "nhwc": as_nhwc,
    "slice": as_slice,
    "16 lanes": lambda tensor: as_packed(tensor, 16),
    "3 lanes": lambda tensor: as_packed(tensor, 3),
    "1 lane": lambda tensor: as_packed(tensor, 1),
    **ODD_LAYOUTS,
}
EDGES = [0.0, 1e-45, 1e-7, 0.25, 0.5, 0.999, float(np.float32(1 - 2**-24)), 1.0]
INPUTS = [(16, 16), (16, 64), (112, 48), (96, 160)]
ANCHOR_ROLES: list[tuple[OutputRole, ...]] = [
    ("anchor_map",),
    ("anchor_boxes", "anchor_scores"),
    ("anchor_xy", "anchor_wh", "anchor_scores"),
]


def limits_of(draw: st.DrawFn, class_count: int) -> NDArray[np.float32]:
    """A threshold of each class."""
    some = st.one_of(st.sampled_from(EDGES), st.floats(0.0, 1.0, width=32))
    if draw(st.booleans()):
        return np.full(class_count, draw(some), np.float32)
    return np.array(draw(st.lists(some, min_size=class_count, max_size=class_count)), np.float32)


def tensors_of(draw: st.DrawFn, outputs: Any) -> list[HeadTensor]:
    """Head tensors of one dtype, each with its own quantization, layout and content."""
    dtype = draw(st.sampled_from([*RANGES, "float16", "float32"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layouts = draw(st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=1, max_size=3))
    spread, odd = draw(st.sampled_from([0.1, 3.0, 30.0, 1000.0])), draw(st.booleans())
    tensors = []
    for number, output in enumerate(outputs):
        if dtype in RANGES:
            low, high = RANGES[dtype]
            narrow = draw(st.booleans())  # many equal values
            values = rng.integers(low, (low + 9 if narrow else high) + 1, output.shape).astype(dtype)
            scale = draw(st.sampled_from([1 / 255, 0.05, 0.62, 1.0, 1e-6, 40.0]))
            tensor = HeadTensor(values, scale, draw(st.sampled_from([low, 0, (low + high) // 2, high])))
        else:
            values = rng.normal(0, spread, output.shape).astype(dtype)
            if odd:
                for number_too in (np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 6e-8):
                    values[rng.random(output.shape) < 0.02] = number_too
            tensor = HeadTensor(values)
        tensors.append(LAYOUTS[layouts[number % len(layouts)]](tensor))
    return tensors


@st.composite
def point_cases(draw: st.DrawFn) -> tuple[PointHead, list[HeadTensor], NDArray[np.float32]]:
    class_count = draw(st.sampled_from([1, 2, 3, 16, 17, 80]))
    head = PointHead(
        class_count=class_count,
        input_hw=draw(st.sampled_from(INPUTS)),
        reg_max=draw(st.sampled_from([1, 2, 7, 16, 33])),
        angle=draw(st.sampled_from([None, None, SIGMOID_ANGLE, RAW_ANGLE])),
        activation=draw(st.sampled_from(["linear", "sigmoid"])),
        end_to_end=draw(st.booleans()),
    )
    return head, tensors_of(draw, head.spec.outputs), limits_of(draw, class_count)


@st.composite
def anchor_cases(draw: st.DrawFn) -> tuple[AnchorHead, list[HeadTensor], NDArray[np.float32]]:
    class_count = draw(st.sampled_from([1, 2, 3, 80]))
    roles = draw(st.sampled_from(ANCHOR_ROLES))
    head = AnchorHead(
        class_count=class_count,
        input_hw=draw(st.sampled_from(INPUTS)),
        roles=roles,
        activation=draw(st.sampled_from(["linear", "sigmoid"])),
    )
    return head, tensors_of(draw, head.spec.outputs), limits_of(draw, class_count)


@settings(deadline=None, max_examples=300)
@given(case=point_cases())
def test_points(case: tuple[PointHead, list[HeadTensor], NDArray[np.float32]]) -> None:
    """Anchor-free heads: C finds what numpy finds, whatever the layout, dtype, quantization, thresholds and content."""
    head, tensors, limits = case
    with np.errstate(all="ignore"):
        expected, found = both_ways(lambda: PointDecoder(head.spec).candidates(tensors, limits))
    numbers = np.abs(expected.xyxy[np.isfinite(expected.xyxy)])
    assert_same(found, expected, largest_px=max(16.0 * head.reg_max, *numbers.tolist(), 0.0))


@settings(deadline=None, max_examples=200)
@given(case=anchor_cases())
def test_anchors(case: tuple[AnchorHead, list[HeadTensor], NDArray[np.float32]]) -> None:
    """Anchor heads find the same, and their boxes are equal to the bit, because their arithmetic is the same."""
    head, tensors, limits = case
    with np.errstate(all="ignore"):
        expected, found = both_ways(lambda: AnchorDecoder(head.spec).candidates(tensors, limits))
    assert_same(found, expected, largest_px=0.0)
    np.testing.assert_array_equal(found.xyxy, expected.xyxy)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_everything_and_nothing(dtype: str, layout: str) -> None:
    """A decoder gives all rows where all pass, none where none does, and all again: its memory grows when it must."""
    head = PointHead(class_count=4, input_hw=(320, 320), reg_max=2)
    everything = [LAYOUTS[layout](tensor) for tensor in head.tensors(head.full(5.0), dtype)]
    nothing = [LAYOUTS[layout](tensor) for tensor in head.tensors(head.full(-5.0), dtype)]
    limits = np.full(4, 0.5, np.float32)

    def found() -> list[Any]:
        decoder = PointDecoder(head.spec)
        return [decoder.candidates(tensors, limits) for tensors in (everything, nothing, everything)]

    for expected, got in zip(*both_ways(found), strict=True):
        assert_same(got, expected, largest_px=320.0)
    assert len(found()[2].rows) == 40 * 40 + 20 * 20


def test_a_decoder_of_other_layouts_in_turn() -> None:
    """One decoder reads each frame as it lies, also when dtype, layout, quantization and thresholds change between."""
    head = PointHead(class_count=3, input_hw=(96, 160), reg_max=16)
    levels = head.random(0)
    frames: list[tuple[list[HeadTensor], float]] = []
    for dtype, scale, zero_point in (("float32", 1.0, 0), ("int8", 0.1, 3), ("int8", 0.2, -5), ("float16", 1.0, 0)):
        for layout in sorted(LAYOUTS):
            for limit in (0.3, 0.6):
                tensors = head.tensors(levels, dtype, scale, zero_point)
                frames.append(([LAYOUTS[layout](tensor) for tensor in tensors], limit))

    def found() -> list[Any]:
        decoder = PointDecoder(head.spec)
        return [decoder.candidates(tensors, np.full(3, limit, np.float32)) for tensors, limit in frames]

    for expected, got in zip(*both_ways(found), strict=True):
        assert_same(got, expected, largest_px=512.0)


def test_results_are_not_written_to_again() -> None:
    """Returned results stay unchanged when the next frame is decoded."""
    points, anchors = PointHead(reg_max=1), AnchorHead()
    decoders: list[tuple[Decoder, list[list[HeadTensor]]]] = [
        (PointDecoder(points.spec), [points.tensors(points.random(seed)) for seed in (0, 1)]),
        (AnchorDecoder(anchors.spec), [anchors.tensors(anchors.random(seed)) for seed in (0, 1)]),
    ]
    for decoder, (one, another) in decoders:
        first = decoder.candidates(one, np.full(3, 0.5, np.float32))
        before = [array.copy() for array in (first.xyxy, first.scores, first.class_ids, first.rows)]
        decoder.candidates(another, np.full(3, 0.5, np.float32))
        for array, copy in zip((first.xyxy, first.scores, first.class_ids, first.rows), before, strict=True):
            np.testing.assert_array_equal(array, copy)

"""The network's input by a filter graph: its pixels with software filters, its limits, and what happens when it fails.

Software filters stand in for RGA's, which need a board.
"""

from __future__ import annotations

import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from rkdeploy.contract.spec import InputSpec
from rkdeploy.device.stream.sources import rga_fit
from rkdeploy.device.stream.sources.decoded_picture import DecodedPicture, bgr_of
from rkdeploy.device.stream.sources.fitting_graph import FilterNode, FittingGraph, rga_nodes
from rkdeploy.device.stream.sources.rga_fit import RgaFit, is_suitable, mean_difference, open_rga
from rkdeploy.images.fit import Letterbox

av = pytest.importorskip("av")

SPEC = InputSpec("images", 160, 160)


def single_pixels(resized_hw: tuple[int, int], color: str) -> tuple[FilterNode, ...]:
    """Software filters that take single pixels, as the letterbox does at odd factors.

    FFmpeg's conversion of whole pictures is up to 3 below the exact value, by its fixed point; this one is exact, and
    one less is within 2.
    """
    height, width = resized_hw
    return (
        FilterNode("scale", f"{width}:{height}:flags=neighbor+full_chroma_int"),
        FilterNode("format", f"pix_fmts={color}24"),
        FilterNode("lutrgb", ":".join(rf"{one}=max(val-1\,0)" for one in "rgb")),
    )


def means(resized_hw: tuple[int, int], color: str) -> tuple[FilterNode, ...]:
    """Software filters that average, as RGA may."""
    height, width = resized_hw
    return (
        FilterNode("scale", f"{width}:{height}:flags=area+full_chroma_int"),
        FilterNode("format", f"pix_fmts={color}24"),
    )


def wrong_colors(resized_hw: tuple[int, int], color: str) -> tuple[FilterNode, ...]:
    """Red and blue exchanged."""
    return means(resized_hw, "bgr" if color == "rgb" else "rgb")


def failing(resized_hw: tuple[int, int], color: str) -> tuple[FilterNode, ...]:
    """Arguments that FFmpeg refuses."""
    return (FilterNode("scale", "nonsense"),)


def as_it_is(resized_hw: tuple[int, int], color: str) -> tuple[FilterNode, ...]:
    """No resizing."""
    return (FilterNode("format", f"pix_fmts={color}24"),)


def picture_frame(width: int, height: int, layout: str = "nv12") -> Any:
    """Soft colored shades, like a photograph's."""
    shades = np.random.default_rng(5).integers(0, 256, (4, 6, 3), np.uint8)
    image = cv2.resize(shades, (width, height), interpolation=cv2.INTER_CUBIC)
    return av.VideoFrame.from_ndarray(np.asarray(image, np.uint8), format="bgr24").reformat(format=layout)


@pytest.mark.parametrize("layout", ["yuv420p", "nv12", "yuvj422p"])
@pytest.mark.parametrize("colors", [(1, 1), (5, 1), (5, 2), (1, 2)], ids=["709", "601", "601 full", "709 full"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_graph_with_software_filters_is_the_letterbox(layout: str, colors: tuple[int, int], order: Any) -> None:
    """Within 2 of 255 on noise of the legal values of luma and chroma; FFmpeg's exact conversion overflows beyond."""
    spec = InputSpec("images", 64, 64, color=order)
    for width, height in ((192, 108), (320, 180), (108, 192)):
        frame = av.VideoFrame(width, height, layout)
        for plane in frame.planes:
            plane.update(np.random.default_rng(width).integers(16, 236, plane.buffer_size, np.uint8).tobytes())
        frame.colorspace, frame.color_range = colors
        fit = Letterbox(spec)
        graph = FittingGraph(single_pixels(fit.resized_hw((height, width)), order), frame)
        for _ in range(2):
            boxed = fit.fill((height, width), partial(graph.write, frame))
            expected = Letterbox(spec)(bgr_of(frame))
            assert np.abs(boxed.image.astype(int) - expected.image).max() <= 2


def fitted(frame: Any, rga: RgaFit) -> tuple[np.ndarray[Any, Any], bool]:
    """The network's input, and whether the whole picture was converted."""
    picture = DecodedPicture(frame, 0, rga)
    return picture.fitted(Letterbox(SPEC)).image.copy(), picture._bgr is not None


def test_the_first_picture_is_compared_and_later_ones_are_the_graphs() -> None:
    """The first one is the CPU's; no whole picture is converted afterward, and nothing is said."""
    told: list[str] = []
    rga = RgaFit(told.append, None, means)
    frame = picture_frame(320, 240)
    expected = Letterbox(SPEC)(bgr_of(frame)).image.copy()
    first, converted = fitted(frame, rga)
    assert converted
    assert np.array_equal(first, expected)
    second, converted = fitted(frame, rga)
    assert not converted
    assert 0 < np.abs(second.astype(int) - expected).max() <= 8
    assert told == []


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        (wrong_colors, r"differs from the CPU's by \d\d+ of 255"),
        (failing, "Invalid argument"),
        (as_it_is, "the filters gave 320x240, expected 160x120"),
    ],
)
def test_a_graph_that_is_wrong_or_fails_is_given_up(nodes: Any, reason: str) -> None:
    """The CPU makes every picture then, and one message says why."""
    told: list[str] = []
    rga = RgaFit(told.append, None, nodes)
    frame = picture_frame(320, 240)
    expected = Letterbox(SPEC)(bgr_of(frame)).image.copy()
    for _ in range(3):
        found, converted = fitted(frame, rga)
        assert converted
        assert np.array_equal(found, expected)
    assert len(told) == 1
    assert re.search(rf"^RGA is not used any more: .*{reason}.* The CPU resizes the pictures\.$", told[0])


@pytest.mark.parametrize(
    ("size", "layout", "resized_hw", "expected"),
    [
        ((1280, 720), "nv12", (360, 640), True),
        ((1280, 720), "yuv420p", (360, 640), False),
        ((1080, 1920), "nv12", (640, 360), False),  # rows of 360 pixels
        ((1279, 720), "nv12", (360, 640), False),
        ((7680, 4320), "nv12", (360, 640), False),  # a factor of 12
        ((100, 64), "nv12", (410, 640), False),  # too small
    ],
)
def test_what_rga_takes(size: tuple[int, int], layout: str, resized_hw: tuple[int, int], expected: bool) -> None:
    """Formats, row lengths, factors and sides."""
    frame = SimpleNamespace(
        width=size[0], height=size[1], format=SimpleNamespace(name=layout), color_range=1, colorspace=1
    )
    assert is_suitable(frame, resized_hw) == expected
    frame.color_range = 2
    assert not is_suitable(frame, resized_hw)


def test_the_filters_ask_for_the_size_as_it_is() -> None:
    """Width, height and color order; RGA keeps no aspect ratio of its own and answers at once."""
    nodes = rga_nodes((360, 640), "rgb")
    assert [node.name for node in nodes] == ["hwupload", "scale_rkrga", "hwdownload", "format"]
    assert nodes[1].arguments == "w=640:h=360:format=rgb24:async_depth=0:force_original_aspect_ratio=disable"


def test_rga_is_opened_only_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its filters, its node, or with `RKDEPLOY_RGA=off` there is none."""
    assert open_rga(lambda _text: None) is None
    board = SimpleNamespace(
        filter=SimpleNamespace(filters_available={"hwupload", "scale_rkrga", "hwdownload"}),
        codec=SimpleNamespace(hwaccel=SimpleNamespace(HWDevice=lambda name: f"device {name}")),
        error=av.error,
    )
    monkeypatch.setattr(rga_fit, "import_module", lambda _name: board)
    monkeypatch.setattr(rga_fit, "node_problem", lambda _node: "/dev/rga: No such file or directory")
    assert open_rga(lambda _text: None) is None
    monkeypatch.setattr(rga_fit, "node_problem", lambda _node: "")
    assert open_rga(lambda _text: None) is not None
    monkeypatch.setenv("RKDEPLOY_RGA", "off")
    assert open_rga(lambda _text: None) is None


def test_the_difference_of_pictures() -> None:
    """Noise of single pixels counts little, another brightness in full."""
    gray = np.full((64, 64, 3), 100, np.uint8)
    noisy = gray + np.random.default_rng(0).integers(0, 2, gray.shape, np.uint8) * 40
    assert mean_difference(gray, gray) == 0
    assert mean_difference(gray, noisy) == pytest.approx(20, abs=2)
    assert mean_difference(noisy, np.roll(noisy, 1, axis=0)) < 4

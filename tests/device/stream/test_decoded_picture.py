"""Pictures of decoded video: known by size, converted once when they are asked for."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from rkdeploy.contract.spec import InputSpec
from rkdeploy.device.stream.frame_picture import ArrayPicture
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sources import decoded_picture, open_source
from rkdeploy.device.stream.sources.decoded_picture import DecodedPicture
from rkdeploy.device.stream.sources.video_capture import VIDEO_VARIABLE
from rkdeploy.errors import SourceError
from rkdeploy.images.fit import Letterbox, image_fit

av = pytest.importorskip("av")


def decoded(pixels: np.ndarray[Any, Any], quarters: int = 0, layout: str = "yuv420p") -> DecodedPicture:
    """A picture as a decoder leaves it."""
    return DecodedPicture(av.VideoFrame.from_ndarray(pixels, format="bgr24").reformat(format=layout), quarters)


def test_a_frame_has_an_array_or_a_picture() -> None:
    """Both say their size and give the same input of a network."""
    pixels = np.full((48, 64, 3), 90, np.uint8)
    plain, lazy = Frame(pixels, "a", 0), Frame(decoded(pixels), "a", 0)
    assert plain.image is pixels
    assert isinstance(plain.picture, ArrayPicture)
    assert plain.size_hw == lazy.size_hw == (48, 64)
    assert np.abs(lazy.image.astype(int) - pixels).max() <= 5  # BGR to YUV and back
    fit = Letterbox(InputSpec("images", 32, 32))
    assert np.array_equal(plain.picture.fitted(fit).image, fit(pixels).image)
    expected = fit(lazy.image).image.copy()
    assert np.abs(lazy.picture.fitted(fit).image.astype(int) - expected).max() <= 2


def test_it_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several threads get the same array; knowing the size converts nothing."""
    calls: list[Any] = []
    real = decoded_picture.bgr_of

    def counted(frame: Any) -> Any:
        calls.append(frame)
        return real(frame)

    monkeypatch.setattr(decoded_picture, "bgr_of", counted)
    picture = decoded(np.full((48, 64, 3), 90, np.uint8))
    assert picture.size_hw == (48, 64)
    assert calls == []
    given: list[Any] = []
    threads = [Thread(target=lambda: given.append(picture.bgr())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert all(one is given[0] for one in given)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_turned_picture_is_upright(quarters: int) -> None:
    """Size and pixels are those of the turned array."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:16, :16] = 200
    picture = decoded(pixels, quarters)
    turned = np.rot90(pixels, quarters)
    assert picture.size_hw == turned.shape[:2]
    assert picture.bgr().flags.c_contiguous
    assert np.abs(picture.bgr()[4:12, 4:12].astype(int) - turned[4:12, 4:12]).max() <= 5


def test_a_picture_that_cannot_be_converted_is_a_known_error() -> None:
    """FFmpeg's refusal is a message with the pixel format."""

    class Odd:
        width, height = 64, 48
        format = type("Format", (), {"name": "odd"})

        def to_ndarray(self, **_: str) -> Any:
            raise ValueError("no such conversion")

    with pytest.raises(SourceError, match="pixel format odd cannot be converted to BGR: no such conversion"):
        DecodedPicture(Odd(), 0).bgr()


SIZES = {
    (192, 108): True,  # 64x36: each third pixel
    (64, 48): True,  # as it is
    (36, 64): True,
    (320, 180): True,  # each fifth
    (128, 72): False,  # two pixels are mixed
    (256, 144): False,
    (191, 107): False,
    (63, 47): False,
    (100, 60): False,
    (40, 30): False,
}
"""Width and height -> True if the network's input of 64x64 is made from the planes alone."""


@pytest.mark.parametrize("layout", ["yuv420p", "nv12", "yuvj420p", "yuvj422p", "yuv422p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("colors", [(1, 1), (5, 1), (6, 2), (2, 0), (9, 1)], ids=["709", "601", "full", "none", "2020"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_input_is_that_of_the_whole_picture(layout: str, colors: tuple[int, int], order: Any) -> None:
    """Within 2 of 255 of the letterbox of the BGR picture, on noise that uses all values of luma and chroma."""
    spec = InputSpec("images", 64, 64, color=order)
    for (width, height), exact in SIZES.items():
        frame = noise(width, height, layout)
        frame.colorspace, frame.color_range = colors
        picture = DecodedPicture(frame, 0)
        boxed = picture.fitted(Letterbox(spec))
        planes_alone = exact and colors[0] != 9 and layout not in ("yuv444p", "yuv420p10le")
        assert (picture._bgr is None) == planes_alone, (width, height)
        expected = Letterbox(spec)(picture.bgr())
        assert boxed.transform == expected.transform
        assert np.abs(boxed.image.astype(int) - expected.image).max() <= 2, (width, height)


def noise(width: int, height: int, layout: str) -> Any:
    """A picture whose planes hold noise, in rows that are longer than the picture."""
    frame = av.VideoFrame(width, height, layout)
    for plane in frame.planes:
        plane.update(np.random.default_rng(width).integers(0, 256, plane.buffer_size, np.uint8).tobytes())
    return frame


def test_other_fits_and_turned_pictures_take_the_whole_picture() -> None:
    """A stretch and a quarter turn are made from BGR."""
    for quarters, spec in ((0, InputSpec("images", 64, 64, fit="stretch")), (1, InputSpec("images", 64, 64))):
        picture = DecodedPicture(noise(64, 192, "yuv420p"), quarters)
        boxed = picture.fitted(image_fit(spec)).image.copy()
        assert np.array_equal(boxed, image_fit(spec)(picture.bgr()).image)


def test_a_video_file_gives_such_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a file converts nothing."""
    monkeypatch.setenv(VIDEO_VARIABLE, "software")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))

    def refuse(_frame: Any) -> Any:
        raise AssertionError("nothing asked for the whole picture")

    monkeypatch.setattr(decoded_picture, "bgr_of", refuse)
    with open_source(str(path)) as frames:
        assert [frame.size_hw for frame in frames] == [(48, 64)] * 3

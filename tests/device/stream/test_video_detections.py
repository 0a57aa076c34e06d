"""Detections of a video are the same from its planes and from whole pictures in BGR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import rkdeploy
from rkdeploy.contract.bundle import Bundle
from rkdeploy.device.stream.sources import decoded_picture, yuv_planes
from rkdeploy.device.stream.sources.video_capture import VIDEO_VARIABLE

av = pytest.importorskip("av")

IMAGES = sorted((Path(__file__).parents[3] / "calib_data" / "images" / "val").glob("*.jpg"))[:6]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clip(sample_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 of the sample's pictures at three times their size in the network's input."""
    entry = sample_bundle.spec.input
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 3 * entry.width, 3 * entry.width * 3 // 4, "yuv420p"
        for image in IMAGES:
            large = cv2.resize(cv2.imread(str(image)), (stream.width, stream.height), interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def found(bundle: Bundle, clip: Path) -> list[Any]:
    """Detections of each frame."""
    with rkdeploy.load(bundle.folder, backend="onnxruntime") as model:
        return [result.detections for result in model.stream(str(clip))]


def test_the_planes_give_the_same_detections(
    sample_bundle: Bundle, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes within a pixel of the network's input, scores within 0.02; nothing appears or vanishes.

    From the planes no whole picture is converted, also not for the results of a program that does not look at them.
    """
    monkeypatch.setenv(VIDEO_VARIABLE, "software")
    written: list[Any] = []

    def counted(*arguments: Any) -> None:
        written.append(arguments)
        yuv_planes.write_sampled(*arguments)

    monkeypatch.setattr(decoded_picture, "write_sampled", counted)
    whole: list[Any] = []
    convert = decoded_picture.bgr_of

    def converted(frame: Any) -> Any:
        whole.append(frame)
        return convert(frame)

    monkeypatch.setattr(decoded_picture, "bgr_of", converted)
    from_planes = found(sample_bundle, clip)
    assert len(written) == len(IMAGES)
    assert not whole
    monkeypatch.setattr(decoded_picture, "samples_exactly", lambda *_: False)
    from_bgr = found(sample_bundle, clip)
    assert len(written) == len(IMAGES)
    assert sum(len(one) for one in from_bgr) > 10
    for ours, theirs in zip(from_planes, from_bgr, strict=True):
        nearest = [int(np.abs(theirs.xyxy - box).max(axis=1).argmin()) for box in ours.xyxy]
        assert sorted(nearest) == list(range(len(theirs)))  # equal scores may change places in the order
        assert ours.class_ids.tolist() == theirs.class_ids[nearest].tolist()
        assert np.abs(ours.xyxy - theirs.xyxy[nearest]).max() <= 3  # in pixels of the video, three per input pixel
        assert np.abs(ours.scores - theirs.scores[nearest]).max() <= 0.02

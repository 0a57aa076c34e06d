"""Maps as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.contract.formulas import ClassMapSpec, DepthFormula, DepthKind
from rkdeploy.contract.spec import InputSpec, ModelSpec
from rkdeploy.datasets.depth_files import read_depth
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, FoundDepth
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sinks.map_files import MapFilesSink
from rkdeploy.errors import RkdeployError

IMAGE = np.zeros((4, 6, 3), np.uint8)


def spec(*maps: str, depth: DepthKind | None = None) -> ModelSpec:
    return ModelSpec(
        family="onnx",
        task="depth" if depth else "semantic",
        class_names=("a", "b"),
        input=InputSpec("images", 4, 6),
        outputs=(),
        class_maps=tuple(ClassMapSpec(name, ("a", "b")) for name in maps),
        depth=None if depth is None else DepthFormula(depth),
    )


def found(*maps: str, depth: FoundDepth | None = None) -> Detections:
    ids = (np.arange(24).reshape(4, 6) % 2).astype(np.uint8)
    return replace(
        Detections.empty(), class_maps=tuple(FoundClassMap(name, ("a", "b"), ids) for name in maps), depth=depth
    )


def test_class_ids(tmp_path: Path) -> None:
    """Named like the image; one file per map where there are several; frames of a video are numbered."""
    with MapFilesSink(tmp_path / "one", spec("semantic")) as sink:
        sink.write(Frame(IMAGE, "in/a.jpg", 0), found("semantic"))
        sink.write(Frame(IMAGE, "other/a.jpg", 1), found("semantic"))
        sink.write(Frame(IMAGE, "clip.mp4", 7), found("semantic"))
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["a.png", "a_2.png", "clip_000007.png"]
    written = cv2.imread(str(tmp_path / "one/a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(np.asarray(written), found("semantic").class_maps[0].class_ids)
    with MapFilesSink(tmp_path / "two", spec("road", "lane line")) as sink:
        sink.write(Frame(IMAGE, "a.jpg", 0), found("road", "lane line"))
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["a_lane_line.png", "a_road.png"]


@pytest.mark.parametrize(("npy", "name"), [(False, "a.png"), (True, "a.npy")])
def test_depth_comes_back_as_labels(tmp_path: Path, npy: bool, name: str) -> None:
    """In millimeters or as floats, as `eval` reads them; without a value 0 or NaN, far ones at the largest number."""
    values = np.linspace(0.5, 12, 24, dtype=np.float32).reshape(4, 6)
    values[0, :2] = (np.nan, 500.0)
    with MapFilesSink(tmp_path, spec(depth="metric"), npy=npy) as sink:
        sink.write(Frame(IMAGE, "a.jpg", 0), found(depth=FoundDepth(values, "metric")))
    read = read_depth(tmp_path / name, (4, 6))
    np.testing.assert_allclose(read[1:], values[1:], atol=0 if npy else 5.1e-4)
    assert np.isnan(read[0, 0]) if npy else read[0, 0] == 0
    assert read[0, 1] == pytest.approx(500.0 if npy else 65.535)


def test_depth_without_a_unit_is_never_millimeters(tmp_path: Path) -> None:
    """Relative depth has no millimeters."""
    with MapFilesSink(tmp_path, spec(depth="inverse")) as sink:
        sink.write(Frame(IMAGE, "a.jpg", 0), found(depth=FoundDepth(np.ones((4, 6), np.float32), "inverse")))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_the_folder_of_the_images_is_refused(tmp_path: Path) -> None:
    """The map of a.png would replace a.png; a video's frames have names of their own."""
    with MapFilesSink(tmp_path, spec("semantic")) as sink:
        with pytest.raises(RkdeployError, match="would be overwritten"):
            sink.write(Frame(IMAGE, str(tmp_path / "a.png"), 0), found("semantic"))
        sink.write(Frame(IMAGE, str(tmp_path / "clip.mp4"), 7), found("semantic"))
    assert [path.name for path in tmp_path.iterdir()] == ["clip_000007.png"]


def test_a_model_without_maps(tmp_path: Path) -> None:
    """The option is refused."""
    with pytest.raises(RkdeployError, match="no class maps and no depth"):
        MapFilesSink(tmp_path, spec())

"""Trial runs of the commands' work, in a separate process, which a broken package may crash.

Imports stand inside the trials: the one that fails is the result.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_SIDE = 32  # side of the picture and of the network's input in pixels
VIDEO: Final = Path(__file__).with_name("trial.mp4")
"""H.264, which `tests/doctor/make_trial_video.py` made."""
VIDEO_GRAYS: Final = tuple(range(40, 200, 20))
"""Gray values of its frames."""
_NEAR: Final = 8  # difference of gray values that compression may cause


def images() -> None:
    """Encode, write and read a picture, and fit it into a network's input."""
    import cv2
    import numpy as np

    from rkdeploy.contract.spec import InputSpec
    from rkdeploy.images.file import read_image
    from rkdeploy.images.fit import Letterbox

    encoded, data = cv2.imencode(".png", np.full((6, 8, 3), 7, np.uint8))
    assert encoded, "no PNG was encoded"
    with tempfile.TemporaryDirectory(prefix="rkdeploy-doctor-") as folder:
        path = Path(folder) / "picture.png"
        path.write_bytes(data.tobytes())
        image = read_image(path)
    assert image.shape == (6, 8, 3), f"a picture of 6x8 pixels was read as {image.shape}"
    fitted = Letterbox(InputSpec("images", _SIDE, _SIDE))(image).image
    assert int(fitted[0, _SIDE // 2, _SIDE // 2, 0]) == 7, "a resized picture has other colors"


def video() -> None:
    """Decode a small H.264 video as a run does, and save it drawn as `--save` does, with the packages that it takes."""
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.sinks import open_save_folder
    from rkdeploy.device.stream.sources import open_source
    from rkdeploy.device.stream.sources.video_capture import video_package
    from rkdeploy.device.stream.video_out.writer_choice import chosen_writer

    _require_video(VIDEO, video_package())
    writer, source = chosen_writer(), open_source(str(VIDEO))
    with tempfile.TemporaryDirectory(prefix="rkdeploy-doctor-") as folder:
        with source as frames, open_save_folder(Path(folder), source, ("bolt",), writer.encoder) as sink:
            for frame in frames:
                sink.write(frame, Detections.empty())
        _require_video(Path(folder) / VIDEO.name, f"{video_package()} after {writer.text}")


def _require_video(file: Path, package: str) -> None:
    """Check that a copy of the video is read with all its frames."""
    from rkdeploy.device.stream.sources import open_source
    from rkdeploy.errors import SourceError

    try:
        with open_source(str(file)) as frames:
            found = [int(frame.image[24, 32].mean()) for frame in frames]
    except SourceError as error:
        message = f'H.264 video is not decoded by {package}; PyAV does it: pip install "rkdeploy[video]"'
        raise AssertionError(message) from error
    right = [gray for gray, one in zip(VIDEO_GRAYS, found, strict=False) if abs(one - gray) < _NEAR]
    assert len(right) == len(found) == len(VIDEO_GRAYS), f"{len(right)} of {len(VIDEO_GRAYS)} frames by {package}"


def camera() -> None:
    """Look for what cameras need: V4L2 in OpenCV, and a decoder of JPEG, which many of them give."""
    import cv2
    import numpy as np

    if sys.platform == "linux":
        backends = cv2.videoio_registry.getCameraBackends()
        assert cv2.CAP_V4L2 in backends, f"OpenCV {cv2.__version__} is built without V4L2, which cameras need"
    encoded, data = cv2.imencode(".jpg", np.full((16, 16, 3), 90, np.uint8))
    assert encoded, "no JPEG was encoded"
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "no JPEG was decoded"
    assert abs(int(decoded[8, 8, 0]) - 90) < _NEAR, "a JPEG was decoded with other colors"


def drawing() -> None:
    """Draw one detection and write it as a JSON line."""
    import numpy as np

    from rkdeploy.device.drawing import draw_detections
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.result_json import result_object

    box = np.array([[2, 2, 20, 20]], np.float32)
    found = Detections(box, np.array([0.5], np.float32), np.array([0], np.int32))
    image = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    assert np.any(draw_detections(image, found, ("bolt",))), "a drawn box changed no pixel"
    line = json.dumps(result_object("doctor", 0, (_SIDE, _SIDE), found, ("bolt",)))
    assert '"bolt"' in line, "a detection's JSON lacks its class"


def contract() -> None:
    """Write a contract as JSON and read it again."""
    import msgspec

    from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec

    output = HeadOutput("output", "scores", 0, 8, (1, 1, _SIDE // 8, _SIDE // 8))
    spec = ModelSpec("yolov5", "detect", ("bolt",), InputSpec("images", _SIDE, _SIDE), (output,))
    assert msgspec.json.decode(msgspec.json.encode(spec), type=ModelSpec) == spec, "a contract reads back as another"


def graph() -> None:
    """Simplify and run a small ONNX graph."""
    import numpy as np
    from onnx import TensorProto, helper

    from rkdeploy.host.graph.session import Session
    from rkdeploy.host.graph.simplify import simplify

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 2)) for name in ("x", "y")]
    network = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "doctor", ends[:1], ends[1:])
    model = helper.make_model(network, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    result = Session(simplify(model)).run({"x": np.array([[-1, 2]], np.float32)})
    assert result["y"].tolist() == [[0.0, 2.0]], f"a graph computed {result['y'].tolist()}"


def page() -> None:
    """Render an empty report as HTML."""
    from rkdeploy.analysis.page.html import html_text
    from rkdeploy.analysis.report.compose import compose
    from rkdeploy.analysis.report.model_report import Report

    assert "</html>" in html_text(compose(Report((), "2026-01-01T00:00:00+00:00", "0"), "en"), "en")


def accuracy() -> None:
    """Import COCO's own tool, whose compiled part fails with a wrong version of numpy."""
    import pycocotools.coco
    import pycocotools.cocoeval  # noqa: F401


def view() -> None:
    """Import the modules of the web view."""
    import uvicorn  # noqa: F401

    import rkdeploy.device.web.app  # noqa: F401


TRIALS: Final[dict[str, tuple[Callable[[], None], ...]]] = {
    "run": (images, video, camera, drawing, contract),
    "build": (graph,),
    "report": (page,),
    "eval": (accuracy,),
    "run --web": (view,),
}
"""Command -> its trial."""


def main(commands: list[str]) -> None:
    """Print one line of JSON before each trial, and one after it: command, trial, error."""
    for command in commands:
        for trial in TRIALS[command]:
            print(json.dumps([command, trial.__name__, "begun"]), flush=True)
            try:
                trial()
                error = ""
            except Exception as failure:  # noqa: BLE001  (whatever it is, it is the answer)
                error = f"{type(failure).__name__}: {failure}"
            print(json.dumps([command, trial.__name__, error]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""From a trained YOLO checkpoint to a verified model on a Rockchip NPU.

    import rkdeploy

    bundle = rkdeploy.build("best.pt", calib="images/", target="rk3588")     # on a host
    with rkdeploy.load(bundle, conf=0.25) as model:                           # on a board, or on a PC
        result = model("photo.jpg")
        for box in result.boxes:
            print(box.class_name, box.confidence, box.xyxy)
        for result in model.stream("rtsp://10.0.0.7/cam1", "/dev/video0"):
            print(result.source, result.counts())

Coordinates are pixels of the image, x to the right and y down; images are (H, W, 3) uint8 BGR as OpenCV has them.
Failures that a user can meet are `RkdeployError`s: `message` says what failed, `hint` what to do.
"""

from typing import TYPE_CHECKING

from rkdeploy.version import __version__

if TYPE_CHECKING:
    from rkdeploy.api.coco import to_coco
    from rkdeploy.api.host import build, estimate, evaluate, inspect, profile, report
    from rkdeploy.api.model import Model, load
    from rkdeploy.api.model_answer import Box, Boxes, ChainedAnswer
    from rkdeploy.api.result import Result
    from rkdeploy.api.result_parts import (
        ClassMap,
        ClassRanking,
        DepthMap,
        GalleryMatch,
        Keypoints,
        Masks,
        RotatedBoxes,
        TextLine,
    )
    from rkdeploy.api.stream import Stream
    from rkdeploy.api.then import Then
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.errors import RkdeployError
    from rkdeploy.host.building.build_events import BuildEvents

_HOMES = {
    "Box": "rkdeploy.api.model_answer",
    "Boxes": "rkdeploy.api.model_answer",
    "BuildEvents": "rkdeploy.host.building.build_events",
    "Bundle": "rkdeploy.contract.bundle",
    "ChainedAnswer": "rkdeploy.api.model_answer",
    "ClassMap": "rkdeploy.api.result_parts",
    "ClassRanking": "rkdeploy.api.result_parts",
    "DepthMap": "rkdeploy.api.result_parts",
    "GalleryMatch": "rkdeploy.api.result_parts",
    "Keypoints": "rkdeploy.api.result_parts",
    "Masks": "rkdeploy.api.result_parts",
    "Model": "rkdeploy.api.model",
    "Result": "rkdeploy.api.result",
    "RkdeployError": "rkdeploy.errors",
    "RotatedBoxes": "rkdeploy.api.result_parts",
    "Stream": "rkdeploy.api.stream",
    "TextLine": "rkdeploy.api.result_parts",
    "Then": "rkdeploy.api.then",
    "build": "rkdeploy.api.host",
    "estimate": "rkdeploy.api.host",
    "evaluate": "rkdeploy.api.host",
    "inspect": "rkdeploy.api.host",
    "load": "rkdeploy.api.model",
    "profile": "rkdeploy.api.host",
    "report": "rkdeploy.api.host",
    "to_coco": "rkdeploy.api.coco",
}

__all__ = [
    "Box",
    "Boxes",
    "BuildEvents",
    "Bundle",
    "ChainedAnswer",
    "ClassMap",
    "ClassRanking",
    "DepthMap",
    "GalleryMatch",
    "Keypoints",
    "Masks",
    "Model",
    "Result",
    "RkdeployError",
    "RotatedBoxes",
    "Stream",
    "TextLine",
    "Then",
    "__version__",
    "build",
    "estimate",
    "evaluate",
    "inspect",
    "load",
    "profile",
    "report",
    "to_coco",
]

if not TYPE_CHECKING:  # type checkers read the imports above

    def __getattr__(name: str) -> object:
        """Import a name when it is first used: a board that has no onnx imports none."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'rkdeploy' has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(home), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})

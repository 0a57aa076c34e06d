"""Record what the ultralytics package itself reads in a bundle built with `--form ultralytics`.

    python -m tests.data.forms.make_ultralytics_boxes BUNDLE IMAGE NAME

Needs ultralytics 8.4.190; the toolkit may be in another environment (RKDEPLOY_TOOLKIT_PYTHON).  Ultralytics opens the
bundle's `*_rknn_model` folder with its own predictor; only the board's package, rknnlite, is replaced: the simulator
answers in its place.  NAME.npz gets the raw outputs for the predictor's own input and the boxes, classes and scores
that it finds in source pixels at confidence 0.25 and IoU 0.45; NAME.json the contract.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from unittest import mock

import numpy as np

from rkdeploy.contract.bundle import read_bundle
from rkdeploy.device.runtime.protocol import NO_OPTIONS, HeadTensor
from rkdeploy.host.toolkit.simulator import open_bundle

HERE = Path(__file__).parent


class SimulatedLite:
    """The part of RKNNLite that Ultralytics calls, answered by the simulator."""

    runtime: ClassVar[Any] = None
    seen: ClassVar[list[tuple[HeadTensor, ...]]] = []

    def load_rknn(self, path: str) -> int:
        return 0 if Path(path).is_file() else -1

    def init_runtime(self) -> int:
        return 0

    def inference(self, inputs: list[Any]) -> list[Any]:
        self.seen.append(self.runtime.infer(np.ascontiguousarray(inputs[0])))
        return [tensor.dequantized().copy() for tensor in self.seen[-1]]


def main(folder: Path, image: Path, name: str) -> None:
    """Predict, and write both files."""
    from ultralytics import YOLO
    from ultralytics.nn.backends import rknn

    bundle = read_bundle(folder)
    lite = ModuleType("rknnlite.api")
    lite.RKNNLite = SimulatedLite  # type: ignore[attr-defined]  # the name that Ultralytics imports
    sys.modules |= {"rknnlite": ModuleType("rknnlite"), "rknnlite.api": lite}
    (model,) = bundle.folder.glob("*_rknn_model")
    with (
        open_bundle(bundle, None, NO_OPTIONS) as runtime,
        mock.patch.object(rknn, "is_rockchip", return_value=True),
        mock.patch.object(rknn, "check_requirements", return_value=True),
    ):
        SimulatedLite.runtime = runtime
        size = [bundle.spec.input.height, bundle.spec.input.width]
        (found,) = YOLO(str(model), task=bundle.spec.task).predict(str(image), conf=0.25, iou=0.45, imgsz=size)
    arrays = {f"output_{index}": tensor.values for index, tensor in enumerate(SimulatedLite.seen[-1])}
    boxes = found.boxes
    np.savez_compressed(
        HERE / f"{name}.npz", boxes=boxes.xyxy.numpy(), classes=boxes.cls.numpy(), scores=boxes.conf.numpy(),
        source_hw=np.array(found.orig_shape), **arrays,
    )  # fmt: skip
    shutil.copyfile(bundle.folder / "contract.json", HERE / f"{name}.json")
    print(f"{name}: {len(boxes)} boxes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

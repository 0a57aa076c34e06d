"""The recorded checkpoints of all families: where they are, and their size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.presets import PresetName

DATA = Path(__file__).parents[2] / "data"
GROUPS = (
    "yolov5", "ultralytics", "yolor", "yolop", "yolov7", "yolov7_face", "yolov7_pose", "yolov5_face", "yolov5_lite",
    "yolov9", "yolov6", "yolox", "darknet", "rtdetr", "open_vocabulary", "retinaface", "ultraface", "torchvision_ssd",
    "yolo_fastestv2", "fastestdet",
    "text",
)  # fmt: skip
PRESETS: dict[str, PresetName] = {"yolox": "yolox"}
"""Preparation of the recorded images, where the files do not say it."""
NOT_SUPPORTED = {
    "yolov5": {"state_dict", "v1_s"},  # a state dict without its model; v1.0, whose Detect has no convolutions
}


@dataclass(frozen=True, slots=True)
class Vector:
    """One recorded case.

    Attributes:
        group: folder under tests/data.
        case: name within the group.
        checkpoint: the `.pt`, `.pth` or `.weights`.
        cfg: its darknet cfg, if there is one.
    """

    group: str
    case: str
    checkpoint: Path
    cfg: Path | None

    @property
    def key(self) -> str:
        """Group and case, as pytest shows them."""
        return f"{self.group}-{self.case}"

    def recorded(self) -> dict[str, NDArray[Any]]:
        """Results of the training package."""
        with np.load(self.checkpoint.with_suffix(".npz")) as file:
            return {name: file[name] for name in file.files}

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of the recorded input."""
        _, _, height, width = self.recorded()["input"].shape
        return height, width

    def open(self, hw: tuple[int, int] | None = None) -> Network:
        """The network at the recorded input size, or another."""
        opened = open_network(self.checkpoint, imgsz=hw or self.hw, cfg=self.cfg, family=self.family)
        return with_choice(opened, self.choice)

    @property
    def family(self) -> str | None:
        """Family that a user must name, where a state dict and its cfg fit several."""
        return self.group if self.group == "yolor" else None

    @property
    def choice(self) -> InputChoice:
        """Input facts that a user must give."""
        return InputChoice(preset=PRESETS.get(self.group))

    def image(self) -> NDArray[np.uint8]:
        """The recorded input as a runtime takes it, (1, H, W, 3) uint8 RGB."""
        return np.ascontiguousarray(self.recorded()["input"].transpose(0, 2, 3, 1))


def vectors() -> list[Vector]:
    """Every checkpoint with a record next to it."""
    found = []
    for group in GROUPS:
        for path in sorted((DATA / group).glob("*.weights" if group == "darknet" else "*.pt*")):
            if path.with_suffix(".npz").exists() and path.stem not in NOT_SUPPORTED.get(group, ()):
                cfg = path.with_suffix(".cfg")
                found.append(Vector(group, path.stem, path, cfg if cfg.exists() else None))
    return found

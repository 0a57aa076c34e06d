"""Recorded face detectors with several boxes per cell, as their packages export them: `tests/data/faces`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.presets import PresetName
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input

FOLDER = Path(__file__).parents[2] / "data" / "faces"


@dataclass(frozen=True)
class FaceRecord:
    """One recorded network.

    Attributes:
        name: of its files.
        preset: that it builds with.
        proven: the graph decodes its boxes.
        about: what the file is.
    """

    name: str
    preset: PresetName
    proven: bool
    about: str

    @property
    def file(self) -> Path:
        """The ONNX file."""
        return FOLDER / f"{self.name}.onnx"

    def open(self) -> Network:
        """The network with its preset."""
        return with_choice(open_network(self.file), InputChoice(preset=self.preset))

    def recorded(self) -> dict[str, NDArray[Any]]:
        """`input` (1, H, W, 3) uint8 as the network takes it, and in the order of rows `boxes` (rows, 4) in pixels,
        `scores` and, where there are landmarks, `points` in pixels.
        """
        with np.load(self.file.with_suffix(".npz")) as file:
            found = {name: file[name] for name in file.files}
        pixels = np.random.default_rng(1).integers(0, 256, (1, 3, *found["hw"])).astype(np.uint8)
        return found | {"input": np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))}

    def errors(self, network: Network) -> tuple[float, float]:
        """Largest difference of the contract's decode of the cut graph to the record: pixels, and scores."""
        found = self.recorded()
        graph, outputs = cut(network.simplified, network.head, CutOptions())
        spec = network.contract(outputs)
        raw = Session(graph).run({spec.input.name: network_input(found["input"], spec)})
        fields = decoder_for(spec).decode_dense([HeadTensor(raw[output.name]) for output in outputs])
        values = {field.name: field.values for field in fields}
        half = values["wh"] / 2
        pixels = np.abs(np.concatenate((values["xy"] - half, values["xy"] + half), axis=1) - found["boxes"]).max()
        if "points" in found:
            pixels = max(pixels, np.abs(values["keypoint_xy"] - found["points"]).max())
        return float(pixels), float(np.abs(values["scores"] - found["scores"]).max())


FACES = (
    FaceRecord(
        "retinaface_slim", "retinaface-1mb", False, "RetinaFace slim, its convert_to_onnx.py: boxes, scores, landmarks"
    ),
    FaceRecord("ultraface", "ultraface", True, "UltraFace RFB, its convert_to_onnx.py: 3.75 and 1.875 rows of cells"),
    FaceRecord("ultraface_raw", "ultraface", False, "UltraFace RFB, logits and raw boxes"),
    FaceRecord("ssd_three_classes", "ssd", True, "the same head with three classes, the background first"),
    FaceRecord("yunet", "yunet", False, "YuNet, its yunet2onnx.py: probabilities, raw boxes and landmarks"),
    FaceRecord("scrfd", "scrfd", False, "SCRFD's head, its scrfd2onnx.py: scores, distances and landmarks"),
)

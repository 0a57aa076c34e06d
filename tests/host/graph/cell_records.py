"""Recorded heads of other trainers' packages, as their exporters write them: `tests/data/cells`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.decoder import DenseField
from rkdeploy.device.postprocess.point_decode import PointDecoder
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.presets import PresetName
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session

_LEAST_ROOT = 0.05
FOLDER = Path(__file__).parents[2] / "data" / "cells"


@dataclass(frozen=True)
class CellRecord:
    """One recorded head.

    Attributes:
        name: of its files.
        preset: that it builds with.
        proven: the graph decodes boxes and scores.
        strides: of the levels, in the order of the record's rows.
        about: what the file is.
    """

    name: str
    preset: PresetName
    proven: bool
    about: str
    strides: tuple[int, ...] = (8, 16, 32)

    @property
    def file(self) -> Path:
        """The ONNX file."""
        return FOLDER / f"{self.name}.onnx"

    def open(self) -> Network:
        """The network with its preset."""
        return with_choice(open_network(self.file), InputChoice(preset=self.preset))

    def recorded(self) -> dict[str, NDArray[Any]]:
        """`input` (1, 3, H, W) uint8, seeded as the generator's, and in a contract's order of rows `boxes` in pixels,
        (rows, 4), and `scores`.
        """
        with np.load(self.file.with_suffix(".npz")) as file:
            found = {name: file[name] for name in file.files}
        found["input"] = np.random.default_rng(1).integers(0, 256, (1, 3, *found["hw"]), np.uint8)
        height, width = found["input"].shape[2:]
        sizes = [-(-height // stride) * -(-width // stride) for stride in self.strides]
        ends = np.cumsum(sizes)[:-1]
        order = np.argsort(self.strides)
        for name in ("boxes", "scores"):
            levels = np.split(found[name], ends)
            found[name] = np.concatenate([levels[level] for level in order])
        return found

    def errors(self, network: Network) -> tuple[float, float]:
        """Largest difference of the contract's decode of the cut graph to the record: pixels, and scores.

        Of roots those above 0.05: near 0 a root makes 3e-5 of float32's error, and of the 1e-9 that PicoDet adds.
        """
        found = self.recorded()
        graph, outputs = cut(network.simplified, network.head, CutOptions())
        spec = network.contract(outputs)
        raw = Session(graph).run({spec.input.name: found["input"].astype(np.float32) / 255})
        fields = {field.name: field for field in _dense(spec, raw)}
        center, half = fields["xy"].values, fields["wh"].values / 2
        boxes = np.concatenate((center - half, center + half), axis=1)
        pixels = float(np.abs(boxes - found["boxes"]).max())
        scores, expected = fields["scores"].values, found["scores"]
        if spec.points is not None and spec.points.score == "root":
            scores, expected = scores[expected > _LEAST_ROOT], expected[expected > _LEAST_ROOT]
        return pixels, float(np.abs(scores - expected).max())


def _dense(spec: ModelSpec, raw: dict[str, NDArray[np.float32]]) -> tuple[DenseField, ...]:
    return PointDecoder(spec).decode_dense([HeadTensor(raw[output.name]) for output in spec.outputs])


_FOUR, _COARSE = (8, 16, 32, 64), (32, 16, 8)
RECORDS = (
    CellRecord("picodet", "picodet", True, "PicoDet, stock export with suppression and scale_factor", _FOUR),
    CellRecord("picodet_without_nms", "picodet", True, "PicoDet, export.nms=False", _FOUR),
    CellRecord("picodet_raw", "picodet", False, "PicoDet, export.post_process=False", _FOUR),
    CellRecord("picodet_first", "picodet", True, "PicoDet's first head, export.nms=False", _FOUR),
    CellRecord("picodet_first_raw", "picodet", False, "PicoDet's first head, export.post_process=False", _FOUR),
    CellRecord("ppyoloe", "ppyoloe-plus", True, "PP-YOLOE, stock export with suppression and scale_factor", _COARSE),
    CellRecord("ppyoloe_without_nms", "ppyoloe-plus", True, "PP-YOLOE, exclude_nms=True", _COARSE),
    CellRecord("ppyoloe_one_table", "ppyoloe-plus", True, "PP-YOLOE, exclude_post_process=True", _COARSE),
    CellRecord("ppyoloe_model_zoo", "ppyoloe-plus", False, "PP-YOLOE, nine outputs as rknn_model_zoo has it", _COARSE),
    CellRecord("nanodet", "nanodet", False, "NanoDet, one table of raw rows"),
    CellRecord("nanodet_plus", "nanodet-plus", False, "NanoDet-Plus, one table of raw rows", _FOUR),
    CellRecord("damo_yolo", "damo-yolo", True, "DAMO-YOLO, tools/converter.py"),
    CellRecord("yolo_nas", "yolo-nas", True, "YOLO-NAS, boxes and scores"),
    CellRecord("yolo_nas_flat", "yolo-nas", True, "YOLO-NAS as Frigate takes it: bytes in, flat list out"),
    CellRecord("rtmdet", "rtmdet", True, "RTMDet tiny and s, boxes and scores before suppression"),
    CellRecord("rtmdet_raw", "rtmdet", False, "RTMDet tiny and s, logits and distances in pixels"),
    CellRecord("rtmdet_exp", "rtmdet-exp", True, "RTMDet m to x, boxes and scores before suppression"),
    CellRecord("rtmdet_exp_raw", "rtmdet-exp", False, "RTMDet m to x, logits and distances in pixels"),
)

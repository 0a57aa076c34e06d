"""The recorded export of pytorch-YOLOv4, whose anchor head ends in a table of boxes and one of scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.head import read_rows
from rkdeploy.host.graph.session import Session


@dataclass(frozen=True)
class Yolov4Record:
    """The file, as the other records of exports have it.

    Attributes:
        name: of its files.
        preset: none is needed.
        proven: the graph decodes boxes and scores.
        about: what the file is.
    """

    name: str = "pytorch_yolov4"
    preset: None = None
    proven: bool = True
    about: str = "YOLOv4-tiny, pytorch-YOLOv4's demo_darknet2onnx.py: boxes and scores"

    @property
    def file(self) -> Path:
        """The ONNX file."""
        return Path(__file__).parents[2] / "data" / "onnx" / f"{self.name}.onnx"

    def open(self) -> Network:
        """The network."""
        return open_network(self.file)

    def errors(self, network: Network) -> tuple[float, float]:
        """Largest difference of the graph's rows to the record: pixels, and scores."""
        height, width = network.input_hw
        image = np.random.default_rng(0).random((1, 3, height, width), np.float32)
        assert network.head.rows is not None  # the probe finds the decode
        rows = read_rows(network.head.rows, Session(network.reference).run({network.input.name: image}))
        found = {field.name: field.values for field in rows}
        with np.load(self.file.with_suffix(".npz")) as record:
            low, high = np.split(record["boxes"][0, :, 0] * (width, height, width, height), 2, axis=1)
            scores = record["confs"][0]
        boxes = np.concatenate(((low + high) / 2, high - low), axis=1)
        ours = np.concatenate((found["xy"], found["wh"]), axis=1)
        # `read_rows` lists the finest level first, the file its levels in the order of the cfg.
        order = np.argsort(boxes.sum(axis=1)), np.argsort(ours.sum(axis=1))
        pixels = np.abs(boxes[order[0]] - ours[order[1]]).max()
        return float(pixels), float(np.abs(scores[order[0]] - found["scores"][order[1]]).max())

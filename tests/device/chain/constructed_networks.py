"""Networks for the scenes of `drawn_signs.py` whose weights are computed, not trained, as ONNX graphs.

- `marks_network` finds objects by colored marks, signs with four corners or faces with five landmarks, as a raw head of
  YOLOv5-face's form.  Convolutions filter the marks' colors, take each 16 x 16 cell's mass and first moments of each
  mark, and sum them around a cell: the marks' middles relative to it, since all marks have one mass.
- `area_network` is the map of highlighted strips, as a DB network's of shrunken text.
- `reader_network` compares each of eight cells with each letter: one convolution whose weights are the letters.
- `face_vector_network` gives a vector of an aligned face: random projections of its coarse pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.device.chain.drawn_signs import CELLS, CHARACTERS, FACE_MARKS, MARK_PX, MARKS, SCENE, glyph

STRIDE: Final = 16
READER_HW: Final = (24, 96)
_PPOCR_MEAN: Final = np.array((0.485, 0.456, 0.406), np.float32)
_PPOCR_STD: Final = np.array((0.229, 0.224, 0.225), np.float32)
Layer = tuple[NDArray[np.float32], NDArray[np.float32], int, tuple[int, int]]


@dataclass(frozen=True)
class MarkedObject:
    """An object with colored marks.

    Attributes:
        colors: BGR of the marks, in the order of the keypoints.
        anchor: width and height of its box in pixels.
        window: cells around a cell, in x and y, whose marks are its object's.
    """

    colors: tuple[tuple[int, int, int], ...]
    anchor: tuple[float, float]
    window: tuple[int, int]

    @property
    def filters(self) -> NDArray[np.float32]:
        """Filters (marks, 3) of RGB from 0 to 1: red, green, blue, yellow, magenta."""
        every = ((1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, -2), (1, -2, 1))
        return np.array(every, np.float32)[: len(self.colors)]

    @property
    def floors(self) -> NDArray[np.float32]:
        """Values that are subtracted from the answers of the filters."""
        return np.array((0.3, 0.3, 0.3, 1.3, 1.3), np.float32)[: len(self.colors)]


SIGN: Final = MarkedObject(MARKS, (136.0, 44.0), (13, 5))
FACE: Final = MarkedObject(FACE_MARKS, (104.0, 104.0), (9, 9))


def marks_network(kind: MarkedObject) -> onnx.ModelProto:
    """Raw head (1, 6 + 2 * marks, 16, 16) of 256 x 256 pixels: 4 box, objectness, x and y of the marks, one class."""
    count, cells = len(kind.colors), SCENE // STRIDE
    layers = [
        (kind.filters.reshape(count, 3, 1, 1), -kind.floors, 1, (0, 0)),
        (_moments(kind), np.zeros(3 * count, np.float32), STRIDE, (0, 0)),
        (*_around(kind), 1, (kind.window[1] // 2, kind.window[0] // 2)),
        (*_head(kind), 1, (0, 0)),
    ]
    return _network("marks", (SCENE, SCENE), (1, 6 + 2 * count, cells, cells), layers)


def area_network() -> onnx.ModelProto:
    """Probabilities (1, 1, 256, 256) of highlighted pixels, of BGR images less PP-OCR's mean, over its deviation."""
    redder = np.array((-10, 0, 10), np.float32)
    color, floor = (redder * _PPOCR_STD).reshape(1, 3, 1, 1), float(redder @ _PPOCR_MEAN)
    blur = np.full((1, 1, 3, 3), 6 / 9, np.float32)
    layers = [(color, np.full(1, floor, np.float32), 1, (0, 0)), (blur, np.full(1, -12.0, np.float32), 1, (1, 1))]
    return _network("areas", (SCENE, SCENE), (1, 1, SCENE, SCENE), layers, sigmoid=True)


def reader_network() -> onnx.ModelProto:
    """Logits (1, 16, 1, 8) of 24 x 96 pixels, the blank last."""
    kernels = np.zeros((len(CHARACTERS) + 1, 3, READER_HW[0], READER_HW[1] // CELLS), np.float32)
    for i, letter in enumerate(CHARACTERS):
        ink = np.asarray(cv2.resize(glyph(letter), (12, 24), interpolation=cv2.INTER_LINEAR), np.float32)
        part = ink[3:20]  # its rows, without the marks' place above and below
        part = part - part.mean()
        kernels[i, :, 3:20] = -3 * part / np.linalg.norm(part)
    bias = np.zeros(len(CHARACTERS) + 1, np.float32)
    bias[-1] = 1.0
    layers = [(kernels, bias, READER_HW[1] // CELLS, (0, 0))]
    return _network("reader", READER_HW, (1, len(CHARACTERS) + 1, 1, CELLS), layers)


def face_vector_network() -> onnx.ModelProto:
    """A vector (1, 32) of 112 x 112 pixels, RGB from -1 to 1."""
    rng = np.random.default_rng(0)
    waves = rng.normal(0, 1, (12, 1, 4, 4)).repeat(4, axis=2).repeat(4, axis=3)
    filters = np.repeat(waves - waves.mean(axis=(2, 3), keepdims=True), 3, axis=1) / 150
    mixed = rng.normal(0, 0.2, (32, 12, 7, 7))
    layers = [
        (filters.astype(np.float32), np.full(12, 0.1, np.float32), 16, (0, 0)),
        ((mixed - mixed.mean(axis=(1, 2, 3), keepdims=True)).astype(np.float32), np.zeros(32, np.float32), 1, (0, 0)),
    ]
    model = _network("vector", (112, 112), (1, 32), layers)
    model.graph.node[-1].output[0] = "conv"
    model.graph.node.append(helper.make_node("Flatten", ["conv"], ["conv1"], name="flatten"))
    return model


def _mass(kind: MarkedObject, mark: int) -> float:
    """The sum of a filter's answers to its mark on white: its edge counts from the floor on."""
    rows, columns = np.mgrid[:32, :32] + 0.5
    cover = np.clip(MARK_PX + 0.5 - np.hypot(columns - 16.25, rows - 16.25), 0, 1)[:, :, None]
    rgb = 1 - cover * (1 - np.array(kind.colors[mark][::-1]) / 255)
    return float(np.maximum(rgb @ kind.filters[mark] - kind.floors[mark], 0).sum())


def _moments(kind: MarkedObject) -> NDArray[np.float32]:
    """Weights (3 * marks, marks, 16, 16): of each mark its mass in the cell, and that times x and y in cells."""
    count = len(kind.colors)
    weights = np.zeros((3 * count, count, STRIDE, STRIDE), np.float32)
    y, x = (np.mgrid[:STRIDE, :STRIDE] + 0.5) / STRIDE
    for mark in range(count):
        weights[3 * mark : 3 * mark + 3, mark] = np.stack((np.ones_like(x), x, y)) / _mass(kind, mark)
    return weights


def _around(kind: MarkedObject) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and biases of 4 * marks + 6 channels, for which a ReLU follows.

    Positive and negative parts of: each mark's x and y from the cell's corner in cells, and the mean's from the cell's
    middle; then what is missing of all marks, and what is too much.
    """
    (wide, high), count = kind.window, len(kind.colors)
    y, x = np.mgrid[:high, :wide]
    x, y = x - wide // 2, y - high // 2
    places = np.zeros((2 * count, 3 * count, high, wide), np.float32)
    for mark in range(count):
        for axis, offset in ((0, x), (1, y)):
            places[2 * mark + axis, 3 * mark] = offset
            places[2 * mark + axis, 3 * mark + 1 + axis] = 1
    means = np.stack((places[::2].mean(axis=0), places[1::2].mean(axis=0)))
    mass = np.zeros((1, 3 * count, high, wide), np.float32)
    mass[0, ::3] = 1
    linear = np.concatenate((places, means))
    offsets = np.array([0.0] * 2 * count + [-0.5] * 2, np.float32)
    weights = np.concatenate((linear, -linear, -mass, mass))
    return weights, np.concatenate((offsets, -offsets, np.array((count - 0.4, -count - 0.4), np.float32)))


def _head(kind: MarkedObject) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and biases of the head's channels, from those of `_around`."""
    values = 2 * len(kind.colors)
    weights, bias = np.zeros((6 + values, 2 * values + 6, 1, 1), np.float32), np.zeros(6 + values, np.float32)
    negative = values + 2
    for axis in range(2):  # near 0, 2 sigmoid(2 u) - 0.5 is u + 0.5
        weights[axis, (values + axis, negative + values + axis), 0, 0] = 2, -2
        weights[4, (values + axis, negative + values + axis), 0, 0] = -8
    weights[4, 2 * negative :, 0, 0] = -20
    bias[4], bias[-1] = 10, 6
    for i in range(values):
        weights[5 + i, (i, negative + i), 0, 0] = np.array((1, -1)) * STRIDE / kind.anchor[i % 2]
    return weights, bias


def _network(
    name: str, input_hw: tuple[int, int], output: tuple[int, ...], layers: list[Layer], *, sigmoid: bool = False
) -> onnx.ModelProto:
    """Convolutions with ReLU between them; the last one has none, or a sigmoid."""
    nodes, tensors, value = [], [], "images"
    for i, (weights, bias, stride, (pad_y, pad_x)) in enumerate(layers):
        tensors += [numpy_helper.from_array(weights, f"weight{i}"), numpy_helper.from_array(bias, f"bias{i}")]
        inputs, pads = [value, f"weight{i}", f"bias{i}"], [pad_y, pad_x, pad_y, pad_x]
        step = [weights.shape[2], weights.shape[3]] if name == "reader" else [stride, stride]
        nodes.append(
            helper.make_node(
                "Conv", inputs, [f"conv{i}"], name=f"conv{i}", kernel_shape=weights.shape[2:], strides=step, pads=pads
            )
        )
        value = f"conv{i}"
        if i < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [value], [f"relu{i}"], name=f"relu{i}"))
            value = f"relu{i}"
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", [value], ["map"], name="map"))
        value = "map"
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, *input_hw))],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, output)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

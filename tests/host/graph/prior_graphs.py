"""Small graphs with several boxes per cell, as SSD's and SCRFD's exporters write them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tests.host.graph.kind_graphs import KindGraph

HW = (60, 96)
STRIDES = (8, 16, 32)
SIDES = ((10.0, 16.0, 24.0), (32.0, 48.0), (64.0, 90.0))
"""Of the square anchors of each level; 60 pixels are 7.5 cells of 8, 3.75 of 16 and 1.875 of 32."""
Form = Literal["raw", "corners", "centers"]


def grid_of(stride: int, hw: tuple[int, int] = HW) -> tuple[int, int]:
    """Rows and columns of a level; the last ones may reach beyond the image."""
    return -(-hw[0] // stride), -(-hw[1] // stride)


def priors() -> NDArray[np.float64]:
    """Center and size in pixels of all anchors, (n, 4), in the order of rows."""
    found = []
    for stride, sides in zip(STRIDES, SIDES, strict=True):
        height, width = grid_of(stride)
        for y in range(height):
            for x in range(width):
                found += [((x + 0.5) * stride, (y + 0.5) * stride, side, side) for side in sides]
    return np.array(found)


class BoxGraph(KindGraph):
    """A graph under construction whose convolutions cover the whole image."""

    def padded_conv(self, stride: int, channels: int, spread: float = 0.02) -> str:
        """A convolution of the image with `stride`, whose last cells reach beyond it."""
        weight = (self._rng.normal(size=(channels, 3, stride, stride)) * spread).astype(np.float32)
        bias = self.constant(self._rng.normal(size=channels).astype(np.float32) * 0.3)
        over = [n * stride - side for n, side in zip(grid_of(stride, self.hw), self.hw, strict=True)]
        return self.node("Conv", "images", self.constant(weight), bias, strides=[stride, stride], pads=[0, 0, *over])

    def listed(self, tensor: str, fields: int, *, batch: bool = True) -> str:
        """A map (1, n * fields, H, W) as rows (1, H * W * n, fields), or without the batch."""
        turned = self.node("Transpose", tensor, perm=[0, 2, 3, 1])
        shape = [1, -1, fields] if batch else [-1, fields]
        return self.node("Reshape", turned, self.constant(np.array(shape)))

    def parts(self, tensor: str, widths: Sequence[int]) -> list[str]:
        """The columns of rows (1, n, fields)."""
        ends = np.cumsum([0, *widths])
        return [
            self.node("Slice", tensor, *(self.constant(np.array([int(v)])) for v in (low, high, 2)))
            for low, high in pairwise(ends)
        ]


def ssd(form: Form = "raw", *, classes: int = 1, points: int = 0, softmax: bool = True, clip: bool = False) -> BoxGraph:
    """Boxes, scores and perhaps landmarks of all levels, each in one table.

    Args:
        form: boxes as they are, or decoded with gains 0.1 and 0.2: corners as shares of the image, or centers and sizes
            in pixels.
        classes: without the background.
        points: landmarks, decoded where the boxes are.
        softmax: whether the scores end in one.
        clip: the first anchor's center is moved, as it is where a trainer clips anchors to the image.
    """
    graph = BoxGraph(HW)
    tables = {}
    for name, fields in (("boxes", 4), ("scores", 1 + classes), ("points", 2 * points)):
        if fields:
            levels = [
                graph.listed(graph.padded_conv(stride, len(sides) * fields), fields)
                for stride, sides in zip(STRIDES, SIDES, strict=True)
            ]
            tables[name] = graph.node("Concat", *levels, axis=1)
    if softmax:
        tables["scores"] = graph.node("Softmax", tables["scores"], axis=2)
    if form != "raw":
        of_image = priors()
        if clip:
            of_image[0, :2] += 1.0
        unit = np.array((HW[1], HW[0])) if form == "corners" else np.ones(2)
        center, size = (
            graph.constant((of_image[None, :, s] / unit).astype(np.float32)) for s in (slice(2), slice(2, 4))
        )
        tables |= _decoded(graph, tables, form, center, size, points)
    return graph.show(*tables.values())  # type: ignore[return-value]  # itself


def _decoded(
    graph: BoxGraph, tables: dict[str, str], form: Form, center: str, size: str, points: int
) -> dict[str, str]:
    """The tables of boxes and landmarks, decoded."""

    def moved(raw: str) -> str:
        scaled = graph.node("Mul", graph.node("Mul", raw, graph.constant(np.float32(0.1))), size)
        return graph.node("Add", scaled, center)

    xy, wh = graph.parts(tables["boxes"], (2, 2))
    middle = moved(xy)
    sides = graph.node("Mul", graph.node("Exp", graph.node("Mul", wh, graph.constant(np.float32(0.2)))), size)
    found = {"boxes": graph.node("Concat", middle, sides, axis=2)}
    if form == "corners":
        half = graph.node("Mul", sides, graph.constant(np.float32(0.5)))
        low, high = graph.node("Sub", middle, half), graph.node("Add", middle, half)
        found["boxes"] = graph.node("Concat", low, high, axis=2)
    if "points" in tables:
        pairs = [moved(pair) for pair in graph.parts(tables["points"], (2,) * points)]
        found["points"] = graph.node("Concat", *pairs, axis=2)
    return found


def scrfd(*, points: int = 5, sigmoid: bool = True, batch: bool = False, scaled: bool = True) -> BoxGraph:
    """SCRFD: score, box and landmarks of each level, each an output of its own.

    Args:
        points: landmarks; 0 for the forms without.
        sigmoid: whether the scores end in one.
        batch: whether the outputs have a first axis of 1.
        scaled: whether the boxes of a level are multiplied by its scale.
    """
    graph = BoxGraph((64, 96))
    kinds: dict[int, list[str]] = {fields: [] for fields in (1, 4, 2 * points) if fields}
    for stride in STRIDES:
        for fields, tables in kinds.items():
            tensor = graph.padded_conv(stride, 2 * fields)
            if fields == 4 and scaled:
                tensor = graph.node("Mul", tensor, graph.constant(np.float32(0.7 + stride / 100)))
            tensor = graph.listed(tensor, fields, batch=batch)
            tables.append(graph.node("Sigmoid", tensor) if fields == 1 and sigmoid else tensor)
    return graph.show(*(table for tables in kinds.values() for table in tables))  # type: ignore[return-value]  # itself

"""Values of each tensor of the float network, next to the range that calibration gave it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.analysis.explain.explanation import TensorRange
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.session import Session

_MOST_VALUES = 1 << 16  # a tensor's values that its percentiles are taken of, each image


def measure_ranges(
    model: onnx.ModelProto,
    calibrated: Mapping[str, tuple[float, float]],
    input_name: str,
    images: Iterable[tuple[str, NDArray[np.float32]]],
) -> dict[str, TensorRange]:
    """Run the float model over images and compare every tensor with its calibrated range.

    Args:
        model: the cut graph, whose tensor names the toolkit keeps.
        calibrated: the ranges, by tensor name; tensors that the toolkit made itself are left out.
        input_name: of the graph.
        images: name, and (1, 3, H, W) float32, normalized.
    """
    graph = GraphView(model)
    names = [name for name in calibrated if name in graph.producers]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names if n not in graph.outputs)
    session = Session(watched)
    sums = {name: _RangeSums() for name in names}
    for image_name, image in images:
        values = session.run({input_name: image})
        for name in names:
            sums[name].add(values[name], calibrated[name], image_name)
    return {name: sums[name].result(name, graph.producers[name].op_type, calibrated[name]) for name in names}


class _RangeSums:
    """One tensor over the images."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf
        self._outside = self._count = 0
        self._bulks: list[float] = []
        self._reach, self._widest_image = -1.0, ""
        self._channels: NDArray[np.float64] | None = None

    def add(self, values: NDArray[np.float32], calibrated: tuple[float, float], image: str) -> None:
        reach = float(np.abs(values).max())
        if reach > self._reach:
            self._reach, self._widest_image = reach, image
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
        # Half a step beyond the ends still rounds to them.
        slack = (calibrated[1] - calibrated[0]) / 510
        self._outside += int(((values < calibrated[0] - slack) | (values > calibrated[1] + slack)).sum())
        self._count += values.size
        flat = np.abs(values.ravel()[:: max(1, values.size // _MOST_VALUES)])
        self._bulks.append(float(np.percentile(flat, 99.9)))
        if values.ndim == 4:
            peaks = np.abs(values).max(axis=(0, 2, 3)).astype(np.float64)
            self._channels = peaks if self._channels is None else np.maximum(self._channels, peaks)

    def result(self, name: str, op: str, calibrated: tuple[float, float]) -> TensorRange:
        widest, ratio = 0, 1.0
        if self._channels is not None and len(self._channels) > 1:
            widest = int(self._channels.argmax())
            median = float(np.median(self._channels))
            ratio = float(self._channels[widest] / median) if median > 0 else 1.0
        return TensorRange(
            name=name,
            op=op,
            calibrated=calibrated,
            seen=(self._low, self._high),
            outside=self._outside / max(self._count, 1),
            bulk=max(self._bulks, default=0.0),
            widest_channel=widest,
            channel_ratio=ratio,
            widest_image=self._widest_image,
        )

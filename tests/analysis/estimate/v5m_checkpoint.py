"""A YOLOv5m checkpoint as v5.0 made them (Focus, SPP, C3, SiLU), one class, with seeded random weights.

Written without torch and without the training code: the classes of the pickle are names only.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.hostile.forge import StorageId, _Writer, named, write_zip

ANCHORS_PX = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))
STRIDES = (8, 16, 32)
WIDTHS = (48, 96, 192, 384, 768)
"""Channels at strides 2, 4, 8, 16, 32: v5.0's 64 to 1024, times 0.75."""
SHALLOW, DEEP = 2, 6
"""Bottlenecks of a C3: v5.0's 3 and 9, times 0.67."""
COMMON, NN = "models.common", "torch.nn.modules"


class _Weights:
    """Tensors as a checkpoint stores them, in half precision."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.storages: dict[str, bytes] = {}

    def normal(self, *shape: int) -> Any:
        """He's initialization: the activations keep their size through the network."""
        scale = (2 / max(int(np.prod(shape[1:])), 1)) ** 0.5
        return self.parameter(self._random.standard_normal(shape, np.float32) * np.float32(scale))

    def parameter(self, values: NDArray[np.float32]) -> Any:
        return named("torch._utils", "_rebuild_parameter")(self.tensor(values), True, OrderedDict())

    def tensor(self, values: NDArray[np.float32]) -> Any:
        key = str(len(self.storages))
        self.storages[key] = values.astype("<f2").tobytes()
        storage = StorageId(("storage", named("torch", "HalfStorage"), key, "cpu", values.size))
        strides = tuple(int(np.prod(values.shape[i + 1 :])) for i in range(values.ndim))
        return named("torch._utils", "_rebuild_tensor_v2")(storage, 0, values.shape, strides, False, OrderedDict())


def module(where: str, name: str, children: dict[str, Any] | None = None, **attributes: Any) -> Any:
    """A torch module as it is pickled."""
    made = named(where, name)()
    made.state = {"_parameters": {}, "_buffers": {}, "_modules": children or {}, "training": False, **attributes}
    return made


class _V5:
    """The blocks of v5.0."""

    def __init__(self, seed: int) -> None:
        self.weights = _Weights(seed)

    def conv2d(self, inputs: int, outputs: int, kernel: int, stride: int, *, bias: bool) -> Any:
        made = module(
            f"{NN}.conv", "Conv2d", in_channels=inputs, out_channels=outputs, kernel_size=(kernel, kernel),
            stride=(stride, stride), padding=(kernel // 2, kernel // 2), dilation=(1, 1), transposed=False,
            output_padding=(0, 0), groups=1, padding_mode="zeros",
        )  # fmt: skip
        made.state["_parameters"]["weight"] = self.weights.normal(outputs, inputs, kernel, kernel)
        made.state["_parameters"]["bias"] = self.weights.parameter(np.zeros(outputs, np.float32)) if bias else None
        return made

    def norm(self, channels: int) -> Any:
        made = module(f"{NN}.batchnorm", "BatchNorm2d", num_features=channels, eps=1e-3, affine=True)
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        made.state["_parameters"] = {"weight": self.weights.parameter(ones), "bias": self.weights.parameter(zeros)}
        made.state["_buffers"] = {
            "running_mean": self.weights.tensor(zeros), "running_var": self.weights.tensor(ones),
        }  # fmt: skip
        return made

    def conv(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> Any:
        children = {
            "conv": self.conv2d(inputs, outputs, kernel, stride, bias=False),
            "bn": self.norm(outputs),
            "act": module(f"{NN}.activation", "SiLU", inplace=False),
        }
        return module(COMMON, "Conv", children)

    def focus(self, outputs: int) -> Any:
        return module(COMMON, "Focus", {"conv": self.conv(12, outputs, 3)})

    def c3(self, inputs: int, outputs: int, count: int, *, add: bool) -> Any:
        half = outputs // 2
        inner = {
            str(i): module(
                COMMON, "Bottleneck", {"cv1": self.conv(half, half), "cv2": self.conv(half, half, 3)}, add=add
            )
            for i in range(count)
        }
        children = {
            "cv1": self.conv(inputs, half), "cv2": self.conv(inputs, half), "cv3": self.conv(2 * half, outputs),
            "m": module(f"{NN}.container", "Sequential", inner),
        }  # fmt: skip
        return module(COMMON, "C3", children)

    def spp(self, channels: int) -> Any:
        pools = {
            str(i): module(
                f"{NN}.pooling", "MaxPool2d", kernel_size=n, stride=1, padding=n // 2, dilation=1,
                return_indices=False, ceil_mode=False,
            )
            for i, n in enumerate((5, 9, 13))
        }  # fmt: skip
        children = {
            "cv1": self.conv(channels, channels // 2), "cv2": self.conv(channels * 2, channels),
            "m": module(f"{NN}.container", "ModuleList", pools),
        }  # fmt: skip
        return module(COMMON, "SPP", children)

    def detect(self, inputs: tuple[int, ...], classes: int) -> Any:
        fields, per_level = 5 + classes, 3
        last = {str(i): self.conv2d(n, per_level * fields, 1, 1, bias=True) for i, n in enumerate(inputs)}
        made = module(
            "models.yolo", "Detect", {"m": module(f"{NN}.container", "ModuleList", last)}, nc=classes, no=fields,
            nl=len(inputs), na=per_level,
        )  # fmt: skip
        pixels = np.array(ANCHORS_PX, np.float32).reshape(len(inputs), per_level, 2)
        strides = np.array(STRIDES, np.float32)
        made.state["stride"] = self.weights.tensor(strides)
        made.state["_buffers"] = {
            "anchors": self.weights.tensor(pixels / strides[:, None, None]),
            "anchor_grid": self.weights.tensor(pixels.reshape(len(inputs), 1, -1, 1, 1, 2)),
        }
        return made

    def layers(self, classes: int) -> list[tuple[int | list[int], Any]]:
        """v5.0's list: where each reads, and what it is."""
        c2, c4, c8, c16, c32 = WIDTHS
        up: dict[str, Any] = {"size": None, "scale_factor": 2.0, "mode": "nearest", "align_corners": None}
        return [
            (-1, self.focus(c2)),
            (-1, self.conv(c2, c4, 3, 2)),
            (-1, self.c3(c4, c4, SHALLOW, add=True)),
            (-1, self.conv(c4, c8, 3, 2)),
            (-1, self.c3(c8, c8, DEEP, add=True)),
            (-1, self.conv(c8, c16, 3, 2)),
            (-1, self.c3(c16, c16, DEEP, add=True)),
            (-1, self.conv(c16, c32, 3, 2)),
            (-1, self.spp(c32)),
            (-1, self.c3(c32, c32, SHALLOW, add=False)),
            (-1, self.conv(c32, c16)),
            (-1, module(f"{NN}.upsampling", "Upsample", **up)),
            ([-1, 6], module(COMMON, "Concat", d=1)),
            (-1, self.c3(c32, c16, SHALLOW, add=False)),
            (-1, self.conv(c16, c8)),
            (-1, module(f"{NN}.upsampling", "Upsample", **up)),
            ([-1, 4], module(COMMON, "Concat", d=1)),
            (-1, self.c3(c16, c8, SHALLOW, add=False)),
            (-1, self.conv(c8, c8, 3, 2)),
            ([-1, 14], module(COMMON, "Concat", d=1)),
            (-1, self.c3(c16, c16, SHALLOW, add=False)),
            (-1, self.conv(c16, c16, 3, 2)),
            ([-1, 10], module(COMMON, "Concat", d=1)),
            (-1, self.c3(c32, c32, SHALLOW, add=False)),
            ([17, 20, 23], self.detect((c8, c16, c32), classes)),
        ]


def write_v5m(path: Path, *, seed: int = 0) -> Path:
    """Write the checkpoint, 42 MB; returns its path."""
    made = _V5(seed)
    layers = {}
    for index, (source, layer) in enumerate(made.layers(1)):
        layer.state |= {"i": index, "f": source}
        layers[str(index)] = layer
    root = module(
        "models.yolo", "Model", {"model": module(f"{NN}.container", "Sequential", layers)},
        names=["object"], stride=made.weights.tensor(np.array(STRIDES, np.float32)),
    )  # fmt: skip
    stream = io.BytesIO()
    _Writer(stream, 2).dump({"epoch": -1, "model": root, "ema": None})
    return write_zip(path, stream.getvalue(), made.weights.storages)

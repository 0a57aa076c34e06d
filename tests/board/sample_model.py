"""A small model for the board's tests: its contract, a `.rknn` file, and what the stand-in runtime says of it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, Quantization
from rkdeploy.device.runtime.protocol import HeadTensor

H, W = 32, 64  # not square; W / 8 * 18 bytes is not a multiple of 16
SCALE, ZERO_POINT = 0.05, -14
LEVELS = ((8, ((10.0, 13.0), (33.0, 23.0))), (16, ((30.0, 61.0), (59.0, 119.0))))
SPEC = ModelSpec(
    family="yolov5",
    task="detect",
    class_names=("bolt", "nut", "washer", "pin"),
    input=InputSpec("images", H, W),
    outputs=tuple(
        HeadOutput(
            f"stride{stride}_map",
            "anchor_map",
            level,
            stride,
            (1, 18, H // stride, W // stride),
            "linear",
            Quantization("int8", SCALE, ZERO_POINT),
        )
        for level, (stride, _) in enumerate(LEVELS)
    ),
    anchors=Anchors(tuple(anchors for _, anchors in LEVELS)),
)


def write_rknn(path: Path, *, file_version: int = 6, toolkit: str = "2.3.2", target: str = "rk3588") -> Path:
    """A file with the header and the trailer of a `.rknn`, and nothing in it that a real runtime could run."""
    model = b"\0" * 100
    trailer = json.dumps({"version": toolkit, "target_platform": [target]}).encode()
    header = struct.pack("<4sIQQ", b"RKNN", 0, file_version, len(model)).ljust(64, b"\0")
    path.write_bytes(header + model + struct.pack("<Q", len(trailer)) + trailer)
    return path


def shim_text(
    spec: ModelSpec = SPEC, *, fmt: str = "nchw", native: str = "nc1hwc2", fill: str = "echo", **tensor: Any
) -> str:
    """Answers of the stand-in for a contract; `tensor` overrides facts of the first output."""
    image = spec.input
    lines = [
        "#RKNNSHIM",
        f"input name={image.name} dims=1,{image.height},{image.width},3 fmt=nhwc type=int8 zp=-128 scale=0.00392157",
    ]
    for index, output in enumerate(spec.outputs):
        _, channels, height, width = output.shape
        dims = (1, height, width, channels) if fmt == "nhwc" else output.shape
        quantization = output.quantization
        facts: dict[str, Any] = {
            "name": output.name,
            "dims": ",".join(map(str, dims)),
            "fmt": fmt,
            "native": native,
            "type": quantization.dtype if quantization else "float16",
            "zp": quantization.zero_point if quantization else 0,
            "scale": repr(quantization.scale) if quantization else 1,
            "fill": fill.replace("{index}", str(index)),
        }
        if index == 0:
            facts.update(tensor)
        lines.append("output " + " ".join(f"{key}={value}" for key, value in facts.items()))
    return "\n".join(lines) + "\nweight=1000 internal=2000\n"


def picture(seed: int) -> NDArray[np.uint8]:
    """A network input, (1, H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (1, H, W, 3), np.uint8)


def echoed(image: NDArray[np.uint8]) -> list[HeadTensor]:
    """Answer of `fill=echo` to an image: its bytes - 128, in the order of a logical NCHW tensor."""
    data = image.ravel().astype(np.int16) - 128
    return [
        HeadTensor(np.resize(data, int(np.prod(output.shape))).astype(np.int8).reshape(output.shape), SCALE, ZERO_POINT)
        for output in SPEC.outputs
    ]

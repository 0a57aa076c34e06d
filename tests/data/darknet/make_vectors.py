"""Make the darknet reference vectors: weights written with a seed, and what darknet's own C code computes from them.

git clone --depth 1 https://github.com/AlexeyAB/darknet upstream/darknet
make -C upstream/darknet LIBSO=1
python -m tests.data.darknet.make_vectors --library upstream/darknet/libdarknet.so --out tests/data/darknet
"""

from __future__ import annotations

import argparse
import ctypes
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.host.checkpoint.darknet_cfg import read_darknet_cfg
from rkdeploy.host.checkpoint.darknet_channels import input_channels
from rkdeploy.host.checkpoint.darknet_sections import Convolutional, DarknetCfg, Yolo
from rkdeploy.host.families.section_models import section_strides
from tests.data.darknet.cfgs import CFGS
from tests.data.yolor.make_vectors import image, kept_rows

WIDTH, HEIGHT, CLASSES = 96, 64, 3
SPECIAL = {
    "v3_tiny": "max pools, the last of stride 1; coarse level first; header with 32 bits of images seen",
    "v3": "residual blocks, three levels",
    "v4_tiny": "halves of channels, scale_x_y, letter_box",
    "v4": "Mish, SPP, another scale_x_y on every level",
    "v7_tiny": "new_coords behind a logistic convolution",
    "blocks": "depthwise, dilation, padding, ReLU, SAM, squeeze and excitation, activation behind a shortcut",
}


class _Detection(ctypes.Structure):
    _fields_ = (
        ("bbox", ctypes.c_float * 4),
        ("classes", ctypes.c_int),
        ("best_class", ctypes.c_int),
        ("prob", ctypes.POINTER(ctypes.c_float)),
        ("mask", ctypes.c_void_p),
        ("objectness", ctypes.c_float),
        ("sort_class", ctypes.c_int),
        ("uc", ctypes.c_void_p),
        ("points", ctypes.c_int),
        ("embeddings", ctypes.c_void_p),
        ("embedding_size", ctypes.c_int),
        ("sim", ctypes.c_float),
        ("track_id", ctypes.c_int),
    )


def weights(cfg: DarknetCfg, rng: np.random.Generator, last: float) -> NDArray[np.float32]:
    """Random numbers of every section, in darknet's order, such that no layer dies.

    `last` is the variance of what the convolutions before a [yolo] make of inputs of variance 1.
    """
    parts = []
    for section, channels in zip(cfg.sections, input_channels(cfg), strict=True):
        if not isinstance(section, Convolutional):
            continue
        shape = (section.filters, channels // section.groups, section.sizes[0], section.sizes[0])
        is_last = any(isinstance(s, Yolo) for s in cfg.sections[section.index + 1 : section.index + 2])
        spread = np.sqrt((last if is_last else 1.6) / np.prod(shape[1:]))
        parts.append(rng.normal(0, 0.4, section.filters))  # biases, also those of the normalization
        if section.batch_normalize:
            parts += [rng.uniform(0.7, 1.3, section.filters), rng.normal(0, 0.2, section.filters)]
            parts.append(rng.uniform(0.5, 1.2, section.filters))
        parts.append(rng.normal(0, spread, shape))
    return np.concatenate([part.ravel() for part in parts]).astype("<f4")


def detections(library: Path, cfg: Path, file: Path, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Every box of darknet, (boxes, 5 + classes), x y w h in pixels, in its order: section, y, x, anchor."""
    dll = ctypes.CDLL(str(library))
    dll.load_network_custom.restype = ctypes.c_void_p
    dll.network_predict_ptr.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    dll.network_predict_ptr.restype = ctypes.c_void_p
    dll.get_network_boxes.restype = ctypes.POINTER(_Detection)
    dll.get_network_boxes.argtypes = (
        ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_float, ctypes.c_float, ctypes.c_void_p, ctypes.c_int,
        ctypes.POINTER(ctypes.c_int), ctypes.c_int,
    )  # fmt: skip
    network = dll.load_network_custom(str(cfg).encode(), str(file).encode(), 0, 1)
    values = np.ascontiguousarray(pixels)
    dll.network_predict_ptr(network, values.ctypes.data)
    count = ctypes.c_int(0)
    found = dll.get_network_boxes(network, WIDTH, HEIGHT, 0.0, 0.5, None, 1, ctypes.byref(count), 0)
    rows = []
    for number in range(count.value):
        one = found[number]
        box = np.array(list(one.bbox), np.float64) * (WIDTH, HEIGHT, WIDTH, HEIGHT)
        scores = np.array([one.prob[i] for i in range(CLASSES)], np.float64) / one.objectness
        rows.append([*box, one.objectness, *scores])
    return np.array(rows)


def in_our_order(cfg: DarknetCfg, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[int]]:
    """The rows in the order section, anchor, y, x, and the number of each section's."""
    parts, counts, start = [], [], 0
    for yolo, stride in zip(cfg.yolos, section_strides(cfg), strict=True):
        anchors = len(yolo.anchors_px)
        cells = (WIDTH // stride) * (HEIGHT // stride)
        piece = rows[start : start + anchors * cells].reshape(cells, anchors, -1)
        parts.append(piece.transpose(1, 0, 2).reshape(anchors * cells, -1))
        counts.append(anchors * cells)
        start += anchors * cells
    assert start == len(rows), (start, len(rows))
    return np.concatenate(parts), counts


def record(name: str, library: Path, out: Path) -> str:
    """Make one case; returns its line of the README."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    path, file = out / f"{name}.cfg", out / f"{name}.weights"
    path.write_text(CFGS[name](WIDTH, HEIGHT, CLASSES))
    cfg = read_darknet_cfg(path, "darknet")
    header: tuple[Any, ...] = (np.array([0, 2, 5], "<i4"), np.array([64000], "<u8"))
    if name == "v3_tiny":  # as darknet wrote it until 2017
        header = (np.array([0, 1, 0], "<i4"), np.array([64000], "<u4"))
    x8 = image((HEIGHT, WIDTH), rng)
    for last in (0.3, 0.1, 0.03, 0.01, 0.003):  # until no box is far larger than the image
        numbers = weights(cfg, np.random.default_rng(zlib.crc32(name.encode())), last)
        file.write_bytes(b"".join(part.tobytes() for part in header) + numbers.tobytes())
        rows, counts = in_our_order(cfg, detections(library, path, file, x8[0].astype(np.float32) / 255))
        if rows[:, 2:4].max() < 1000:
            break
    assert np.isfinite(rows).all()
    assert rows[:, 2:4].max() < 1000, f"{name}: {rows[:, 2:4].max()}"
    assert rows[:, 4].std() > 0.05, f"{name}: scores hardly vary: {rows[:, 4].std()}"
    kept = kept_rows(len(rows), counts, rng)
    np.savez_compressed(out / f"{name}.npz", input=x8, rows=kept, pred=rows[kept].astype(np.float32))
    size = file.stat().st_size / 1024
    return f"| {name} | {SPECIAL[name]} | {HEIGHT}x{WIDTH} | {len(rows)} | {size:.0f} |"


def main() -> None:
    """Make all cases."""
    parser = argparse.ArgumentParser(description="Make the darknet reference vectors.")
    parser.add_argument("--library", type=Path, required=True, help="libdarknet.so")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lines = [record(name, args.library.resolve(), args.out) for name in CFGS]
    text = [
        "# Darknet reference vectors",
        "",
        "Written by `make_vectors.py` (see its docstring) with AlexeyAB/darknet's C code; do not edit by hand.  The",
        "cfg files are our own (`cfgs.py`), the weights random and seeded.",
        "",
        "`<case>.npz` holds `input` (1, 3, H, W) uint8 RGB, fed as input / 255; `pred` float32, darknet's boxes at",
        "`rows` of all rows (section, anchor, row, column), with columns x, y, w, h (px), objectness, classes.",
        "",
        "| case | what is special | input | rows | .weights KB |",
        "|---|---|---|---:|---:|",
        *lines,
        "",
    ]
    (args.out / "README.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()

"""Make the YOLOv5 reference vectors: checkpoints and outputs written by the real upstream code of every generation.

Each case builds a tiny seeded model with one upstream release, saves it as that release's train.py does, reads the
file back with torch and records what the release's own forward pass answers for a stored image.  Nothing of the
upstream code is kept here: configurations named by a path are read from the release itself.

    for tag in v1.0 v2.0 v3.0 v3.1 v4.0 v5.0 v6.0 v6.1 v6.2 v7.0; do
        git clone --branch $tag --depth 1 https://github.com/ultralytics/yolov5 upstream/$tag
    done
    pip install "torch>=2.6" "numpy<2" opencv-python pyyaml pandas matplotlib seaborn scipy tqdm requests psutil \
        pillow ipython "setuptools<80"
    python -m tests.data.yolov5.make_vectors --upstream upstream --out tests/data/yolov5

`--case NAME` makes one case.  `--sample best.pt IMAGES` records the `sample` case: the trained checkpoint of the
sample set on one image of the folder.  torchvision is not needed (a stand-in takes its place).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pickletools
import subprocess
import sys
import tempfile
import types
import zipfile
import zlib
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("bolt", "nut", "washer")
ROWS_KEPT = 160
DATE = "2024-01-02T03:04:05.678901"

# --------------------------------------------------------------------------------------------------------------------
# Configurations of our own: one small two-level detector, and variants of its middle
# --------------------------------------------------------------------------------------------------------------------


def small(middle: list[list[Any]] | None = None, up: list[list[Any]] | None = None) -> dict[str, list[list[Any]]]:
    """Two levels, P3 and P4.  `middle` follows layer 2 at stride 8; `up` takes P4 back to stride 8."""
    middle = middle or [[-1, 1, "C3", [256]]]
    up = up or [[-1, 1, "nn.Upsample", [None, 2, "nearest"]]]
    p3 = 2 + len(middle)
    p4 = p3 + 2
    cat = p4 + len(up) + 1
    return {
        "backbone": [
            [-1, 1, "Conv", [64, 6, 2, 2]],
            [-1, 1, "Conv", [128, 3, 2]],
            [-1, 1, "Conv", [256, 3, 2]],
            *middle,
            [-1, 1, "Conv", [512, 3, 2]],
            [-1, 1, "SPPF", [512, 5]],
        ],
        "head": [
            *up,
            [[-1, p3], 1, "Concat", [1]],
            [-1, 1, "Conv", [256, 1, 1]],
            [[cat + 1, p4], 1, "Detect", ["nc", "anchors"]],
        ],
    }


BIFPN = {  # what is special in the hub's bifpn: a Concat of three
    "backbone": [
        [-1, 1, "Conv", [64, 6, 2, 2]],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 1, "Conv", [256, 3, 2]],
        [-1, 1, "Conv", [512, 3, 2]],
        [-1, 1, "Conv", [1024, 3, 2]],
        [-1, 1, "SPPF", [1024, 5]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 3], 1, "Concat", [1]],
        [-1, 1, "C3", [512, False]],
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 2], 1, "Concat", [1]],
        [-1, 1, "C3", [256, False]],
        [-1, 1, "Conv", [256, 3, 2]],
        [[-1, 8, 3], 1, "Concat", [1]],
        [-1, 1, "C3", [512, False]],
        [[11, 14, 5], 1, "Detect", ["nc", "anchors"]],
    ],
}


def small_v5(middle: list[list[Any]] | None = None) -> dict[str, list[list[Any]]]:
    """The small detector in the blocks of v1 to v5: Focus and SPP."""
    layers = small(middle)
    layers["backbone"][0] = [-1, 1, "Focus", [64, 3]]
    layers["backbone"][-1] = [-1, 1, "SPP", [512, [3, 5]]]
    return layers


def pyramid(low: int, high: int, focus: bool = False) -> dict[str, list[list[Any]]]:
    """Levels P`low` to P`high`: a plain backbone, one pooling block, a top-down path."""
    stem = [-1, 1, "Focus", [64, 3]] if focus else [-1, 1, "Conv", [64, 6, 2, 2]]
    downs = [[-1, 1, "Conv", [min(32 << level, 1024), 3, 2]] for level in range(2, high + 1)]
    pool = [-1, 1, "SPP", [1024, [3, 5]]] if focus else [-1, 1, "SPPF", [1024, 5]]
    head: list[list[Any]] = []
    outputs = [high]  # layer of each level: P1 is layer 0, the pooling block comes after the top
    for level in range(high - 1, low - 1, -1):
        head += [
            [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
            [[-1, level - 1], 1, "Concat", [1]],
            [-1, 1, "Conv", [min(32 << level, 1024), 1, 1]],
        ]
        outputs.insert(0, high + len(head))
    head.append([outputs, 1, "Detect", ["nc", "anchors"]])
    return {"backbone": [stem, *downs, pool], "head": head}


# --------------------------------------------------------------------------------------------------------------------
# Cases
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    name: str
    tag: str
    cfg: str | dict[str, list[list[Any]]]
    special: str
    hw: tuple[int, int] = (64, 96)
    nc: int = 3
    na: int = 3
    anchors: str = "custom"  # custom: in the yaml; auto: yaml says otherwise, module overwritten; yaml: upstream's own
    width: float = 1 / 32
    depth: float = 0.1
    activation: str | None = None
    names: str | None = None  # list or dict; None: as the release does
    save: str = "stripped"  # stripped, last, final, state_dict
    dtype: str = "half"
    legacy: bool = False
    tweak: str | None = None
    kind: str = "detect"  # detect, segment, classify


V7 = "v7.0"
HUB = "models/hub/"
CSP = [[-1, 1, "BottleneckCSP", [256]]]
UP_T = [[-1, 1, "nn.ConvTranspose2d", [512, 4, 2, 1]]]
UP_DWT = [[-1, 1, "DWConvTranspose2d", [512, 4, 2, 1]]]

CASES = (
    # generations
    Case(
        "v1_s",
        "v1.0",
        "models/yolov5s.yaml",
        "head convolutions are layers of their own, Detect has none; legacy file",
        legacy=True,
        save="final",
    ),
    Case(
        "v2_csp_leaky",
        "v2.0",
        small_v5(CSP),
        "BottleneckCSP, LeakyReLU; legacy file as torch 1.5 wrote",
        legacy=True,
        save="final",
    ),
    Case("v3_csp_leaky", "v3.0", small_v5(CSP), "BottleneckCSP, LeakyReLU", save="final"),
    Case("v3_1_csp_hardswish", "v3.1", small_v5(CSP), "Hardswish in Conv, LeakyReLU in BottleneckCSP", save="final"),
    Case(
        "v3_1_small_c3",
        "v3.1",
        small_v5(),
        "C3 is models.experimental.C3: CrossConvs and four convolutions",
        save="final",
    ),
    Case("v4_s", "v4.0", small_v5(), "Focus, SPP, C3, SiLU; wandb_id", save="final"),
    Case("v5_s_focus_spp", "v5.0", "models/yolov5s.yaml", "Focus, SPP, C3, SiLU"),
    Case("v5_p6", "v5.0", pyramid(3, 6, focus=True), "four levels P3-P6 with Focus", hw=(64, 128)),
    Case("v5_autoanchor", "v5.0", small_v5(), "anchors replaced after the build, yaml keeps others", anchors="auto"),
    Case("v5_last", "v5.0", small_v5(), "last.pt: model, ema (differs), optimizer, training_results", save="last"),
    Case("v6_n6", "v6.0", pyramid(3, 6), "four levels P3-P6, SPPF", hw=(64, 128)),
    Case("v6_1_small", "v6.1", small(), "between v6.0 and v6.2", save="stripped"),
    Case("v6_2_last", "v6.2", small(), "last.pt: wandb_id and opt together", save="last"),
    Case("v7_n", V7, "models/yolov5n.yaml", "the plain yolov5n structure, every row kept"),
    Case("v7_nonsquare", V7, small(), "384x640, upstream's own anchors", hw=(384, 640), anchors="yaml"),
    Case("v7_autoanchor", V7, small(), "yaml says `anchors: 3`, the module holds others", anchors="auto"),
    # activations
    Case("relu", V7, small(), "activation: nn.ReLU()", activation="nn.ReLU()"),
    Case("leaky", V7, small(), "activation: nn.LeakyReLU(0.1)", activation="nn.LeakyReLU(0.1)"),
    Case("hardswish", V7, small(), "activation: nn.Hardswish()", activation="nn.Hardswish()"),
    Case("relu6", V7, small(), "activation: nn.ReLU6()", activation="nn.ReLU6()"),
    Case("mish", V7, small(), "activation: nn.Mish()", activation="nn.Mish()"),
    # heads
    Case("two_anchors", V7, small(), "2 anchors a level", na=2),
    Case("five_anchors", V7, small(), "5 anchors a level", na=5),
    Case("one_class", V7, small(), "nc=1", nc=1),
    Case("eighty_classes", V7, small(), "nc=80", nc=80),
    # hub structures
    Case("c3tr", V7, small([[-1, 6, "C3TR", [256]]]), "C3TR: attention, two layers", width=1 / 16, depth=0.33),
    Case(
        "ghost",
        V7,
        small([[-1, 1, "GhostConv", [256, 3, 1]], [-1, 6, "C3Ghost", [256]]]),
        "GhostConv, C3Ghost",
        width=1 / 16,
        depth=0.33,
    ),
    Case("p2", V7, pyramid(2, 5), "four levels P2-P5"),
    Case("p7", V7, pyramid(3, 7), "five levels P3-P7", hw=(128, 128)),
    Case("fpn", V7, pyramid(3, 5), "FPN head: top-down path alone"),
    Case("bifpn", V7, BIFPN, "Concat of three, as in the hub's bifpn"),
    Case("v5_csp", "v5.0", small_v5(CSP), "BottleneckCSP with LeakyReLU beside SiLU Convs, as in v5.0's panet"),
    Case(
        "yolov3_spp", V7, HUB + "yolov3-spp.yaml", "SPP; Bottlenecks repeated in a Sequential", width=1 / 64, depth=0.25
    ),
    Case("yolov3_tiny", V7, HUB + "yolov3-tiny.yaml", "MaxPool2d, ZeroPad2d; levels P4, P5", width=1 / 64),
    # blocks
    Case("c3spp", V7, small([[-1, 1, "C3SPP", [256, [3, 5]]]]), "C3SPP"),
    Case("c3x", V7, small([[-1, 6, "C3x", [256]]]), "C3x, n=2", depth=0.33),
    Case(
        "crossconv",
        V7,
        small([[-1, 1, "CrossConv", [256, 3, 1, 1, 1.0, True]], [-1, 1, "CrossConv", [256, 5, 1]]]),
        "CrossConv with and without shortcut",
    ),
    Case(
        "dwconv",
        V7,
        small(
            [
                [-1, 1, "DWConv", [256, 3, 1]],
                [-1, 1, "Conv", [256, 3, 1, "None", 1, 2]],
                [-1, 1, "Conv", [256, 3, 1, "None", 4]],
            ]
        ),
        "DWConv, dilated Conv, grouped Conv",
    ),
    Case("mixconv", V7, small([[-1, 1, "MixConv2d", [256, [1, 3, 5], 1]]]), "MixConv2d", activation="nn.ReLU()"),
    Case(
        "bottleneck",
        V7,
        small([[-1, 6, "Bottleneck", [256]], [-1, 1, "BottleneckCSP", [256]], [-1, 1, "nn.BatchNorm2d", []]]),
        "Sequential of Bottlenecks, BottleneckCSP (SiLU inside a ReLU model), bare BatchNorm2d",
        depth=0.33,
        activation="nn.ReLU()",
    ),
    Case(
        "ghostbottleneck",
        V7,
        small(
            [
                [-1, 1, "GhostBottleneck", [256, 3, 1]],
                [-1, 1, "GhostBottleneck", [256, 3, 2]],
                [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
            ]
        ),
        "GhostBottleneck at stride 1 and 2",
    ),
    Case(
        "focus_v7",
        V7,
        small(
            [[-1, 1, "Focus", [256, 3]], [-1, 1, "nn.Upsample", [None, 2, "nearest"]], [-1, 1, "SPP", [256, [3, 5]]]]
        ),
        "Focus and SPP as v7.0 has them, inside the net",
    ),
    Case(
        "contract_expand",
        V7,
        small(
            [
                [-1, 1, "Contract", [2]],
                [-1, 1, "Conv", [512, 1, 1]],
                [-1, 1, "Expand", [2]],
                [-1, 1, "Conv", [256, 1, 1]],
            ],
            up=[[-1, 1, "Expand", [2]]],
        ),
        "Contract, Expand",
    ),
    Case("convtranspose", V7, small(up=UP_T), "nn.ConvTranspose2d instead of Upsample"),
    Case("dwconvtranspose", V7, small(up=UP_DWT), "DWConvTranspose2d instead of Upsample"),
    Case("bilinear", V7, small(up=[[-1, 1, "nn.Upsample", [None, 2, "bilinear", False]]]), "bilinear Upsample"),
    # file formats
    Case(
        "legacy_format",
        V7,
        small(),
        "file format before torch 1.6 (no zip), class sources in persistent ids",
        legacy=True,
    ),
    Case("bfloat16", V7, small(), "bfloat16 weights", dtype="bfloat16"),
    Case("float32", V7, small(), "float32 weights", dtype="float"),
    Case(
        "with_ema", V7, small(), "last.pt: model and ema differ, optimizer with momentum; output is ema's", save="last"
    ),
    Case("names_list", V7, small(), "names as a list", names="list"),
    Case(
        "strided",
        V7,
        small(),
        "channels-last weights, tied weights, views of one shared storage",
        dtype="float",
        tweak="strided",
    ),
    Case("fused", V7, small(), "saved after model.fuse(): no BatchNorm, biases in the convolutions", tweak="fuse"),
    Case("state_dict", V7, small(), "bare state_dict, no module tree", save="state_dict"),
    # other tasks
    Case(
        "seg",
        V7,
        {**small(), "head": [*small()["head"][:-1], [[8, 5], 1, "Segment", ["nc", "anchors", 16, 256]]]},
        "SegmentationModel, 16 masks; proto recorded",
        kind="segment",
    ),
    Case(
        "cls",
        V7,
        {"backbone": small()["backbone"], "head": small()["head"]},
        "ClassificationModel cut from the detector; logits recorded",
        kind="classify",
    ),
)

# --------------------------------------------------------------------------------------------------------------------
# The child: one case with one release on the path
# --------------------------------------------------------------------------------------------------------------------


def stand_in_torchvision(nn: Any) -> None:
    """Put a torchvision into sys.modules that satisfies upstream's imports and pickles under the real class paths."""

    class Anything(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Anything(f"{self.__name__}.{name}")

    names = ("", ".ops", ".models", ".transforms", ".transforms.functional", ".transforms.transforms", ".datasets")
    mods = {n: Anything("torchvision" + n) for n in names}
    for n, m in mods.items():
        m.__version__ = "0.0"
        m.__path__ = []
        sys.modules["torchvision" + n] = m

    class Compose:
        def __init__(self, transforms: list[Any]) -> None:
            self.transforms = transforms

    class Normalize(nn.Module):
        def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
            super().__init__()
            self.mean, self.std, self.inplace = mean, std, inplace

    for cls in (Compose, Normalize):
        cls.__module__, cls.__qualname__ = "torchvision.transforms.transforms", cls.__name__
        for m in (mods[".transforms"], mods[".transforms.transforms"]):
            setattr(m, cls.__name__, cls)
    root = mods[""]
    root.ops, root.models, root.transforms = mods[".ops"], mods[".models"], mods[".transforms"]
    mods[".transforms"].functional = mods[".transforms.functional"]
    root.datasets = mods[".datasets"]
    root.datasets.ImageFolder = type("ImageFolder", (), {})


def prepare(upstream: Path, tag: str) -> Any:
    """torch, made quiet and offline, with release `tag` importable."""
    os.environ["YOLOv5_AUTOINSTALL"] = "false"
    os.environ["YOLOv5_VERBOSE"] = "false"
    os.environ["WANDB_MODE"] = "disabled"
    os.environ["YOLOV5_CONFIG_DIR"] = os.environ["MPLCONFIGDIR"] = os.getcwd()
    os.environ["HOME"] = os.getcwd()
    import torch

    torch.set_num_threads(1)
    torch.hub.download_url_to_file = lambda *a, **k: None  # fonts: not needed
    torch.load = functools.partial(torch.load, weights_only=False)
    # Legacy files embed the source text of every class.  Keep the shape of that, not upstream's text or our paths.
    torch.serialization.get_source_lines_and_file = lambda obj, *a: (["# source left out\n"], 0, "left_out.py")
    from PIL import ImageFont

    ImageFont.truetype = lambda *a, **k: None
    stand_in_torchvision(torch.nn)
    sys.path.insert(0, str(upstream / tag))
    return torch


def anchors_px(levels: int, na: int, rng: np.random.Generator) -> list[list[float]]:
    """(levels, 2 * na): small odd sizes that grow with the level, none of them COCO's."""
    rows = []
    for level in range(levels):
        base = 9.0 * 1.9**level
        wh = base * rng.uniform(0.5, 2.0, (na, 2)) * np.linspace(0.7, 1.6, na)[:, None]
        wh = wh[np.argsort(wh.prod(1))]
        rows.append([round(float(v), 2) for v in wh.reshape(-1)])
    return rows


def image(hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(1, 3, H, W) uint8: smooth blobs in few steps, which compress well."""
    import cv2

    h, w = hw
    coarse = rng.uniform(-60, 315, (max(h // 16, 4), max(w // 16, 4), 3)).astype(np.float32)
    if h > 200:
        coarse = rng.uniform(-60, 315, (7, 11, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    step = 17 if h <= 200 else 51
    stepped = np.clip(np.round(smooth / step) * step, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(stepped.transpose(2, 0, 1)[None])


def randomise(model: Any, x: Any, torch: Any, head_convs: list[Any], na: int) -> None:
    """Weights and BatchNorms such that folding matters, activations stay sane and scores spread over 0..1."""
    nn = torch.nn
    g = torch.Generator().manual_seed(7)

    def uniform(t: Any, lo: float, hi: float) -> None:
        t.copy_(torch.rand(t.shape, generator=g) * (hi - lo) + lo)

    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
                fan = m.weight[0].numel()
                if isinstance(m, nn.ConvTranspose2d):
                    fan = m.weight[:, 0].numel() / m.groups / (m.stride[0] * m.stride[1])
                m.weight.copy_(torch.randn(m.weight.shape, generator=g) * (1.5 / fan) ** 0.5)
                if m.bias is not None:
                    m.bias.copy_(torch.randn(m.bias.shape, generator=g) * 0.1)
        for m in norms:
            uniform(m.weight, 0.6, 1.5)
            uniform(m.bias, -0.5, 0.6)
            m.momentum = None  # cumulative: the statistics of what is seen next
        model.train()
        noise = [(x + 0.3 * torch.randn(x.shape, generator=g)).clamp(0, 1).repeat(2, 1, 1, 1) for _ in range(2)]
        for batch in (x.repeat(2, 1, 1, 1), *noise):
            model(batch)
        for m in norms:
            m.momentum = 0.03
            std = (m.running_var + 1e-3).sqrt()
            m.running_mean += torch.randn(std.shape, generator=g) * 0.15 * std
            m.running_var *= torch.rand(std.shape, generator=g) + 0.6
            m.num_batches_tracked.fill_(1234)
        for m in head_convs:  # outputs of the head: about N(0, 1.2), objectness a little lower
            m.weight.mul_(1.4)
            b = m.bias.view(na, -1)
            b.copy_(torch.randn(b.shape, generator=g) * 0.6)
            b[:, 4] -= 0.5
    model.eval()


def head_convolutions(model: Any) -> list[Any]:
    detect = model.model[-1]
    if hasattr(detect, "m"):
        return list(detect.m)
    return [model.model[f % detect.i] for f in detect.f]  # v1.0


def build(case: Case, torch: Any, upstream: Path, x: Any) -> Any:
    import yaml
    from models import yolo

    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    own = isinstance(case.cfg, dict)
    cfg = deepcopy(case.cfg) if own else yaml.safe_load((upstream / case.tag / case.cfg).read_text(errors="ignore"))
    levels = cfg["head"][-1][0]
    nl = len(levels) or len(cfg["anchors"])
    if own:
        cfg["anchors"] = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119]]
    custom = anchors_px(nl, case.na, rng)
    if case.anchors == "custom":
        cfg["anchors"] = custom
    elif case.anchors == "auto" and case.tag == V7:
        cfg["anchors"] = case.na
    cfg.update(nc=case.nc, depth_multiple=case.depth, width_multiple=case.width)
    if case.activation:
        cfg["activation"] = case.activation

    model_class = {"detect": "Model", "segment": "SegmentationModel", "classify": "DetectionModel"}[case.kind]
    with torch.no_grad():  # v1.0 and v2.0 write into leaf views
        model = getattr(yolo, model_class)(cfg)
    detect = model.model[-1]
    if case.anchors == "auto":  # as check_anchors of the release leaves it
        new = torch.tensor(custom).view_as(detect.anchors)
        detect.anchors[:] = new / detect.stride.view(-1, 1, 1)
        if isinstance(getattr(detect, "anchor_grid", None), torch.Tensor):
            detect.anchor_grid[:] = new.view_as(detect.anchor_grid)
    if case.kind == "classify":
        model = yolo.ClassificationModel(model=model, nc=case.nc, cutoff=5)
        randomise(model, x, torch, [], 1)
        return model
    randomise(model, x, torch, head_convolutions(model), detect.na)
    return model


def tweak(model: Any, what: str | None, torch: Any) -> Any:
    if what == "fuse":
        with torch.no_grad():
            model.fuse()
    elif what == "strided":
        seq = model.model
        seq[2].conv.weight = torch.nn.Parameter(seq[2].conv.weight.data.contiguous(memory_format=torch.channels_last))
        seq[1].conv.weight = torch.nn.Parameter(seq[1].conv.weight.data.transpose(2, 3).contiguous().transpose(2, 3))
        seq[3].cv2.conv.weight = seq[3].cv1.conv.weight  # one parameter in two places
        bn = seq[4].bn  # three tensors, one storage, offsets that differ
        flat = torch.cat([bn.weight.data, bn.bias.data, bn.running_mean])
        n = bn.weight.numel()
        bn.weight = torch.nn.Parameter(flat[:n])
        bn.bias = torch.nn.Parameter(flat[n : 2 * n])
        bn.running_mean = flat[2 * n :]
    return model


def narrow(model: Any, dtype: str) -> Any:
    return {"half": model.half, "bfloat16": model.bfloat16, "float": model.float}[dtype]()


def checkpoint(case: Case, model: Any, torch: Any) -> dict[str, Any]:
    """What the release's train.py saves, before strip_optimizer."""
    from utils.torch_utils import ModelEMA

    names = [NAMES[i] if i < len(NAMES) else f"class {i}" for i in range(case.nc)]
    as_dict = case.names == "dict" or (case.names is None and case.tag in ("v6.2", "v7.0") and case.kind != "classify")
    hyp = {"lr0": 0.01, "momentum": 0.937, "weight_decay": 0.0005, "box": 0.05, "cls": 0.5, "obj": 1.0, "anchor_t": 4.0}
    model.names = dict(enumerate(names)) if as_dict else names
    model.nc = case.nc
    if case.kind == "classify":
        from utils.augmentations import classify_transforms

        model.transforms = classify_transforms(64)
    else:
        model.hyp = hyp
        if case.tag < "v6":
            model.gr = 1.0
        model.class_weights = torch.full((case.nc,), 1.0 / case.nc) * (1 if case.tag < "v4" else case.nc)

    groups: tuple[list[Any], ...] = ([], [], [])
    for m in model.modules():
        for name, p in m.named_parameters(recurse=False):
            groups[2 if name == "bias" else 1 if isinstance(m, torch.nn.BatchNorm2d) else 0].append(p)
    optimizer = torch.optim.SGD(groups[0], lr=0.01, momentum=0.937, nesterov=True)
    optimizer.add_param_group({"params": groups[1], "weight_decay": 0.0005})
    optimizer.add_param_group({"params": groups[2]})

    ema = ModelEMA(model)
    if case.save == "last":  # training went on: a step of the optimizer, and weights apart from their average
        for p in model.parameters():
            p.grad = torch.full_like(p, 0.01)
        if case.tag != "v6.2":
            optimizer.step()  # leaves momentum buffers
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1.25)
        model.zero_grad(set_to_none=True)
        ema.updates = 4321
    include = ["yaml", "nc", "hyp", "names", "stride", "class_weights"]
    if case.kind != "classify":
        ema.update_attr(model, **({} if case.tag == "v1.0" else {"include": include + ["gr"] * (case.tag < "v6")}))
        stride = max(int(max(model.stride)), 32)
        ema.ema.eval()(torch.zeros(1, 3, 2 * stride, stride))  # validation ran: grids of that size stay in the file

    fitness = np.array([0.4321])
    opt = {
        "weights": "",
        "cfg": "models/custom.yaml",
        "data": "data.yaml",
        "hyp": hyp,
        "epochs": 300,
        "batch_size": 16,
        "imgsz": 640,
        "rect": False,
        "freeze": [0],
        "save_dir": "runs/train/exp",
    }
    git = {"remote": "https://github.com/ultralytics/yolov5", "branch": "master", "commit": "915bbf2"}
    results = "     0/299     3.02G   0.07   0.03   0.02   0.12   34   640\n"
    if case.kind == "classify":
        return {
            "epoch": 9,
            "best_fitness": 0.5,
            "model": narrow(deepcopy(ema.ema), case.dtype),
            "ema": None,
            "updates": ema.updates,
            "optimizer": None,
            "opt": opt,
            "git": git,
            "date": DATE,
        }
    if case.tag < "v5":
        ckpt = {
            "epoch": 299,
            "best_fitness": fitness,
            "training_results": results,
            "model": ema.ema,
            "optimizer": None if case.save == "final" else optimizer.state_dict(),
        }
        return {**ckpt, "wandb_id": None} if case.tag >= "v4" else ckpt
    ckpt = {"epoch": 299, "best_fitness": fitness}
    if case.tag < "v6":
        ckpt["training_results"] = results
    same = case.tweak == "strided"  # a copy would keep neither views nor ties
    ckpt |= {
        "model": model if same else narrow(deepcopy(model), case.dtype),
        "ema": model if same else narrow(deepcopy(ema.ema), case.dtype),
        "updates": ema.updates,
        "optimizer": optimizer.state_dict(),
    }
    if case.tag < "v7":
        ckpt["wandb_id"] = None
    if case.tag in ("v6.2", V7):
        ckpt["opt"] = opt
    if case.tag == V7:
        ckpt["git"] = git
    if case.tag >= "v6.1":
        ckpt["date"] = DATE
    return ckpt


def strip(path: Path, case: Case) -> None:
    """The release's own strip_optimizer.  Cases about the dtype do as it does, apart from `.half()`."""
    import torch

    if case.dtype == "half" and case.tweak != "strided":
        if case.tag in ("v1.0", "v2.0"):
            from utils.utils import strip_optimizer
        else:
            from utils.general import strip_optimizer
        strip_optimizer(str(path))
        return
    x = torch.load(path, map_location="cpu")
    x["model"] = x["ema"]
    for key in ("optimizer", "best_fitness", "ema", "updates"):
        x[key] = None
    x["epoch"] = -1
    for p in x["model"].parameters():
        p.requires_grad = False
    torch.save(x, path)


def kept_rows(n: int, counts: list[int], limit: int, rng: np.random.Generator) -> np.ndarray:
    """At most `limit` of n rows, the first and last of every level among them."""
    if n <= limit:
        return np.arange(n, dtype=np.int32)
    edges = np.cumsum([0, *counts])
    must = {int(i) for a, b in zip(edges[:-1], edges[1:], strict=True) for i in (a, a + 1, b - 1)}
    per_level = (limit - len(must)) // len(counts)
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        must |= {int(i) for i in rng.choice(np.arange(a, b), min(per_level, b - a), replace=False)}
    return np.array(sorted(must), np.int32)


def class_paths(model: Any) -> tuple[list[str], list[str]]:
    types_ = {type(m) for m in model.modules()}
    acts = sorted(t.__name__ for t in types_ if t.__module__ == "torch.nn.modules.activation")
    return sorted(f"{t.__module__}.{t.__name__}" for t in types_), acts


def record(case: Case, path: Path, rng: np.random.Generator, torch: Any, built: Any, x8: np.ndarray) -> dict[str, Any]:
    ckpt = torch.load(path, map_location="cpu")
    source = "ema" if isinstance(ckpt, dict) and ckpt.get("ema") is not None else "model"
    model = built if case.save == "state_dict" else ckpt[source]
    model = model.float().eval()
    x = torch.from_numpy(x8).float() / 255
    with torch.no_grad():
        out = model(x)
        if case.save == "last":
            other = deepcopy(ckpt["model"]).float().eval()(x)
            assert float((other[0] - out[0])[..., 4].abs().max()) > 0.02, "model and ema answer alike"
    blocks, acts = class_paths(model)
    import cv2

    meta = {
        "case": case.name,
        "tag": case.tag,
        "kind": case.kind,
        "nc": case.nc,
        "special": case.special,
        "weights_from": source,
        "dtype": case.dtype,
        "legacy": case.legacy,
        "activations": acts,
        "classes": blocks,
        "names": model.names if isinstance(model.names, list) else {str(k): v for k, v in model.names.items()},
        "input_hw": list(case.hw),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
    }
    arrays: dict[str, Any] = {"input": x8}
    if case.kind == "classify":
        arrays["logits"] = out.numpy()
        spread = float(out.std())
    else:
        pred = out[0][0].numpy()
        detect = model.model[-1]
        stride = detect.stride.float()
        if isinstance(getattr(detect, "anchor_grid", None), torch.Tensor):  # to v5.0 the decode reads this buffer
            grid = detect.anchor_grid.float().view(detect.nl, -1, 2)
        else:
            grid = detect.anchors.float() * stride.view(-1, 1, 1)
        counts = [detect.na * int(case.hw[0] / s) * int(case.hw[1] / s) for s in stride.tolist()]
        assert sum(counts) == len(pred), (counts, pred.shape)
        limit = ROWS_KEPT if case.nc < 20 else ROWS_KEPT // 2
        rows = np.arange(len(pred), dtype=np.int32) if case.name == "v7_n" else kept_rows(len(pred), counts, limit, rng)
        arrays |= {
            "rows": rows,
            "pred": pred[rows].astype(np.float32),
            "anchors_px": grid.numpy(),
            "strides": stride.numpy(),
        }
        meta |= {"rows_total": len(pred), "masks": 16 * (case.kind == "segment")}
        score = pred[:, 4] * pred[:, 5 : 5 + case.nc].max(1)
        meta["score_min_mean_max"] = [round(float(v), 4) for v in (score.min(), score.mean(), score.max())]
        spread = float(pred[:, 4].std())
        if case.kind == "segment":
            arrays["proto"] = out[1].numpy()
    for key, value in arrays.items():
        assert np.isfinite(value).all(), key
    assert spread > 0.02, f"scores hardly vary: {spread}"
    meta["spread"] = round(spread, 4)
    return {**arrays, "meta": np.array(json.dumps(meta))}


def make_case(case: Case, upstream: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        torch = prepare(upstream, case.tag)
        torch.manual_seed(zlib.crc32(case.name.encode()))
        rng = np.random.default_rng([zlib.crc32(case.name.encode()), 1])
        x8 = image(case.hw, rng)
        model = build(case, torch, upstream, torch.from_numpy(x8).float() / 255)
        model = tweak(model, case.tweak, torch)
        save = torch.save
        if case.legacy:
            torch.save = functools.partial(save, _use_new_zipfile_serialization=False)
        path = Path(scratch) / f"{case.name}.pt"
        ckpt = checkpoint(case, model, torch)
        if case.save == "state_dict":
            model = ckpt["ema"]
            torch.save(model.state_dict(), path)
        else:
            torch.save(ckpt, path)
            if case.kind != "classify" and case.save in ("stripped", "final"):
                strip(path, case)
        arrays = record(case, path, rng, torch, model, x8)
        np.savez_compressed(out / f"{case.name}.npz", **arrays)
        (out / f"{case.name}.pt").write_bytes(path.read_bytes())


def make_sample(weights: Path, images: Path, upstream: Path, out: Path) -> None:
    """v7.0 on the smallest JPEG of the folder, letterboxed to 384x384.  The checkpoint itself is not copied."""
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        torch = prepare(upstream, V7)
        import cv2
        from utils.augmentations import letterbox

        chosen = min(sorted(images.glob("*.jpg")), key=lambda p: p.stat().st_size)
        boxed = letterbox(cv2.imread(str(chosen)), (384, 384), auto=False)[0]
        x8 = np.ascontiguousarray(boxed[..., ::-1].transpose(2, 0, 1)[None])
        case = Case("sample", V7, {}, f"the trained best.pt on {chosen.name}, letterboxed", hw=(384, 384))
        arrays = record(case, weights, np.random.default_rng(0), torch, None, x8)
        ckpt = torch.load(weights, map_location="cpu")
        model = (ckpt.get("ema") or ckpt["model"]).float().eval()
        with torch.no_grad():
            pred = model(torch.from_numpy(x8).float() / 255)[0][0].numpy()
        found = np.flatnonzero(pred[:, 4] > 0.1)  # what an NMS would see, besides the spread rows
        rows = np.union1d(arrays["rows"], found).astype(np.int32)
        meta = {**json.loads(str(arrays["meta"])), "weights": weights.name, "image": chosen.name}
        arrays |= {"rows": rows, "pred": pred[rows], "meta": np.array(json.dumps(meta))}
        np.savez_compressed(out / "sample.npz", **arrays)


# --------------------------------------------------------------------------------------------------------------------
# README
# --------------------------------------------------------------------------------------------------------------------


def pickle_globals(path: Path) -> set[str]:
    """Every global a checkpoint's pickle names, without running it."""
    found: set[str] = set()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as z:
            member = next(n for n in z.namelist() if n.endswith("data.pkl"))
            streams = [z.read(member)]
    else:
        streams, rest = [], path.read_bytes()
        for _ in range(5):  # magic, protocol, system, the object, storage keys
            end = 0
            for _op, _arg, end in pickletools.genops(rest):
                pass
            streams.append(rest[: end + 1])
            rest = rest[end + 1 :]
    for stream in streams:
        found |= {str(arg).replace(" ", ".") for op, arg, _ in pickletools.genops(stream) if op.name == "GLOBAL"}
    return found


def write_readme(out: Path) -> None:
    lines = [
        "# YOLOv5 reference vectors",
        "",
        "Written by `make_vectors.py` (see its docstring) with the real upstream code; do not edit by hand. The",
        "weights are random and seeded, the checkpoints hold no upstream source code.",
        "",
        "`<case>.pt` is the checkpoint; `<case>.npz` holds `input` (1, 3, H, W) uint8 RGB, fed as input / 255; `pred`",
        "(rows, 5 + nc [+ masks]) float32, upstream's decoded output (xywh px, objectness, classes) at `rows` of all",
        "rows; `anchors_px` (nl, na, 2) and `strides` (nl,) in the order of the Detect layer; `proto` or `logits` for",
        "the other tasks; `meta`, a JSON string. `sample.npz` belongs to `calib_data/best.pt`.",
        "",
        "| case | upstream | what is special | input | .pt KB | .npz KB |",
        "|---|---|---|---|---:|---:|",
    ]
    total, seen = 0, set()
    versions = ""
    for npz in sorted(out.glob("*.npz")):
        pt = npz.with_suffix(".pt")
        with np.load(npz) as data:
            meta = json.loads(str(data["meta"]))
        versions = f"torch {meta['torch']}, OpenCV {meta['opencv']}, numpy {np.__version__}"
        size = pt.stat().st_size if pt.exists() else 0
        total += size + npz.stat().st_size
        if pt.exists():
            seen |= pickle_globals(pt)
        h, w = meta["input_hw"]
        lines.append(
            f"| {meta['case']} | {meta['tag']} | {meta['special']} | {h}x{w} | "
            f"{size / 1024:.0f} | {npz.stat().st_size / 1024:.0f} |"
        )
    lines += [
        "",
        f"{total / 1e6:.1f} MB in all, made with {versions}.",
        "",
        "Globals named by these pickles:",
        "",
        *(f"- `{g}`" for g in sorted(seen)),
        "",
    ]
    (out / "README.md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", type=Path, required=True, help="folder with one YOLOv5 checkout a tag (v1.0 ...)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", help="make this one alone, in this process")
    parser.add_argument("--sample", nargs=2, type=Path, metavar=("WEIGHTS", "IMAGES"), help="make `sample` alone")
    parser.add_argument("--readme", action="store_true", help="write README.md alone")
    args = parser.parse_args()
    upstream, out = args.upstream.resolve(), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if args.case:
        make_case(next(c for c in CASES if c.name == args.case), upstream, out)
    elif args.sample:
        make_sample(args.sample[0].resolve(), args.sample[1].resolve(), upstream, out)
        write_readme(out)
    elif args.readme:
        write_readme(out)
    else:
        failed = []
        for case in CASES:
            command = [
                sys.executable,
                "-m",
                "tests.data.yolov5.make_vectors",
                "--upstream",
                str(upstream),
                "--out",
                str(out),
                "--case",
                case.name,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            size = (out / f"{case.name}.pt").stat().st_size / 1024 if done.returncode == 0 else 0
            result = f"{size:6.0f} KB" if size else f"FAILED\n{done.stderr[-1500:]}"
            print(f"{case.name:20s} {result}", flush=True)
            failed += [case.name] * bool(done.returncode)
        write_readme(out)
        sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()

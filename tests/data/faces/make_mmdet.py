"""Make the ONNX files of YuNet and SCRFD: narrow networks of their own code, which are forks of mmdetection 2.

    git clone --depth 1 https://github.com/ShiqiYu/libfacedetection.train upstream/yunet
    git clone --depth 1 https://github.com/deepinsight/insightface upstream/insightface
    pip install "torch>=2.6" torchvision onnx numpy mmcv-lite==2.2.0 mmengine
    python -m tests.data.faces.make_mmdet yunet --upstream upstream/yunet --out tests/data/faces
    python -m tests.data.faces.make_mmdet scrfd --upstream upstream/insightface/detection/scrfd --out tests/data/faces

Their modules are imported without the packages around them, which ask for an old mmcv; its registries and losses, which
an export does not use, are replaced here.  YuNet is its whole network; SCRFD is its head behind one convolution per
level.  Boxes, landmarks and anchors of the record are computed by the forks' own functions.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.data.cells.make_torch import Network, randomize
from tests.data.cells.stand_ins import StandIns
from tests.data.faces.make_onnx import SEED, settled
from tests.data.retinaface.make_vectors import photograph

HW, WIDTH, STRIDES = (96, 160), 16, [8, 16, 32]
PACKAGES = (
    "mmdet", "mmdet.core", "mmdet.core.anchor", "mmdet.core.bbox", "mmdet.core.utils", "mmdet.models",
    "mmdet.models.backbones", "mmdet.models.necks", "mmdet.models.utils", "mmdet.models.dense_heads",
)  # fmt: skip
REGISTRIES = ("HEADS", "BACKBONES", "NECKS", "ANCHOR_GENERATORS", "PRIOR_GENERATORS")
UNUSED = ("mmcv.ops", "mmcv.runner", "mmdet.models.dense_heads.dense_test_mixins")


class Registry:
    """Registry that registers nothing."""

    def register_module(self) -> Callable[[type], type]:
        """Decorator that leaves the class as it is."""
        return lambda registered: registered


@dataclass(frozen=True)
class Traced:
    """A narrow network with what its own code computes.

    Attributes:
        model: that is exported.
        outputs: names, as its exporter has them.
        pixels: (1, 3, H, W) of 0 to 255 to its input.
        record: boxes, scores and landmarks of all rows from such an input.
    """

    model: torch.nn.Module
    outputs: tuple[str, ...]
    pixels: Callable[[Any], torch.Tensor]
    record: Callable[[torch.Tensor], dict[str, torch.Tensor]]


def packages(upstream: Path) -> None:
    """Make modules of the fork importable without what their packages import."""
    sys.meta_path.insert(0, StandIns(UNUSED))
    for name in PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [str(upstream.joinpath(*name.split(".")))]
        sys.modules[name] = package
    nothing = dict.fromkeys(("build_loss", "build_assigner", "build_sampler", "build_bbox_coder"), lambda *_: None)
    found = nothing | {name: Registry() for name in REGISTRIES}
    for name in ("mmdet.models.builder", "mmdet.core.anchor.builder"):
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(found)
    runner = types.ModuleType("mmcv.runner")
    runner.force_fp32 = lambda **_: lambda function: function  # type: ignore[attr-defined]  # an attribute of mmcv 1
    sys.modules["mmcv.runner"] = runner
    dense = types.ModuleType("mmdet.models.dense_heads.base_dense_head")
    dense.BaseDenseHead = torch.nn.Module  # type: ignore[attr-defined]  # whose losses are not used
    sys.modules["mmdet.models.dense_heads.base_dense_head"] = dense
    core = sys.modules["mmdet.core"]
    unused = ("anchor_inside_flags", "bbox_overlaps", "images_to_levels", "multiclass_nms", "reduce_mean", "unmap")
    vars(core).update(found | dict.fromkeys((*unused, "bbox2distance", "kps2distance")))
    vars(core)["multi_apply"] = lambda function, *levels: tuple(map(list, zip(*map(function, *levels), strict=True)))


def yunet() -> Traced:
    """YuNet's backbone, neck and head; scores are square roots as OpenCV's FaceDetectorYN takes them."""
    points = importlib.import_module("mmdet.core.anchor.point_generator").MlvlPointGenerator
    generator = points(STRIDES, offset=0)
    vars(sys.modules["mmdet.core.anchor.builder"])["build_prior_generator"] = lambda _: generator
    backbone = importlib.import_module("mmdet.models.backbones.yunet_backbone").YuNetBackbone
    neck = importlib.import_module("mmdet.models.necks.tfpn").TFPN
    head = importlib.import_module("mmdet.models.dense_heads.yunet_head").YuNet_Head
    model = torch.nn.Sequential(
        backbone([[3, WIDTH, WIDTH], *[[WIDTH, WIDTH]] * 5], [0, 2, 3, 4], [3, 4, 5]),
        neck([WIDTH] * 3, [0, 1, 2]),
        head(1, WIDTH, WIDTH, shared_stacked_convs=1, stacked_convs=0, use_kps=True),
    )
    randomize(model)
    for norm in [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]:
        norm.momentum = None  # of all images
    rng = np.random.default_rng(SEED)
    settled(model, [torch.from_numpy(photograph(HW, rng)) for _ in range(6)])

    for parameter in [p for name, p in model[2].named_parameters() if "share" not in name]:
        parameter.data *= 0.2  # two layers behind each other: sizes are exp of a few

    def record(image: torch.Tensor) -> dict[str, torch.Tensor]:
        classes, boxes, objectness, marks = (rows(maps) for maps in model(image))
        priors = torch.cat(generator.grid_priors(grids(), device="cpu", with_stride=True))
        return {
            "boxes": model[2]._bbox_decode(priors, boxes),
            "scores": (classes.sigmoid() * objectness.sigmoid()).sqrt(),
            "points": model[2]._kps_decode(priors, marks),
        }

    names = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
    return Traced(model, names, lambda pixels: torch.from_numpy(pixels.astype(np.float32)), record)


def scrfd() -> Traced:
    """SCRFD's head as scrfd_500m_bnkps.py has it, but with a quarter of its channels."""
    import mmcv.cnn
    from mmengine import model as initial

    for name in ("bias_init_with_prob", "normal_init", "constant_init", "kaiming_init"):
        setattr(mmcv.cnn, name, getattr(initial, name))
    core = vars(sys.modules["mmdet.core"])
    anchors = importlib.import_module("mmdet.core.anchor.anchor_generator").AnchorGenerator
    boxes = importlib.import_module("mmdet.core.bbox.transforms")
    generator = anchors(strides=STRIDES, ratios=[1.0], scales=[1, 2], base_sizes=[16, 64, 256])
    core |= {"build_anchor_generator": lambda _: generator}
    core |= {name: getattr(boxes, name) for name in ("distance2bbox", "distance2kps")}
    head = importlib.import_module("mmdet.models.dense_heads.scrfd_head").SCRFDHead(
        1, WIDTH, stacked_convs=2, feat_channels=WIDTH, norm_cfg={"type": "BN"}, cls_reg_share=True, dw_conv=True,
        strides_share=False, scale_mode=2, use_kps=True, loss_dfl=False,
        loss_cls={"type": "QualityFocalLoss", "use_sigmoid": True},
    )  # fmt: skip
    model = Network(head, STRIDES, lambda head, features: head(features))
    randomize(model)
    model.eval()

    def record(image: torch.Tensor) -> dict[str, torch.Tensor]:
        scores, distances, marks = model(image)
        size = torch.tensor([float(s) for s in STRIDES for _ in range(2 * (HW[0] // s) * (HW[1] // s))])[:, None]
        center = head.anchor_center(torch.cat(generator.grid_anchors(grids(), "cpu")))
        return {
            "boxes": boxes.distance2bbox(center, rows(distances, 4) * size),
            "scores": rows(scores, 1).sigmoid(),
            "points": boxes.distance2kps(center, rows(marks, 10) * size),
        }

    names = tuple(f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES)
    return Traced(model, names, lambda pixels: torch.from_numpy((pixels.astype(np.float32) - 127.5) / 128), record)


def grids() -> list[tuple[int, int]]:
    """Rows and columns of cells of each level."""
    return [(HW[0] // stride, HW[1] // stride) for stride in STRIDES]


def rows(maps: list[torch.Tensor], fields: int = 0) -> torch.Tensor:
    """Maps of all levels as rows of `fields` numbers; 0 for one row per cell."""
    return torch.cat([one.permute(0, 2, 3, 1).reshape(-1, fields or one.shape[1]) for one in maps])


def main() -> None:
    """Make one of the two."""
    cases = {"yunet": yunet, "scrfd": scrfd}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("case", choices=cases)
    parser.add_argument("--upstream", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    packages(arguments.upstream)
    torch.manual_seed(SEED)
    traced = cases[arguments.case]()
    given = traced.pixels(np.random.default_rng(1).integers(0, 256, (1, 3, *HW)))
    with torch.no_grad():
        record = {name: values.numpy() for name, values in traced.record(given).items()}
    file = arguments.out / f"{arguments.case}.onnx"
    torch.onnx.export(traced.model, (given,), str(file), dynamo=False, opset_version=11, output_names=traced.outputs)
    np.savez_compressed(file.with_suffix(".npz"), hw=HW, **record)
    print({name: (values.shape, values.min(), values.max()) for name, values in record.items()})


if __name__ == "__main__":
    main()

"""Make the reference vectors of NanoDet, DAMO-YOLO, RTMDet and YOLO-NAS: upstream's own heads behind convolutions.

    git clone --depth 1 https://github.com/RangiLyu/nanodet upstream/nanodet
    git clone --depth 1 https://github.com/tinyvision/DAMO-YOLO upstream/DAMO-YOLO
    git clone --depth 1 https://github.com/Deci-AI/super-gradients upstream/super-gradients
    pip download --no-deps mmdet==3.3.0 && unzip mmdet-*.whl -d upstream/mmdet
    pip install torch torchvision onnx onnxscript opencv-python numpy loguru easydict mmengine mmcv-lite six
    python -m tests.data.cells.make_torch --upstream upstream --out tests/data/cells

`--case NAME` makes one case.  What the heads import and do not use is replaced by stand-ins.  Weights are random, the
same for the same case.  RTMDet's decode is that of mmdeploy (codebase/mmdet/models/dense_heads/rtmdet_head.py), written
out here: mmdeploy does not run with this torch.  YOLO-NAS's suppression is attached as super-gradients' own
attach_onnx_nms does.
"""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.data.cells.stand_ins import StandIns

CLASSES, WIDTH = 3, 16
UNUSED = (
    "pycocotools", "matplotlib", "mpl_toolkits", "sklearn", "pytorch_lightning", "lightning_fabric", "imagesize",
    "shapely", "terminaltables", "pandas", "omegaconf", "hydra", "tensorboard", "torchmetrics", "mmcv.ops", "seaborn",
    "scipy", "termcolor", "super_gradients.common", "super_gradients.module_interfaces",
    "super_gradients.training.models.detection_models.pp_yolo_e", "super_gradients.training.utils.utils",
)  # fmt: skip
Forward = Callable[[Any, list[torch.Tensor]], Any]
Decoded = tuple[torch.Tensor, torch.Tensor]
"""Boxes (rows, 4) in pixels, and scores (rows, classes)."""


class Network(torch.nn.Module):
    """One convolution per level, the head, and what `ending` makes of its results."""

    def __init__(self, head: torch.nn.Module, strides: Sequence[int], ending: Forward, width: int = WIDTH) -> None:
        """Set the parts."""
        super().__init__()
        self.stems = torch.nn.ModuleList([torch.nn.Conv2d(3, width, 3, stride, padding=1) for stride in strides])
        self.head, self.ending = head, ending

    def features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Maps of all levels."""
        return [torch.relu(stem(image)) for stem in self.stems]

    def forward(self, image: torch.Tensor) -> Any:
        """The exported results."""
        return self.ending(self.head, self.features(image))


def randomize(module: torch.nn.Module) -> None:
    """Weights that make scores and boxes differ from cell to cell."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim < 2:
            parameter.data = values.abs() * 0.3 + 0.7 if name.endswith(("weight", "scale")) else values * 0.3
        else:
            parameter.data = values * 2.0 / parameter[0].numel() ** 0.5


def corners(points: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """Boxes of distances, all in pixels."""
    return torch.cat((points - distances[..., :2], points + distances[..., 2:]), -1)


# --------------------------------------------------------------------------------------------------------------------
# NanoDet
# --------------------------------------------------------------------------------------------------------------------


def nanodet(name: str) -> torch.nn.Module:
    """A head of NanoDet's code by its class."""
    loss = types.SimpleNamespace(
        loss_qfl=types.SimpleNamespace(beta=2.0, loss_weight=1.0, use_sigmoid=True, name="QualityFocalLoss"),
        loss_dfl=types.SimpleNamespace(loss_weight=0.25), loss_bbox=types.SimpleNamespace(loss_weight=2.0),
    )  # fmt: skip
    if name == "plus":
        from nanodet.model.head.nanodet_plus_head import NanoDetPlusHead

        return NanoDetPlusHead(CLASSES, loss, WIDTH, feat_channels=WIDTH, strides=[8, 16, 32, 64], reg_max=7)
    from nanodet.model.head.nanodet_head import NanoDetHead

    return NanoDetHead(CLASSES, loss, WIDTH, stacked_convs=1, feat_channels=WIDTH, strides=[8, 16, 32], reg_max=7,
                       share_cls_reg=True, conv_type="DWConv", norm_cfg={"type": "BN"})  # fmt: skip


def nanodet_rows(head: Any, features: list[torch.Tensor]) -> torch.Tensor:
    """Its export: classes and bins of all cells in one table."""
    return head._forward_onnx(features)


def nanodet_decoded(head: Any, features: list[torch.Tensor], hw: tuple[int, int]) -> Decoded:
    """Boxes before clipping, as `get_bboxes` computes them."""
    table = head(features)
    scores, bins = table[0].split([CLASSES, 32], -1)
    levels = []
    for feature, stride in zip(features, head.strides, strict=True):
        grid = tuple(feature.shape[-2:])
        if hasattr(head, "get_single_level_center_priors"):
            levels.append(head.get_single_level_center_priors(1, grid, stride, torch.float32, "cpu")[0, :, :3])
        else:
            y, x = head.get_single_level_center_point(grid, stride, torch.float32, "cpu")
            levels.append(torch.stack((x, y, torch.full_like(x, stride)), -1))
    priors = torch.cat(levels)
    distances = head.distribution_project(bins[None])[0] * priors[:, 2:]
    return corners(priors[:, :2], distances), scores.sigmoid()


# --------------------------------------------------------------------------------------------------------------------
# DAMO-YOLO
# --------------------------------------------------------------------------------------------------------------------


def damo() -> torch.nn.Module:
    """DAMO-YOLO's head, with the class too many that its published weights have."""
    from damo.base_models.heads.zero_head import ZeroHead

    return ZeroHead(CLASSES, [WIDTH] * 3, stacked_convs=0, feat_channels=WIDTH, reg_max=16, act="silu", nms=False,
                    legacy=True)  # fmt: skip


def damo_tables(head: Any, features: list[torch.Tensor]) -> Any:
    """Its export: scores and boxes."""
    return head(features)


def damo_decoded(head: Any, features: list[torch.Tensor], _: tuple[int, int]) -> Decoded:
    """Outputs of the head itself."""
    scores, boxes = head(features)
    return boxes[0], scores[0]


# --------------------------------------------------------------------------------------------------------------------
# YOLO-NAS
# --------------------------------------------------------------------------------------------------------------------


def _without_their_init(*packages: str) -> None:
    """Make packages of super-gradients importable without what their __init__ imports."""
    root = next(Path(folder) for folder in sys.path if (Path(folder) / "super_gradients").is_dir())
    for name in packages:
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = package


def yolo_nas() -> torch.nn.Module:
    """YOLO-NAS's heads, of upstream's modules without its registry."""
    base = "super_gradients"
    detection = f"{base}.training.models.detection_models"
    _without_their_init(
        base, f"{base}.modules", f"{base}.training", f"{base}.training.utils", f"{base}.training.models", detection,
        f"{detection}.yolo_nas",
    )  # fmt: skip
    from super_gradients.modules.conv_bn_relu_block import ConvBNReLU

    sys.modules[f"{base}.modules"].ConvBNReLU = ConvBNReLU  # type: ignore[attr-defined]  # of its __init__
    utils = sys.modules[f"{base}.training.utils"]
    utils.HpmStruct = dict  # type: ignore[attr-defined]  # for annotations
    utils.torch_version_is_greater_or_equal = lambda *_: True  # type: ignore[attr-defined]  # of its __init__
    from super_gradients.training.models.detection_models.yolo_nas import dfl_heads

    dfl_heads.generate_anchors_for_grid_cell = lambda *_: (None,) * 4  # of the loss
    heads = dfl_heads.NDFLHeads.__new__(dfl_heads.NDFLHeads)
    torch.nn.Module.__init__(heads)
    heads.grid_cell_scale, heads.grid_cell_offset, heads.reg_max, heads.eval_size = 5.0, 0.5, 16, None
    heads.num_classes, heads.num_heads, heads.fpn_strides = CLASSES, 3, (8, 16, 32)
    heads.register_buffer("proj_conv", torch.linspace(0, 16, 17).reshape(1, 17, 1, 1), persistent=False)
    for number, stride in enumerate(heads.fpn_strides):
        head = dfl_heads.YoloNASDFLHead(WIDTH, WIDTH, 1.0, 0, CLASSES, stride, 16)
        setattr(heads, f"head{number + 1}", head)
    return heads


def nas_tables(head: Any, features: list[torch.Tensor]) -> Any:
    """Its export: boxes and scores."""
    found = head(tuple(features))
    return found if torch.is_tensor(found[0]) else found[0]


def nas_decoded(head: Any, features: list[torch.Tensor], _: tuple[int, int]) -> Decoded:
    """Outputs of the heads themselves."""
    boxes, scores = nas_tables(head, features)
    return boxes[0], scores[0]


def flat(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with suppression behind its two tables and one flat list of 7 columns, of pixels in uint8."""
    boxes, scores = (output.name for output in model.graph.output)
    rows = [
        helper.make_node("Transpose", [scores], ["by_class"], perm=[0, 2, 1]),
        helper.make_node("NonMaxSuppression", [boxes, "by_class", "most", "iou", "least"], ["chosen"]),
        helper.make_node("Split", ["chosen", "ones"], ["batch", "class", "row"], axis=1),
        helper.make_node("Squeeze", ["row", "axis"], ["rows"]),
        helper.make_node("Gather", [boxes, "rows"], ["kept"], axis=1),
        helper.make_node("Squeeze", ["kept", "zero"], ["kept_boxes"]),
        helper.make_node("Cast", ["batch"], ["image_index"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["class"], ["class_index"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["image_index", "kept_boxes", "class_index"], ["flat_predictions"], axis=1),
    ]
    model.graph.node.extend(rows)
    constants = {"most": np.array([100]), "iou": np.float32([0.7]), "least": np.float32([0.25]),
                 "ones": np.array([1, 1, 1]), "axis": np.array([1]), "zero": np.array([0])}  # fmt: skip
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("flat_predictions", TensorProto.FLOAT, [None, 6]))
    image = model.graph.input[0]
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == image.name:
                node.input[index] = "prepared"
    scaled = [
        helper.make_node("Cast", [image.name], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "byte"], ["prepared"]),
    ]
    for node in reversed(scaled):
        model.graph.node.insert(0, node)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(255), "byte"))
    image.type.tensor_type.elem_type = TensorProto.UINT8
    return model


# --------------------------------------------------------------------------------------------------------------------
# RTMDet
# --------------------------------------------------------------------------------------------------------------------


def rtmdet(*, exp: bool) -> torch.nn.Module:
    """RTMDet's head."""
    import mmcv

    mmcv.__version__ = "2.1.0"  # mmdet takes no newer one
    from mmdet.models.dense_heads.rtmdet_head import RTMDetSepBNHead

    return RTMDetSepBNHead(
        CLASSES, WIDTH, stacked_convs=1, feat_channels=WIDTH, exp_on_reg=exp, share_conv=True, with_objectness=False,
        anchor_generator={"type": "MlvlPointGenerator", "offset": 0, "strides": [8, 16, 32]},
        bbox_coder={"type": "DistancePointBBoxCoder"}, norm_cfg={"type": "BN"}, act_cfg={"type": "SiLU"},
        loss_cls={"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0},
        loss_bbox={"type": "GIoULoss", "loss_weight": 2.0},
    )  # fmt: skip


def rtmdet_maps(head: Any, features: list[torch.Tensor]) -> Any:
    """Outputs of the head: logits and distances in pixels of each level."""
    scores, distances = head(tuple(features))
    return (*scores, *distances)


def rtmdet_tables(head: Any, features: list[torch.Tensor]) -> Any:
    """Boxes and scores before suppression, as mmdeploy's rewriting computes them."""
    scores, distances = head(tuple(features))
    grids = [tuple(one.shape[-2:]) for one in scores]
    priors = torch.cat(head.prior_generator.grid_priors(grids, device="cpu"))
    flat_scores = torch.cat([s.permute(0, 2, 3, 1).reshape(1, -1, CLASSES) for s in scores], 1).sigmoid()
    flat_distances = torch.cat([d.permute(0, 2, 3, 1).reshape(1, -1, 4) for d in distances], 1)
    low = priors[..., :2] - flat_distances[..., :2]
    high = priors[..., :2] + flat_distances[..., 2:]
    return torch.cat((low, high), -1), flat_scores


def rtmdet_decoded(head: Any, features: list[torch.Tensor], _: tuple[int, int]) -> Decoded:
    """The same, and mmdetection's own coder for the boxes."""
    scores, distances = head(tuple(features))
    grids = [tuple(one.shape[-2:]) for one in scores]
    priors = torch.cat(head.prior_generator.grid_priors(grids, device="cpu"))
    flat = torch.cat([d.permute(0, 2, 3, 1).reshape(-1, 4) for d in distances])
    boxes = head.bbox_coder.decode(priors, flat)
    return boxes, torch.cat([s.permute(0, 2, 3, 1).reshape(-1, CLASSES) for s in scores]).sigmoid()


Case = tuple[Callable[[], torch.nn.Module], tuple[int, ...], Forward, Any, tuple[int, int]]
FINE, FOUR = (8, 16, 32), (8, 16, 32, 64)
CASES: dict[str, Case] = {
    "nanodet": (lambda: nanodet("first"), FINE, nanodet_rows, nanodet_decoded, (96, 160)),
    "nanodet_plus": (lambda: nanodet("plus"), FOUR, nanodet_rows, nanodet_decoded, (96, 160)),
    "damo_yolo": (damo, FINE, damo_tables, damo_decoded, (96, 160)),
    "yolo_nas": (yolo_nas, FINE, nas_tables, nas_decoded, (96, 160)),
    "yolo_nas_flat": (yolo_nas, FINE, nas_tables, nas_decoded, (96, 160)),
    "rtmdet": (lambda: rtmdet(exp=False), FINE, rtmdet_tables, rtmdet_decoded, (96, 160)),
    "rtmdet_raw": (lambda: rtmdet(exp=False), FINE, rtmdet_maps, rtmdet_decoded, (96, 160)),
    "rtmdet_exp": (lambda: rtmdet(exp=True), FINE, rtmdet_tables, rtmdet_decoded, (96, 160)),
    "rtmdet_exp_raw": (lambda: rtmdet(exp=True), FINE, rtmdet_maps, rtmdet_decoded, (96, 160)),
}


def make(name: str, out: Path) -> None:
    """Write `<name>.onnx` and `<name>.npz`."""
    build, strides, ending, decoded, hw = CASES[name]
    network = Network(build(), strides, ending)
    randomize(network)
    if name.startswith("rtmdet_exp"):
        for parameter in network.head.rtm_reg.parameters():  # type: ignore[union-attr]  # a list of convolutions
            parameter.data *= 0.3  # exp of them: boxes of a few hundred pixels
    network.eval()
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, *hw), np.uint8)
    image = torch.from_numpy(pixels.astype(np.float32) / 255)
    file = out / f"{name}.onnx"
    with torch.no_grad():
        boxes, scores = decoded(network.head, network.features(image), hw)
        torch.onnx.export(network, (image,), str(file), opset_version=13, input_names=["image"], dynamo=False)
    if name == "yolo_nas_flat":
        onnx.save(flat(onnx.load(str(file))), str(file))
    record: dict[str, NDArray[Any]] = {"hw": np.array(hw), "boxes": boxes.numpy(), "scores": scores.numpy()}
    np.savez_compressed(out / f"{name}.npz", **record)
    print(f"{name}: {file.stat().st_size / 1024:.0f} KB, {len(boxes)} rows")


def main() -> None:
    """Make all cases, or one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--upstream", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", choices=CASES)
    arguments = parser.parse_args()
    for folder in ("nanodet", "DAMO-YOLO", "mmdet", "super-gradients/src"):
        sys.path.insert(0, str((arguments.upstream / folder).resolve()))
    sys.meta_path.insert(0, StandIns(UNUSED))
    for name in [arguments.case] if arguments.case else CASES:
        make(name, arguments.out)


if __name__ == "__main__":
    main()

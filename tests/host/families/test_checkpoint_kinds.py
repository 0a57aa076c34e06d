"""Checkpoints of other kinds: named by their classes or keys, with advice that helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.analysis.inspection.checkpoint_file import inspect_checkpoint
from rkdeploy.errors import CheckpointError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint.module_tree import STATE_DICT, Module
from rkdeploy.host.checkpoint.reader import Checkpoint, read_checkpoint
from rkdeploy.host.checkpoint.tensor import LazyTensor, Storage, make_tensor
from rkdeploy.host.families.checkpoint_kinds import kind_of, require_buildable
from rkdeploy.host.families.registry import family_of
from tests.hostile import forge

DATA = Path(__file__).parents[2] / "data"


def tensor(*shape: int) -> LazyTensor:
    """A tensor of which only the shape matters."""
    count, strides = 1, list[int]()
    for size in reversed(shape):
        strides.insert(0, count)
        count *= size
    return make_tensor(Storage("0", "float32", count), 0, shape, tuple(strides), "float32")


def tree(keys: Sequence[str]) -> Module:
    """The module tree of a state dict with a weight below each of some paths."""
    children: dict[str, Module] = {}
    for first in dict.fromkeys(key.partition(".")[0] for key in keys):
        below = [key.partition(".")[2] for key in keys if key.partition(".")[0] == first]
        inner = tree([key for key in below if key])
        children[first] = Module("", "", first, {}, {"weight": tensor(8, 3, 3, 3)}, inner.children)
    return Module(STATE_DICT, "", "", {}, {}, children)


def state_dict(*keys: str) -> Checkpoint:
    return Checkpoint(Path("best.pth"), tree(keys), "whole file", None, None, {})


def model(head: str, *layers: str, module: str = "models.yolo") -> Checkpoint:
    """A model of some layers, the head last."""
    children = {
        str(index): Module(name, "models.common", f"model.{index}", {}, {"weight": tensor(8, 3, 3, 3)}, {})
        for index, name in enumerate((*layers, head))
    }
    body = Module("Sequential", "torch.nn.modules.container", "model", {}, {}, children)
    root = Module("Model", module, "", {}, {}, {"model": body})
    return Checkpoint(Path("best.pt"), root, "model", None, None, {})


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (["body.stage1", "fpn", "ssh1", "ClassHead.0", "BboxHead.0", "LandmarkHead.0"], "a RetinaFace"),
        (["base_net.0", "classification_headers.0", "regression_headers.0"], "an SSD that is not UltraFace's"),
        (["backbone.body", "rpn.head", "roi_heads.box_head"], "a Faster, Mask or Keypoint R-CNN"),
        (["backbone.body", "head.classification_head.0", "head.regression_head.0"], "a RetinaNet or FCOS"),
        (["backbone.0", "container.0"], "an LPRNet"),
        (["feature.0", "newCnn"], "a CRNN for plates"),
        (["cnn.conv0", "rnn.0"], r"a CRNN \(text\)"),
        (["backbone.0", "head.gfl_cls.0"], "a NanoDet"),
        (["output_reg_layers", "output_obj_layers", "output_cls_layers"], "a Yolo-FastestV2"),
        (["transformer.encoder", "class_embed", "bbox_embed.0"], "a DETR"),
        (
            ["model.encoder.0", "model.decoder.dec_score_head.0", "model.decoder.dec_bbox_head.0"],
            "an RT-DETR.*export_onnx",
        ),
        (["inc.0", "down1.0", "up1.0", "outc.0"], r"a semantic segmentation \(UNet\)"),
        (["conv1", "bn1", "prelu", "layer1.0", "layer4.0", "features", "fc"], "a face recognizer"),
        (["conv1", "bn1", "layer1.0", "layer4.0", "fc"], "a ResNet classifier.*torch.onnx.export"),
        (["features.0", "classifier.1"], "a classifier.*torch.onnx.export"),
        ([f"model.{i}" for i in range(20)], "a YOLO model: its weights without the model.*Use the best.pt"),
    ],
)
def test_state_dicts(keys: list[str], name: str) -> None:
    """The keys of the weights tell what they belong to; ONNX is advised only where it builds."""
    with pytest.raises(CheckpointError, match=rf'"best\.pth" is (the|a) state dict of {name}') as caught:
        family_of(state_dict(*keys))
    if "onnx" not in name:
        assert "onnx" not in str(caught.value).lower()


def test_an_unknown_state_dict() -> None:
    """If the keys are not known, the message claims nothing."""
    with pytest.raises(CheckpointError, match="is a state dict: it holds weights but not the model"):
        family_of(state_dict("shrink.0", "mapping.0", "expand.0", "deconv"))


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("Panoptic", r"a panoptic segmentation \(YOLOv9\)"),
    ],
)
def test_heads(head: str, name: str) -> None:
    """A head that no family has is named by its class."""
    with pytest.raises(CheckpointError, match=f"is {name if name.startswith('a') else 'a ' + name}"):
        family_of(model(head, "Conv", "C3"))


def armor(fields: int) -> Checkpoint:
    """A model of 8 classes with 3 anchors of so many fields each."""
    checkpoint = model("Detect", "Conv", "C3")
    layers = checkpoint.root.child("model")
    conv = Module("Conv2d", "torch.nn", "model.2.m.0", {}, {"weight": tensor(3 * fields, 8, 1, 1)}, {})
    convs = Module("ModuleList", "torch.nn", "model.2.m", {}, {}, {"0": conv})
    head = replace(layers.child("2"), attributes={"nc": 8}, tensors={"anchors": tensor(1, 3, 2)}, children={"m": convs})
    changed = replace(layers, children={**layers.children, "2": head})
    return replace(checkpoint, root=replace(checkpoint.root, children={"model": changed}))


def test_armor() -> None:
    """29 numbers per anchor of 8 classes are yolov5-RM's, unless the user says that there are 8 landmarks."""
    with pytest.raises(CheckpointError, match="armor detector as yolov5-RM trains it") as caught:
        require_buildable(armor(29))
    assert "--family yolov5-face" in (caught.value.hint or "")
    require_buildable(armor(29), "yolov5-face")
    require_buildable(armor(23))  # 5 landmarks


def test_packages() -> None:
    """A pickled model of another package is named by it."""
    found = kind_of(model("fc", "conv1", module="torchvision.models.resnet"))
    assert found is not None
    assert "torchvision" in found.name
    assert kind_of(model("Detect", "Conv", module="models.yolo")) is None


@pytest.fixture(params=[("IDetect", "MP"), ("Detect", "SP"), ("IAuxDetect", "SPPCSPC"), ("IAuxDetect", None)])
def yolov7(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """YOLOv5's checkpoint with the classes of YOLOv7's head and blocks."""
    forgery = forge.Forgery()
    head, block = request.param
    rename(forgery.head, "models.yolo", head)
    if block:
        rename(forgery.layer("2"), "models.common", block)
    return forgery.write(tmp_path / "y7.pt")


def rename(thing: object, module: str, name: str) -> None:
    thing.__class__ = forge.named(module, name)


def test_yolov7_is_no_yolor(yolov7: Path) -> None:
    """It is named YOLOv7 whatever its head is, and its facts are read."""
    checkpoint = read_checkpoint(yolov7)
    family = family_of(checkpoint)
    assert family.NAME == "yolov7"
    info = family.describe(checkpoint)
    assert info.strides == (8, 16, 32)
    assert info.anchors is not None
    rows = dict(inspect_checkpoint(yolov7).rows)
    assert "paper branch" not in rows["family"]


def test_yolov7_serves_its_onnx_file(tmp_path: Path) -> None:
    """Its anchors and names are used with an ONNX file with the decode, which proves them."""
    forgery = forge.Forgery(DATA / "yolov5" / "v7_autoanchor.pt")
    rename(forgery.head, "models.yolo", "IDetect")
    rename(forgery.layer("2"), "models.common", "MP")
    network = open_network(DATA / "onnx" / "v7_opset17_simplify.onnx", forgery.write(tmp_path / "y7.pt"))
    assert (network.family, network.anchors_from) == ("yolov7", "checkpoint")
    assert network.proves_decode


def test_landmarks_by_their_channels(tmp_path: Path) -> None:
    """An anchor head with ten channels more per anchor than its classes need is YOLOv5-face with five landmarks."""
    forgery = forge.Forgery()
    assert family_of(read_checkpoint(forgery.write(tmp_path / "plain.pt"))).NAME == "yolov5"
    classes = forgery.head.state["nc"]
    for conv in forgery.head.child("m").state["_modules"].values():
        weight = forge.find_tensor(conv.state["_parameters"]["weight"])
        _, inputs, *_ = weight.arguments[2]
        forge.replace_arguments(weight, size=(3 * (5 + classes + 10), inputs, 1, 1), stride=(0, 0, 1, 1))
    checkpoint = read_checkpoint(forgery.write(tmp_path / "face.pt"))
    family = family_of(checkpoint)
    assert family.NAME == "yolov5-face"
    info = family.describe(checkpoint)
    assert info.task == "pose"
    assert info.keypoints is not None
    assert (info.keypoints.count, info.keypoints.scored, info.keypoints.by_anchor) == (5, False, True)


def test_yolov5_lite_by_its_blocks(tmp_path: Path) -> None:
    """A ShuffleNet block before YOLOv5's head is YOLOv5-Lite."""
    forgery = forge.Forgery()
    rename(forgery.layer("2"), "models.common", "Shuffle_Block")
    checkpoint = read_checkpoint(forgery.write(tmp_path / "lite.pt"))
    assert family_of(checkpoint).NAME == "yolov5-lite"
    assert family_of(checkpoint).describe(checkpoint).generation == "ShuffleNetV2"

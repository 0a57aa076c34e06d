"""YOLOR's graphs against what upstream's own code of both branches computed (tests/data/yolor)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.errors import CheckpointError, GraphError, RkdeployError
from rkdeploy.host.checkpoint import Checkpoint, Module, read_checkpoint
from rkdeploy.host.checkpoint.darknet_cfg import parse_darknet_cfg
from rkdeploy.host.checkpoint.module_tree import module_from_state_dict
from rkdeploy.host.checkpoint.tensor import LazyTensor, Storage, make_tensor
from rkdeploy.host.export.stem_form import StemForm
from rkdeploy.host.export.yolor_blocks import with_implicit
from rkdeploy.host.families import yolor
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.session import Session

DATA = Path(__file__).parents[2] / "data" / "yolor"
CASES = sorted(p.stem for p in DATA.glob("*.pt"))
MAIN = [case for case in CASES if case.startswith("main_")]
STEMS: tuple[StemForm, ...] = ("trained", "space_to_depth", "slices", "convolution")


def opened(case: str, cfg: str | None = None) -> Checkpoint:
    path = DATA / f"{cfg or case}.cfg"
    return read_checkpoint(DATA / f"{case}.pt", path if path.exists() else None)


def tensors_of(root: Module) -> dict[str, LazyTensor]:
    return {f"{m.path}.{name}": tensor for m in root.walk() for name, tensor in m.tensors.items()}


def tensor(values: NDArray[np.float32]) -> LazyTensor:
    storage = Storage("test", "float32", values.size, lambda: np.ascontiguousarray(values).view(np.uint8).ravel())
    return make_tensor(storage, 0, values.shape, [s // 4 for s in np.ascontiguousarray(values).strides], "float32")


def test_the_reference_set_is_complete() -> None:
    """Both branches, the published structure of each, and further blocks and sections."""
    assert {"paper_p6", "paper_anchors", "paper_blocks", "paper_syncbn", "paper_dwt"} <= set(CASES)
    assert {"main_p6", "main_sections", "main_yolov3_order"} == set(MAIN)


@pytest.mark.parametrize("case", CASES)
def test_full_graph_equals_upstream(case: str) -> None:
    """Boxes within 1e-3 px and scores within 1e-5 of upstream torch, in every form of the first layer."""
    recorded = np.load(DATA / f"{case}.npz")
    meta = json.loads(str(recorded["meta"]))
    checkpoint = opened(case)
    assert family_of(checkpoint, "yolor") is yolor
    info = yolor.describe(checkpoint)
    assert info.anchors is not None
    assert np.abs(np.array(info.anchors.levels_px) - recorded["anchors_px"]).max() < 1e-3
    assert list(info.strides) == recorded["strides"].tolist()
    assert len(info.class_names) == recorded["pred"].shape[1] - 5
    assert info.class_names == (("bolt", "nut", "washer") if case not in MAIN else ("class_0", "class_1", "class_2"))
    assert info.has_class_names == (case not in MAIN), meta
    image = recorded["input"]
    for stem in STEMS:
        exported = yolor.export(checkpoint, info, image.shape[2], image.shape[3], stem)
        decoded = Session(exported.model).run({"images": image.astype(np.float32) / 255})["output0"][0]
        difference = np.abs(decoded[recorded["rows"]] - recorded["pred"])
        assert difference[:, :4].max() < 1e-3
        assert difference[:, 4:].max() < 1e-5


@pytest.mark.parametrize("case", ["paper_p6", "main_p6"])
def test_implicit_knowledge_is_folded(case: str) -> None:
    """Nothing of ImplicitA and ImplicitM is left in the graph: the head is bare convolutions."""
    checkpoint = opened(case)
    exported = yolor.export(checkpoint, yolor.describe(checkpoint), 128, 192)
    producers = {name: node for node in exported.model.graph.node for name in node.output}
    for tap in exported.head.taps:
        conv = producers[tap.tensor]
        assert conv.op_type == "Conv"
        assert producers[producers[conv.input[0]].output[0]].op_type in {"Mul", "Conv"}  # SiLU, not an addition
    assert "implicit" not in " ".join(c.name for c in exported.model.graph.initializer)


def test_fold_by_hand() -> None:
    """Two inputs, one output: 5 (2 (x + 10) + 3 (y + 20) + 1) is 10 x + 15 y + 405."""
    kernel = (np.array([2.0, 3.0]).reshape(1, 2, 1, 1), np.array([1.0]))
    weight, bias = with_implicit(kernel, np.array([10, 20], np.float32), np.array([5], np.float32), "head")
    assert weight.ravel().tolist() == [10, 15]
    assert bias.tolist() == [405]
    with pytest.raises(GraphError, match="3 numbers are added to its input"):
        with_implicit(kernel, np.zeros(3, np.float32), None, "head")
    with pytest.raises(GraphError, match="multiplied by 2 numbers"):
        with_implicit(kernel, None, np.ones(2, np.float32), "head")


def test_p6_at_320() -> None:
    """With 80 classes at 320x320 the published structure has the anchors, strides and output that upstream recorded."""
    facts = next(f for f in json.loads((DATA / "facts.json").read_text()) if f["branch"] == "main")
    text = (DATA / "main_p6.cfg").read_text()
    published = ",".join(f"{w:g},{h:g}" for level in facts["anchors_px"] for w, h in level)
    lines = [
        {"anchors": f"anchors={published}", "classes": "classes=80"}.get(line.partition("=")[0].strip(), line)
        for line in text.splitlines()
    ]
    small = opened("main_p6")
    weights = tensors_of(small.root)
    assert small.cfg is not None
    heads = [yolo.index - 2 for yolo in small.cfg.yolos]  # convolution, control_channels, yolo
    rng = np.random.default_rng(0)
    for index in heads:
        shape = weights[f"module_list.{index}.Conv2d.weight"].shape
        weights[f"module_list.{index}.Conv2d.weight"] = tensor(rng.normal(size=(255, *shape[1:])).astype(np.float32))
        weights[f"module_list.{index}.Conv2d.bias"] = tensor(np.zeros(255, np.float32))
    for key, value in weights.items():
        if value.shape == (1, 24, 1, 1):  # implicit_mul: one number per channel of a head
            weights[key] = tensor(np.ones((1, 255, 1, 1), np.float32))
    cfg = parse_darknet_cfg("\n".join(lines).replace("filters=24\n", "filters=255\n"), "yolor_p6.cfg")
    checkpoint = replace(small, root=module_from_state_dict(weights), cfg=cfg)
    info = yolor.describe(checkpoint)
    assert info.anchors is not None
    assert np.allclose(info.anchors.levels_px, facts["anchors_px"])
    assert info.anchor_comparison is not None
    assert info.anchor_comparison.are_defaults
    assert list(info.strides) == facts["strides"]
    outputs = Session(yolor.export(checkpoint, info, 320, 320).model).run(
        {"images": np.zeros((1, 3, 320, 320), np.float32)}
    )
    assert list(outputs["output0"].shape) == facts["output_shape"] == [1, 6375, 85]


def test_weights_alone_need_their_cfg() -> None:
    """Without --cfg the message says which file is wanted; with one where none is needed, to leave it out."""
    checkpoint = read_checkpoint(DATA / "main_p6.pt")
    assert family_of(checkpoint, "yolor") is yolor
    with pytest.raises(CheckpointError, match=r"darknet cfg describes.*--cfg model\.cfg"):
        yolor.describe(checkpoint)
    with pytest.raises(CheckpointError, match=r"paper branch.*Leave out --cfg"):
        yolor.describe(opened("paper_p6", "main_p6"))
    with pytest.raises(CheckpointError, match=r"needs no darknet cfg.*Leave out --cfg"):
        family_of(read_checkpoint(DATA.parent / "yolov5" / "v7_n.pt", DATA / "main_p6.cfg"))


@pytest.mark.parametrize("case", MAIN)
@pytest.mark.parametrize("other", MAIN)
def test_the_cfg_of_another_model(case: str, other: str) -> None:
    """Weights with a cfg that is not theirs are refused, whichever of the two is larger."""
    if case == other:
        return
    checkpoint = opened(case, other)
    with pytest.raises(RkdeployError):
        yolor.export(checkpoint, yolor.describe(checkpoint), 128, 128)


@pytest.mark.parametrize("case", MAIN)
def test_damaged_weights(case: str) -> None:
    """Every weight counts: one that is missing, has another shape or is too many is an error that names it or a kin."""
    checkpoint = opened(case)
    weights = tensors_of(checkpoint.root)
    keys = [key for key in weights if not key.endswith("num_batches_tracked")]
    info = yolor.describe(checkpoint)
    for key in keys[:: max(1, len(keys) // 25)]:
        shape = weights[key].shape
        other = tensor(np.ones((*shape[:-1], shape[-1] + 1), np.float32))
        for changed in (
            {k: v for k, v in weights.items() if k != key},
            weights | {key: other},
            weights | {f"{key}_more": weights[key]},
        ):
            damaged = replace(checkpoint, root=module_from_state_dict(changed))
            with pytest.raises(RkdeployError):
                yolor.export(damaged, info, 128, 128)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stride=2", "stride=1", "have strides"),
        ("classes=3", "classes=4", "4 classes"),
        ("activation=linear", "activation=silu", "convolution without activation"),
    ],
)
def test_cfg_that_does_not_fit(old: str, new: str, message: str) -> None:
    """A cfg that contradicts itself or the weights gives one message that says in what."""
    checkpoint = opened("main_p6")
    cfg = parse_darknet_cfg((DATA / "main_p6.cfg").read_text().replace(old, new), "edited.cfg")
    edited = replace(checkpoint, cfg=cfg)
    with pytest.raises(RkdeployError, match=message):
        yolor.export(edited, yolor.describe(edited), 128, 128)

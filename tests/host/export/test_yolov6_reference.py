"""YOLOv6's graphs against what Meituan's own code computed (tests/data/yolov6)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.errors import CheckpointError, GraphError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint import Checkpoint, Module, read_checkpoint
from rkdeploy.host.families import yolov6
from rkdeploy.host.families.checkpoint_kinds import require_buildable
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import verify

DATA = Path(__file__).parents[2] / "data" / "yolov6"
CASES = sorted(path.stem for path in DATA.glob("*.pt"))
EXTRA = {"seg": {"mask_coefficients", "prototypes"}, "face": {"keypoints"}}


def test_the_reference_set_is_complete() -> None:
    """Every head, neck and block of the releases is recorded, as trained and re-parameterized."""
    assert {
        "n_fuse_ab", "n_distill", "s_deploy", "m_dfl", "l6", "s_mbla", "n_qa", "n_qa_deploy", "n_hs", "n_opt", "lite_s",
        "v2_s", "v2_m", "v3_n", "seg_n", "face_m", "face_lite_s",
    } <= set(CASES)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_full_graph_equals_upstream(case: str) -> None:
    """Pixels within 1e-3, scores within 1e-5, coefficients and prototypes within 1e-4 of upstream torch."""
    recorded = np.load(DATA / f"{case}.npz")
    checkpoint = read_checkpoint(DATA / f"{case}.pt")
    assert family_of(checkpoint) is yolov6
    require_buildable(checkpoint)
    info = yolov6.describe(checkpoint)
    assert list(info.strides) == recorded["strides"].tolist()
    kind = case.split("_", maxsplit=1)[0]
    assert info.task == {"seg": "segment", "face": "pose"}.get(kind, "detect")
    assert len(info.class_names) == json.loads(str(recorded["meta"]))["nc"]
    image = recorded["input"]
    exported = yolov6.export(checkpoint, info, *image.shape[2:])
    outputs = Session(exported.model).run({"images": image.astype(np.float32) / 255})
    rows = outputs["output0"][0].T
    assert rows.shape[1] == recorded["pred"].shape[1]
    difference = np.abs(rows[recorded["rows"]] - recorded["pred"])
    behind = 4 + len(info.class_names)
    assert difference[:, :4].max() < 1e-3
    assert difference[:, 4:behind].max() < 1e-5
    assert difference[:, behind:].max(initial=0) < (1e-3 if kind == "face" else 1e-4)
    if kind == "seg":
        assert np.abs(outputs["output1"][0] - recorded["proto"]).max() < 1e-4
    roles = {tap.role for tap in exported.head.taps}
    boxes = "dfl_boxes" if case in ("m_dfl", "l6", "s_mbla", "v2_m", "face_m") else "ltrb_boxes"
    assert roles == {boxes, "scores"} | EXTRA.get(kind, set())


def test_training_parts_leave_no_nodes() -> None:
    """A block in its training form is one convolution: as many as the re-parameterized model has."""
    nodes = {}
    for case in ("n_qa", "n_qa_deploy"):
        checkpoint = read_checkpoint(DATA / f"{case}.pt")
        model = yolov6.export(checkpoint, yolov6.describe(checkpoint), 64, 64).model
        nodes[case] = [node.op_type for node in model.graph.node]
    assert nodes["n_qa"] == nodes["n_qa_deploy"]
    assert "BatchNormalization" not in nodes["n_qa"]


@pytest.mark.parametrize("case", ["m_dfl", "n_distill", "seg_n", "face_m"])
def test_the_contract_equals_the_graph(case: str) -> None:
    """The board's decode of the cut graph gives the trained graph's rows."""
    network = open_network(DATA / f"{case}.pt", imgsz=(64, 96))
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    image = np.ascontiguousarray(np.load(DATA / f"{case}.npz")["input"].transpose(0, 2, 3, 1))
    verify(network.trained, network.reference_head, graph, network.contract(outputs), [("recorded", image)])
    assert any("class names" in note for note in network.notes)


def changed(checkpoint: Checkpoint, **children: Module) -> Checkpoint:
    """The checkpoint with other parts in its head."""
    head = checkpoint.root.child("detect")
    altered = replace(head, children={**head.children, **children})
    root = replace(checkpoint.root, children={**checkpoint.root.children, "detect": altered})
    return replace(checkpoint, root=root)


def test_the_first_release_is_named() -> None:
    checkpoint = read_checkpoint(DATA / "v2_s.pt")
    old = changed(checkpoint, obj_preds=checkpoint.root.child("detect").child("cls_preds"))
    with pytest.raises(CheckpointError, match=r"is of YOLOv6 0\.1\.0"):
        yolov6.describe(old)


def test_further_parts_are_not_left_out() -> None:
    """Parts that this version does not know are weights that the graph would lack."""
    checkpoint = read_checkpoint(DATA / "v3_n.pt")
    head = checkpoint.root.child("detect").child("reg_preds")
    points = replace(head.child("0"), path="detect.lmk_preds.0", tensors=dict(head.child("0").tensors))
    face = changed(checkpoint, lmk_preds=replace(head, path="detect.lmk_preds", children={"0": points}))
    with pytest.raises(GraphError, match=r"detect\.lmk_preds\.0"):
        yolov6.export(face, yolov6.describe(face), 64, 64)


def test_masks_of_solo_are_named() -> None:
    """Convolutions of each object's own (configs/exp/*_solo.py) have prototypes of every level."""
    checkpoint = read_checkpoint(DATA / "seg_n.pt")
    proto = checkpoint.root.child("detect").child("seg_proto")
    three = replace(proto, children={name: proto.child("0") for name in "012"})
    with pytest.raises(CheckpointError, match="3 sets of prototypes"):
        yolov6.describe(changed(checkpoint, seg_proto=three))


def test_bins_that_are_not_counted_from_0() -> None:
    checkpoint = read_checkpoint(DATA / "m_dfl.pt")
    head = checkpoint.root.child("detect")
    weight = head.child("stems").child("0").child("block").child("bn").tensors["weight"]
    projection = replace(head.child("proj_conv"), tensors={"weight": weight})
    with pytest.raises(GraphError, match=r"bins that do not stand for 0, 1, 2"):
        yolov6.export(changed(checkpoint, proj_conv=projection), yolov6.describe(checkpoint), 64, 64)

"""The exported graphs against what upstream YOLOv5's own code computed (tests/data/yolov5)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.export.stem import phase_weight, strided_weight
from rkdeploy.host.export.stem_form import StemForm
from rkdeploy.host.families import yolov5
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.anchor_probe import find_anchor_head
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify

DATA = Path(__file__).parents[2] / "data" / "yolov5"
NOT_YOLOV5_DETECTION = {"cls", "seg", "state_dict", "v1_s"}
CASES = sorted(p.stem for p in DATA.glob("*.pt") if p.stem not in NOT_YOLOV5_DETECTION)


def test_the_reference_set_is_complete() -> None:
    """The recorded cases cover every generation, activation and layout that the kit claims to read."""
    needed = {
        "v7_n", "v6_n6", "v5_s_focus_spp", "v4_s", "v3_csp_leaky", "v3_1_csp_hardswish", "v2_csp_leaky", "relu",
        "two_anchors", "v7_nonsquare", "c3tr", "ghost", "c3spp", "crossconv", "legacy_format", "with_ema", "bfloat16",
    }  # fmt: skip
    assert needed <= set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_full_graph_equals_upstream(case: str) -> None:
    """Boxes within 1e-3 px and scores within 1e-5 of upstream torch; anchors are the checkpoint's own."""
    recorded = np.load(DATA / f"{case}.npz")
    checkpoint = read_checkpoint(DATA / f"{case}.pt")
    family = family_of(checkpoint)
    info = family.describe(checkpoint)
    assert info.anchors is not None
    assert np.abs(np.array(info.anchors.levels_px) - recorded["anchors_px"]).max() < 1e-3
    assert np.array(info.strides).tolist() == recorded["strides"].tolist()
    forms: tuple[StemForm, ...] = ("trained", "space_to_depth", "slices", "convolution", "stripes")
    image = recorded["input"]
    for stem in forms:
        model = family.export(checkpoint, info, image.shape[2], image.shape[3], stem=stem).model
        decoded = Session(model).run({"images": image.astype(np.float32) / 255})["output0"][0]
        difference = np.abs(decoded[recorded["rows"]] - recorded["pred"])
        assert difference[..., :4].max() < 1e-3
        assert difference[..., 4:].max() < 1e-5


@pytest.mark.parametrize("case", ["v7_n", "v6_n6", "v5_s_focus_spp", "v3_csp_leaky", "two_anchors", "v7_nonsquare"])
def test_anchors_read_back_from_the_graph(case: str) -> None:
    """Probing the exported decode with zeros gives back the checkpoint's anchors, strides and number of classes."""
    recorded = np.load(DATA / f"{case}.npz")
    checkpoint = read_checkpoint(DATA / f"{case}.pt")
    info = yolov5.describe(checkpoint)
    head = find_anchor_head(GraphView(simplify(yolov5.export(checkpoint, info, *recorded["input"].shape[2:]).model)))
    assert head.anchors is not None
    assert np.abs(np.array(head.anchors.levels_px) - recorded["anchors_px"]).max() < 1e-3
    assert tuple(c.stride for c in head.taps) == info.strides
    assert head.classes == len(info.class_names) == json.loads(str(recorded["meta"]))["nc"]


def test_focus_kernel_by_hand() -> None:
    """One tap of Focus's kernel lands on the input pixel that it reads through the phases, and back."""
    weight = np.zeros((1, 4, 1, 1), np.float32)
    weight[0, :, 0, 0] = [1, 2, 3, 4]  # slices (0, 0), (1, 0), (0, 1), (1, 1) over (row, column)
    assert strided_weight(weight)[0, 0].tolist() == [[1, 3], [2, 4]]
    assert np.array_equal(phase_weight(strided_weight(weight)), weight)

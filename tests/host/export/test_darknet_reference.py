"""Darknet's graphs against what AlexeyAB's C code computed (tests/data/darknet)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rkdeploy.errors import CheckpointError, RkdeployError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.families import darknet
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import verify
from tests.data.darknet.cfgs import CFGS

DATA = Path(__file__).parents[2] / "data"
DARKNET = DATA / "darknet"


@pytest.mark.parametrize("case", CFGS)
def test_full_graph_equals_darknet(case: str) -> None:
    """Pixels within 1e-3 and scores within 1e-5 of darknet, boxes as a share of their size."""
    recorded = np.load(DARKNET / f"{case}.npz")
    checkpoint = read_checkpoint(DARKNET / f"{case}.weights", DARKNET / f"{case}.cfg")
    assert family_of(checkpoint) is darknet
    info = darknet.describe(checkpoint)
    assert info.image_hw == recorded["input"].shape[2:]
    exported = darknet.export(checkpoint, info, *recorded["input"].shape[2:])
    rows = Session(exported.model).run({"images": recorded["input"].astype(np.float32) / 255})["output0"][0]
    difference = np.abs(rows[recorded["rows"]] - recorded["pred"])
    assert (difference[:, :4] / np.maximum(1.0, np.abs(recorded["pred"][:, :4]))).max() < 1e-4
    assert difference[:, :4].max() < 1e-2
    assert difference[:, 4:].max() < 1e-5


@pytest.mark.parametrize("case", ["v4", "v7_tiny", "v3_tiny"])
@pytest.mark.parametrize("options", [CutOptions(), CutOptions("boxes_scores", "scores")])
def test_the_contract_equals_the_graph(case: str, options: CutOptions) -> None:
    """The board's decode of the cut graph gives the trained graph's rows; the size is the cfg's."""
    network = open_network(DARKNET / f"{case}.weights", cfg=DARKNET / f"{case}.cfg")
    assert network.input_hw == (64, 96)
    graph, outputs = cut(network.simplified, network.head, options)
    image = np.ascontiguousarray(np.load(DARKNET / f"{case}.npz")["input"].transpose(0, 2, 3, 1))
    verify(network.trained, network.reference_head, graph, network.contract(outputs), [("recorded", image)])


def test_images_are_stretched_unless_the_cfg_says_otherwise() -> None:
    stretched = open_network(DARKNET / "v4.weights", cfg=DARKNET / "v4.cfg").input
    boxed = open_network(DARKNET / "v4_tiny.weights", cfg=DARKNET / "v4_tiny.cfg").input
    assert (stretched.fit, boxed.fit, boxed.pad_value, boxed.place) == ("stretch", "letterbox", 128, "center")


def test_formulas_of_the_levels() -> None:
    """Gains are listed finest level first, whatever the order of the sections."""
    formulas = {}
    for case in ("v4", "v7_tiny", "v3", "blocks"):
        formulas[case] = open_network(DARKNET / f"{case}.weights", cfg=DARKNET / f"{case}.cfg").head.anchor_formula
    assert {name: formula and (formula.center_gains, formula.size) for name, formula in formulas.items()} == {
        "v4": ((1.2, 1.1, 1.05), "exp"),
        "v7_tiny": None,
        "v3": ((1.0,), "exp"),
        "blocks": ((1.0, 1.1), "exp"),
    }


def test_the_cfg_of_a_weights_file_is_needed() -> None:
    with pytest.raises(CheckpointError, match=r"darknet network, but not the network") as raised:
        read_checkpoint(DARKNET / "v3.weights")
    assert "--cfg v3.cfg" in raised.value.hint


@pytest.mark.parametrize(
    ("change", "words"), [(-4, "shorter by 4"), (4, "longer by 4"), (-40_000, "shorter by 40,000")]
)
def test_a_file_of_another_length(change: int, words: str, tmp_path: Path) -> None:
    """Expected and got are both said, before anything is computed."""
    data = (DARKNET / "v3_tiny.weights").read_bytes()
    file = tmp_path / "v3_tiny.weights"
    file.write_bytes(data[:change] if change < 0 else data + b"\0" * change)
    with pytest.raises(CheckpointError) as raised:
        read_checkpoint(file, DARKNET / "v3_tiny.cfg")
    assert f"{len(data) + change:,} bytes, expected {len(data):,} by v3_tiny.cfg: it is {words}" in raised.value.message


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"\0" * 12, b"PK\3\4" * 6])
def test_files_that_are_not_weights(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.weights"
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"expected"):
        read_checkpoint(file, DARKNET / "v3_tiny.cfg")


def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    data = bytearray((DARKNET / "v3_tiny.weights").read_bytes())
    data[-4:] = b"\xff\xff\xff\xff"
    file = tmp_path / "model.weights"
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"NaN"):
        open_network(file, cfg=DARKNET / "v3_tiny.cfg")


def test_a_state_dict_with_a_plain_cfg_is_read_as_darknet_does() -> None:
    """ultralytics/yolov3 has exponents; --family yolor takes YOLOR's decode.  Neither is proven: a note says it."""
    file, cfg = DATA / "yolor" / "main_yolov3_order.pt", DATA / "yolor" / "main_yolov3_order.cfg"
    network = open_network(file, cfg=cfg)
    formula = network.head.anchor_formula
    assert (network.family, formula and formula.size, network.input.fit) == ("darknet", "exp", "letterbox")
    assert any("--family yolor" in note for note in network.notes)
    other = open_network(file, cfg=cfg, family="yolor")
    assert (other.family, other.head.anchor_formula) == ("yolor", None)


def test_families_that_do_not_fit() -> None:
    cfg = DATA / "yolor" / "main_p6.cfg"
    with pytest.raises(RkdeployError, match=r"not of the family darknet") as raised:
        open_network(DATA / "yolor" / "main_p6.pt", cfg=cfg, family="darknet")
    assert "yolor" in raised.value.hint
    with pytest.raises(RkdeployError, match=r'no family "yolo"'):
        open_network(DATA / "yolor" / "main_p6.pt", cfg=cfg, family="yolo")

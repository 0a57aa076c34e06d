"""YOLOX's graphs against what Megvii's own code computed (tests/data/yolox)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.analysis.inspection.inspect import inspect_file
from rkdeploy.errors import CheckpointError, RkdeployError
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint import Checkpoint, read_checkpoint
from rkdeploy.host.checkpoint.module_tree import module_from_state_dict
from rkdeploy.host.export.stem_form import StemForm
from rkdeploy.host.families import yolox
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import verify
from tests.host.export.test_yolop_reference import ones, tensors_of

DATA = Path(__file__).parents[2] / "data" / "yolox"
CASES = ("nano", "s", "m_one_class")
STEMS: tuple[StemForm, ...] = ("trained", "space_to_depth", "slices", "convolution")


@pytest.mark.parametrize("case", CASES)
def test_full_graph_equals_upstream(case: str) -> None:
    """Pixels within 1e-3 and scores within 1e-5 of upstream torch, in every form of the first layer."""
    recorded = np.load(DATA / f"{case}.npz")
    checkpoint = read_checkpoint(DATA / f"{case}.pth")
    assert family_of(checkpoint) is yolox
    info = yolox.describe(checkpoint)
    assert len(info.class_names) == recorded["pred"].shape[1] - 5
    assert ("depthwise" in info.generation) == (case == "nano")
    image = recorded["input"]
    for stem in STEMS:
        exported = yolox.export(checkpoint, info, image.shape[2], image.shape[3], stem)
        rows = Session(exported.model).run({"images": image.astype(np.float32)})["output"][0]
        difference = np.abs(rows[recorded["rows"]] - recorded["pred"])
        assert difference[:, :4].max() < 1e-3
        assert difference[:, 4:].max() < 1e-5


def test_the_contract_equals_the_graph() -> None:
    """The board's decode of the cut graph gives the trained graph's rows; the preset says how images are prepared."""
    network = open_network(DATA / "nano.pth", imgsz=(64, 96))
    chosen = with_choice(network, InputChoice(preset="yolox"))
    assert (chosen.input.color, chosen.input.std, chosen.input.place) == ("bgr", (1.0, 1.0, 1.0), "top_left")
    graph, outputs = cut(chosen.simplified, chosen.head, CutOptions())
    image = np.ascontiguousarray(np.load(DATA / "nano.npz")["input"].transpose(0, 2, 3, 1))
    verify(chosen.trained, chosen.reference_head, graph, chosen.contract(outputs), [("recorded", image)])


def test_a_preset_must_be_said() -> None:
    """Both presets are named, by the build and by inspect before it."""
    with pytest.raises(RkdeployError) as raised:
        with_choice(open_network(DATA / "nano.pth", imgsz=(64, 96)), InputChoice())
    assert "--preset yolox (" in raised.value.hint
    assert "--preset yolox-legacy (" in raised.value.hint
    found = inspect_file(DATA / "nano.pth")
    assert found.builds
    assert "--preset yolox or yolox-legacy" in found.needed
    assert "--imgsz" in found.needed


def test_sizes_of_the_published_models() -> None:
    """A file does not say its size: Nano's and Tiny's width is taken for 416, others' for 640, with a note."""
    info = yolox.describe(read_checkpoint(DATA / "nano.pth"))
    assert info.usual_size == 640
    network = open_network(DATA / "nano.pth")
    assert network.input_hw == (640, 640)
    assert any("640 is assumed" in note for note in network.notes)
    assert any("SiLU" in note for note in network.notes)


def damaged(changed: dict[str, object]) -> Checkpoint:
    checkpoint = read_checkpoint(DATA / "s.pth")
    return replace(checkpoint, root=module_from_state_dict(changed))  # type: ignore[arg-type]  # tensors, as in a file


def export(checkpoint: Checkpoint) -> None:
    yolox.export(checkpoint, yolox.describe(checkpoint), 64, 64)


def test_every_weight_counts() -> None:
    """A weight that is missing, has another shape or is too many is one error, never a graph that computes else."""
    weights = tensors_of(read_checkpoint(DATA / "s.pth"))
    keys = [key for key in weights if not key.endswith("num_batches_tracked")]
    for key in keys[::41] + [k for k in keys if ".obj_preds." in k]:
        shape = weights[key].shape
        for changed in (
            {k: v for k, v in weights.items() if k != key},
            weights | {key: ones((*shape[:-1], shape[-1] + 1))},
            weights | {f"{key}_more": weights[key]},
        ):
            with pytest.raises(RkdeployError):
                export(damaged(dict(changed)))


def test_another_backbone_is_named() -> None:
    """YOLOX on Darknet53 has the same head."""
    weights = {k: v for k, v in tensors_of(read_checkpoint(DATA / "s.pth")).items() if ".C3_p4." not in k}
    with pytest.raises(CheckpointError, match=r'no "backbone\.C3_p4"') as raised:
        export(damaged(dict(weights)))
    assert "YOLOPAFPN" in raised.value.hint

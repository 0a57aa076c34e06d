"""RetinaFace's graphs against what biubug6's own code computed (tests/data/retinaface)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.analysis.inspection.inspect import inspect_file
from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import CheckpointError, RkdeployError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.checkpoint.module_tree import module_from_state_dict
from rkdeploy.host.families import retinaface
from rkdeploy.host.families.leaky_evidence import likeliest_slope
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input, verify
from tests.host.export.test_yolop_reference import ones, tensors_of

DATA = Path(__file__).parents[2] / "data" / "retinaface"
CASES = {
    "mobile": ("Pytorch_Retinaface, MobileNet 0.125", "LeakyReLU", 16.0, (8, 16, 32)),
    "mobile_1mb": ("Face-Detector-1MB, MobileNet 0.125", "ReLU", 10.0, (8, 16, 32)),
    "resnet50": ("Pytorch_Retinaface, ResNet-50", "ReLU", 16.0, (8, 16, 32)),
    "slim": ("Face-Detector-1MB, slim", "ReLU", 10.0, (8, 16, 32, 64)),
    "rfb": ("Face-Detector-1MB, RFB", "ReLU", 10.0, (8, 16, 32, 64)),
}
"""Name, activation, smallest anchor, strides."""


@pytest.mark.parametrize("case", CASES)
def test_full_graph_equals_upstream(case: str) -> None:
    """Pixels within 1e-3 and scores within 1e-5 of upstream torch; keys and statistics say which network it is."""
    recorded = np.load(DATA / f"{case}.npz")
    checkpoint = read_checkpoint(DATA / f"{case}.pth")
    assert family_of(checkpoint) is retinaface
    info = retinaface.describe(checkpoint)
    assert info.anchors is not None
    smallest = info.anchors.levels_px[0][0][0]
    assert (info.generation, info.activation[0], smallest, info.strides) == CASES[case]
    image = recorded["input"]
    exported = retinaface.export(checkpoint, info, image.shape[2], image.shape[3])
    mean = np.array(exported.input.mean, np.float32)[None, :, None, None]
    pixels = image.astype(np.float32) - mean
    assert (exported.input.std, exported.input.color) == ((1.0,) * 3, "bgr")
    rows = Session(exported.model).run({"images": pixels})["output0"][0]
    difference = np.abs(rows - recorded["pred"])
    allowed = 1e-3 + 1e-5 * np.abs(recorded["pred"])  # boxes of random weights are up to 400 px wide
    assert (difference <= allowed)[:, [0, 1, 2, 3, *range(5, 15)]].all()
    assert difference[:, 4].max() < 1e-5


@pytest.mark.parametrize("case", ["mobile_1mb", "slim"])
def test_the_contract_equals_the_graph(case: str) -> None:
    """The board's decode of the cut graph gives upstream's rows: boxes, scores and landmarks."""
    recorded = np.load(DATA / f"{case}.npz")
    network = open_network(DATA / f"{case}.pth", imgsz=recorded["input"].shape[2:])
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    assert (spec.family, spec.class_names, spec.input.color, spec.input.mean[0]) == (
        "retinaface",
        ("face",),
        "bgr",
        104,
    )
    assert {output.shape[1] for output in outputs if output.role == "scores"} <= {2, 3}
    image = np.ascontiguousarray(recorded["input"].transpose(0, 2, 3, 1))
    assert verify(network.trained, network.reference_head, graph, spec, [("recorded", image)]).decode_proven
    raw = Session(graph).run({"images": network_input(image, spec)})
    fields = decoder_for(spec).decode_dense([HeadTensor(raw[output.name]) for output in outputs])
    found = {field.name: field.values for field in fields}
    low, high = found["xy"] - found["wh"] / 2, found["xy"] + found["wh"] / 2
    np.testing.assert_allclose(np.concatenate((low, high), axis=1), recorded["pred"][:, :4], atol=2e-3)
    np.testing.assert_allclose(found["scores"], recorded["pred"][:, 4:5], atol=1e-5)
    np.testing.assert_allclose(found["keypoint_xy"], recorded["pred"][:, 5:], atol=2e-3)


def test_inspect_says_what_it_is() -> None:
    found = inspect_file(DATA / "mobile.pth")
    assert found.builds
    assert not found.needed
    assert dict(found.rows)["family"] == "retinaface, Pytorch_Retinaface, MobileNet 0.125"


def test_statistics_that_do_not_decide() -> None:
    """Weights whose statistics fit neither activation are refused: anchors would be guessed."""
    tensors = tensors_of(read_checkpoint(DATA / "mobile.pth"))
    root = module_from_state_dict({name: ones(tensor.shape) for name, tensor in tensors.items()})
    first = root.child("body").child("stage1")
    with pytest.raises(CheckpointError, match="do not show whether its activations are ReLU or LeakyReLU"):
        likeliest_slope(first.child("0"), first.child("1"), retinaface.MEAN, (0.0, 0.1))


def test_weights_that_do_not_fit() -> None:
    """A missing part is named."""
    checkpoint = read_checkpoint(DATA / "slim.pth")
    info = retinaface.describe(checkpoint)
    tensors = {n: t for n, t in tensors_of(checkpoint).items() if not n.startswith("conv5.")}
    broken = replace(checkpoint, root=module_from_state_dict(tensors))
    with pytest.raises(RkdeployError, match='no sub-module "conv5"'):
        retinaface.export(broken, info, 64, 64)

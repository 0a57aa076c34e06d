"""ONNX files of the vendor's forks, which end in raw tensors: read, cut and decoded as the checkpoint is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from rkdeploy.contract.record import Verification
from rkdeploy.device.postprocess.decoder import DenseField
from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import GraphError, VerificationError
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.verification import verify_contract
from rkdeploy.host.export.exported import Exported
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from tests.host.building.fork_graphs import ForkGraph, concatenated, exported, separate, yolov5_segments

DATA = Path(__file__).parents[2] / "data"
GROUPS = ("ultralytics", "yolov5", "yolov7")
HW = (64, 96)
NINE = partial(separate, sums=True)
SIX = partial(separate, sums=False)
CLASSES_FIRST = partial(separate, sums=False, scores_first=True)
Form = Callable[[Exported], ForkGraph]


def checkpoint(case: str) -> Path:
    return next(DATA / group / f"{case}.pt" for group in GROUPS if (DATA / group / f"{case}.pt").exists())


def prove(network: Network, options: CutOptions) -> tuple[Verification, tuple[DenseField, ...]]:
    """A build up to its proof, on noise, and the decoded rows of one image of noise."""
    graph, outputs = cut(network.simplified, network.head, options)
    verification = verify_contract(network, graph, network.contract(outputs), ())
    return verification, decoded(network, options)


def decoded(network: Network, options: CutOptions = CutOptions()) -> tuple[DenseField, ...]:  # noqa: B008  (frozen)
    """The decoded rows of one image of noise."""
    graph, outputs = cut(network.simplified, network.head, options)
    spec = network.contract(outputs)
    pixels = np.random.default_rng(5).random((1, 3, *network.input_hw), np.float32)
    tensors = Session(graph).run({spec.input.name: pixels})
    return decoder_for(spec).decode_dense([HeadTensor(tensors[o.name]) for o in spec.outputs])


def assert_equal(found: tuple[DenseField, ...], expected: tuple[DenseField, ...]) -> None:
    assert [field.name for field in found] == [field.name for field in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours.values - theirs.values).max() < {"px": 2e-3, "score": 1e-5}.get(ours.unit, 1e-4), ours.name


@pytest.mark.parametrize(
    ("case", "form"),
    [
        ("v8", NINE),
        ("old_8_0_0", SIX),
        ("v11n", CLASSES_FIRST),
        ("v10n", SIX),
        ("v26n", NINE),
        ("v8_seg", NINE),
        ("v26_seg", NINE),
        ("v8_pose", concatenated),
        ("v11_pose_21x2", concatenated),
        ("v8_pose_2x3", NINE),  # raw keypoints, which only the checkpoint can read
        ("v26_pose", concatenated),
        ("v8_obb", concatenated),
        ("v11_obb", NINE),
        ("v26_obb", concatenated),
        ("seg", yolov5_segments),
    ],
)
def test_with_weights(case: str, form: Form, tmp_path: Path) -> None:
    """With its checkpoint a fork's graph is proven and decodes to the same rows."""
    file = form(exported(checkpoint(case), HW)).save(tmp_path / "best.onnx")
    network = open_network(file, checkpoint(case))
    own = open_network(checkpoint(case), imgsz=HW)
    assert (network.task, network.class_names) == (own.task, own.class_names)
    assert network.head.end_to_end == own.head.end_to_end
    assert not any("sum" in output.name for output in cut(network.simplified, network.head, CutOptions())[1])
    verification, rows = prove(network, CutOptions())
    assert verification.decode_proven
    assert verification.rows > 0
    assert_equal(rows, decoded(own))


@pytest.mark.parametrize(
    ("case", "form", "task"),
    [
        ("old_8_0_0", NINE, "detect"),
        ("old_8_0_0", CLASSES_FIRST, "detect"),
        ("old_8_0_0_seg", NINE, "segment"),
        ("old_8_0_200_pose", concatenated, "pose"),
        ("v26_o2m", NINE, "detect"),
    ],
)
def test_alone(case: str, form: Form, task: str, tmp_path: Path) -> None:
    """Without a checkpoint the roles are found all the same, classes are numbered, and nothing is called proven."""
    file = form(exported(checkpoint(case), HW)).save(tmp_path / "best.onnx")
    network = open_network(file)
    assert network.task == task
    assert network.class_names == tuple(f"class_{i}" for i in range(len(network.class_names)))
    assert any("nothing proves that they are decoded correctly" in note for note in network.notes)
    verification, rows = prove(network, CutOptions())
    assert (verification.decode_proven, verification.rows) == (False, 0)
    assert len(verification.fields) == len(onnx.load(file).graph.output)
    assert_equal(rows, decoded(open_network(checkpoint(case), imgsz=HW)))


def test_cut_with_logits(tmp_path: Path) -> None:
    """The graph's own sigmoid counts for nothing: a cut without any gives logits, and the same rows."""
    network = open_network(NINE(exported(checkpoint("v8"), HW)).save(tmp_path / "best.onnx"), checkpoint("v8"))
    options = CutOptions("boxes_scores", "none")
    activations = {o.activation for o in cut(network.simplified, network.head, options)[1]}
    assert activations == {"linear"}
    assert_equal(prove(network, options)[1], decoded(network))


@pytest.mark.parametrize("end_to_end", [True, False])
def test_either_head_of_two(end_to_end: bool, tmp_path: Path) -> None:
    """Of a checkpoint with two heads the one that the graph was exported with is taken, by its values."""
    source = exported(checkpoint("v10n"), HW, end_to_end=end_to_end)
    network = open_network(NINE(source).save(tmp_path / "best.onnx"), checkpoint("v10n"))
    assert network.head.end_to_end == end_to_end
    assert prove(network, CutOptions())[0].decode_proven


@pytest.mark.parametrize(
    ("case", "form", "message"),
    [
        ("v8_pose_2x3", NINE, "does not say how its keypoints are read"),
        ("v26_obb", concatenated, "does not say how its angles are read"),
        ("v8", NINE, "its boxes have 16 channels, expected 4, 64, 68"),
        ("seg", yolov5_segments, "no decode, and therefore no anchors"),
    ],
)
def test_too_little_alone(case: str, form: Form, message: str, tmp_path: Path) -> None:
    """Facts missing in a graph are not guessed: it is refused without the checkpoint, which has them."""
    file = form(exported(checkpoint(case), HW)).save(tmp_path / "best.onnx")
    with pytest.raises(GraphError, match=rf"{message}.*--weights best\.pt"):
        open_network(file)


def test_checkpoint_of_another_model(tmp_path: Path) -> None:
    """Other weights of the same shapes fail the proof; other tensors are refused before it."""
    file = NINE(exported(checkpoint("v8"), HW)).save(tmp_path / "best.onnx")
    changed = onnx.load(file)
    weight = next(c for c in changed.graph.initializer if len(c.dims) == 4 and c.dims[1] > 1)
    weight.CopyFrom(onnx.numpy_helper.from_array(1.5 * onnx.numpy_helper.to_array(weight), weight.name))
    onnx.save(changed, tmp_path / "other.onnx")
    with pytest.raises(VerificationError, match="differ"):
        prove(open_network(tmp_path / "other.onnx", checkpoint("v8")), CutOptions())
    with pytest.raises(GraphError, match=r"head has dfl_boxes \(16 channels\), scores .*from the checkpoint"):
        open_network(file, checkpoint("v8_obb"))


def test_sum_of_other_things(tmp_path: Path) -> None:
    """A map of one channel that is not a sum is not dropped if only a convolution follows it."""
    graph = SIX(exported(checkpoint("v8"), HW))
    boxes = graph.levels()[0][0]
    hidden = graph.model.graph.output[1].name
    del graph.model.graph.output[1]
    graph.show(graph.clipped_sum(hidden))  # the scores themselves are not shown any more
    with pytest.raises(GraphError, match="head"):
        open_network(graph.save(tmp_path / "best.onnx"))
    assert boxes.shape[1] % 4 == 0


def test_permuted_channels(tmp_path: Path) -> None:
    """A graph whose output lists a convolution's channels in another order is not taken for that convolution."""
    graph = SIX(exported(checkpoint("old_8_0_0"), HW))
    boxes = graph.levels()[0][0]
    graph.model.graph.output.remove(next(o for o in graph.model.graph.output if o.name == boxes.tensor))
    order = graph.constant(np.arange(boxes.shape[1])[::-1].copy())
    graph.show(graph.node("Gather", boxes.tensor, order, axis=1))
    with pytest.raises(GraphError):
        open_network(graph.save(tmp_path / "best.onnx"))


def test_names_for_a_graph_without(tmp_path: Path) -> None:
    """Names in the metadata count as in any other ONNX file."""
    graph = NINE(exported(checkpoint("old_8_0_0"), HW))
    count = graph.levels()[0][1].shape[1]
    helper.set_model_props(graph.model, {"names": str({i: f"part {i}" for i in range(count)})})
    network = open_network(graph.save(tmp_path / "best.onnx"))
    assert network.class_names == tuple(f"part {i}" for i in range(count))

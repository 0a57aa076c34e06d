"""Maps from ONNX files: the board's decode of the cut graph against the file's own output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import GraphError, RkdeployError
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.presets import PresetName
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input, verify
from rkdeploy.images.fit import LetterboxTransform

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "maps"
PLANES = (
    "tail_none", "tail_resize", "tail_corners", "tail_argmax", "tail_argmax_int32", "tail_corners_softmax",
    "tail_softmax_resize", "tail_nearest", "tail_nhwc", "tail_nhwc_image", "tail_two", "tail_513",
    "torchvision_lraspp", "torchvision_fcn_aux", "segformer",
)  # fmt: skip


def opened(case: str, preset: PresetName | None = None, **others: object) -> Network:
    choice = InputChoice(preset=preset, **others)  # type: ignore[arg-type]  # by keyword
    return with_choice(open_network(DATA / f"{case}.onnx"), choice)


def both(case: str, preset: PresetName) -> tuple[NDArray[np.generic], Detections, Network]:
    """The file's own output for an image of the network's size, and the result in that image's pixels."""
    network = opened(case, preset)
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    height, width = network.input_hw
    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    proof = verify(network.reference, network.reference_head, graph, spec, [("noise", image)])
    assert all(field.excess <= 1 for field in proof.fields)
    pixels = network_input(image, spec)
    file = onnx.load(DATA / f"{case}.onnx")
    own = Session(file)
    last = [d.dim_value for d in file.graph.input[0].type.tensor_type.shape.dim][3] == 3
    given = own.run({file.graph.input[0].name: np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)) if last else pixels})
    tensors = [HeadTensor(Session(graph).run({spec.input.name: pixels})[output.name]) for output in outputs]
    found = Postprocessor(spec, Thresholds())(tensors, LetterboxTransform(1.0, 1.0, 0.0, 0.0, (height, width)))
    return given[own.output_names[0]], found, network


@pytest.mark.parametrize("case", PLANES)
def test_classes_equal_the_graphs(case: str) -> None:
    """Each pixel has the class that the file's own output has; of coarse scores at the places of the scores."""
    theirs, found, network = both(case, "imagenet")
    ids = found.class_maps[0].class_ids
    assert (network.task, ids.shape) == ("semantic", network.input_hw)
    if theirs.ndim == 4 and theirs.shape[-1] in (5, 21):
        theirs = theirs.transpose(0, 3, 1, 2)
    classes = theirs.reshape(-1, *theirs.shape[-2:]) if theirs.dtype.kind == "i" else theirs.argmax(axis=1)
    if classes.shape[1:] == ids.shape:
        assert (classes[0] == ids).mean() > 0.998
        return
    stride = network.head.taps[0].stride
    near = ids[stride // 2 :: stride, stride // 2 :: stride] if case != "tail_513" else ids[::8, ::8]
    assert (classes[0] == near).mean() > (0.99 if case == "tail_513" else 0.8)  # half a pixel from a score's place


def test_one_value_is_what_the_preset_says() -> None:
    """The same graph as depth and as a mask; depth equals its output."""
    theirs, found, network = both("tail_value", "depth-anything")
    assert (network.task, network.class_names) == ("depth", ("depth",))
    assert found.depth is not None
    assert found.depth.kind == "inverse"
    np.testing.assert_allclose(found.depth.values, theirs[0].astype(np.float32), atol=1e-4)
    assert opened("tail_value", "depth-anything-metric").contract(()).depth is not None
    theirs, found, network = both("tail_value", "mask")
    assert (network.task, network.class_names) == ("semantic", ("background", "foreground"))
    assert ((theirs[0] > 0) == found.class_maps[0].class_ids).mean() > 0.998


def test_depth_anything() -> None:
    """The network of transformers, with its own size."""
    theirs, found, _ = both("depth_anything", "depth-anything")
    assert found.depth is not None
    np.testing.assert_allclose(found.depth.values, theirs[0].astype(np.float32), atol=1e-4)


@pytest.mark.parametrize("case", ["tail_sigmoid", "tail_above"])
def test_masks(case: str) -> None:
    """Above a probability of 0.5, with or without the sigmoid in the graph."""
    theirs, found, network = both(case, "mask")
    expected = theirs.reshape(network.input_hw).astype(np.float32) > 0.5
    assert (expected == found.class_maps[0].class_ids).mean() > 0.998
    assert found.class_maps[0].background


def test_names_of_classes(tmp_path: Path) -> None:
    """Given names reach the map; one that is called background is one; a mask needs the name of its class alone."""
    names = tmp_path / "names.txt"
    names.write_text("background\nroad\ncar\ntree\nsky\n")
    (stated,) = opened("tail_resize", "imagenet", names=names).contract(()).class_maps
    assert (stated.class_names[1], stated.background) == ("road", True)
    (unnamed,) = opened("tail_resize", "imagenet").contract(()).class_maps
    assert (unnamed.class_names[0], unnamed.background) == ("class_0", False)
    names.write_text("person\n")
    assert opened("tail_sigmoid", "mask", names=names).class_names == ("background", "person")


def test_what_the_graph_does_not_say() -> None:
    """Without a preset the error names those that fit; mean and deviation are enough for classes, not for one value."""
    with pytest.raises(GraphError, match="a class for each pixel, and its file does not say how") as caught:
        opened("tail_resize")
    assert "--preset deeplab" in caught.value.hint
    assert "--preset midas" not in caught.value.hint
    with pytest.raises(
        GraphError, match=r"one value for each pixel, .* whether that is a depth, a mask or areas of text"
    ):
        opened("tail_value", mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
    network = opened("tail_resize", mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    assert (network.input.mean, network.input.std, network.input.fit) == ((1, 2, 3), (4, 5, 6), "stretch")
    deeplab = opened("tail_513", "deeplab").input
    assert (deeplab.mean[0], deeplab.std[0], deeplab.fit, deeplab.antialias) == (127.5, 127.5, "stretch", False)


@pytest.mark.parametrize(
    ("case", "preset", "message"),
    [
        ("tail_resize", "midas", "--preset midas does not fit"),
        ("tail_sigmoid", "midas", "--preset midas does not fit"),
        ("tail_resize", "yolox", "--preset yolox does not fit"),
    ],
)
def test_presets_that_do_not_fit(case: str, preset: PresetName, message: str) -> None:
    """A depth of classes, a depth behind a sigmoid, a detector's."""
    with pytest.raises(RkdeployError, match=message):
        opened(case, preset)


@pytest.mark.slow
def test_int8_build(tmp_path: Path) -> None:
    """The toolkit builds torchvision's LRASPP, cut before it is enlarged, and the proof compares class maps."""
    options = BuildOptions(
        model=DATA / "torchvision_lraspp.onnx",
        input=InputChoice(preset="imagenet"),
        calib=ROOT / "calib_data",
        calib_count=4,
        proof_images=4,
        min_agreement=0.0,
        remedies=False,
        out=tmp_path,
    )
    bundle = build(options, BuildEvents())
    agreement = bundle.record.agreement
    assert agreement is not None
    assert agreement.class_maps[0].same > 0.6
    assert {one.name for one in agreement.measures} == {"mean_iou", "same_class"}
    assert bundle.spec.outputs[0].shape == (1, 5, 16, 24)


def test_what_ultralytics_exporter_says(tmp_path: Path) -> None:
    """Its metadata have the task and the names, so that no preset is needed: letterboxed classes, stretched meters."""
    networks = {}
    for case, task, names in (
        ("tail_argmax", "semantic", "abcde"),
        ("tail_above", "semantic", "a"),
        ("tail_value", "depth", "a"),
    ):
        model = onnx.load(DATA / f"{case}.onnx")
        written = {"author": "Ultralytics", "task": task, "names": str(dict(enumerate(names)))}
        onnx.helper.set_model_props(model, written)
        onnx.save(model, tmp_path / f"{case}.onnx")
        networks[case] = with_choice(open_network(tmp_path / f"{case}.onnx"), InputChoice())
    many, one, depth = (networks[case] for case in ("tail_argmax", "tail_above", "tail_value"))
    assert (many.task, many.class_names, many.input.fit) == ("semantic", tuple("abcde"), "letterbox")
    assert one.class_names == ("background", "a")
    assert (depth.task, depth.input.fit, depth.input.antialias) == ("depth", "stretch", False)
    assert depth.head.depth is not None
    assert depth.head.depth.kind == "metric"

"""Embeddings from ONNX files: the board's decode of the cut graph against what the packages compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.analysis.inspection.onnx_file import inspect_onnx
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import GraphError, RkdeployError
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.embedding_presets import EMBEDDING_PRESETS
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input, verify
from rkdeploy.images.fit import LetterboxTransform

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "vectors"
HALF = (127.5, 127.5, 127.5)
CERTAIN = ("iresnet", "osnet", "normalized", "pixels_inside", "vit", "siglip", "resnet")
UNCERTAIN = ("mobilefacenet", "clip")


def opened(case: str, **given: object) -> Network:
    return with_choice(open_network(DATA / f"{case}.onnx"), InputChoice(**given))  # type: ignore[arg-type]  # by keyword


def noise(hw: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The image that the packages' vectors were recorded for."""
    return np.random.default_rng(7).integers(0, 256, (*hw, 3)).astype(np.uint8)


def board_vector(case: str) -> tuple[NDArray[np.float32], NDArray[np.float32], Network]:
    """The board's vector for the recorded image, the package's own one, and the network; the contract is proven."""
    network = opened(case, preset="arcface")
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    assert (spec.task, spec.class_names, spec.family) == ("embedding", ("embedding",), "onnx")
    assert spec.input.mean == ((0.0,) * 3 if case == "pixels_inside" else HALF)
    image = noise(network.input_hw)
    proof = verify(network.reference, network.reference_head, graph, spec, [("noise", image[None])])
    assert all(field.excess <= 1 for field in proof.fields)
    raw = Session(graph).run({spec.input.name: network_input(image[None], spec)})
    found = Postprocessor(spec, Thresholds())(
        [HeadTensor(raw[output.name]) for output in outputs], LetterboxTransform(1, 1, 0, 0, network.input_hw)
    )
    assert found.embedding is not None
    return found.embedding, np.load(DATA / "vectors.npz")[case], network


@pytest.mark.parametrize("case", [*CERTAIN, *UNCERTAIN])
def test_the_package_s_own_vector(case: str) -> None:
    found, recorded, network = board_vector(case)
    assert network.proves_decode
    np.testing.assert_allclose(found, recorded / np.linalg.norm(recorded), atol=2e-6)


@pytest.mark.parametrize("case", UNCERTAIN)
def test_nothing_says_that_it_is_an_embedding(case: str) -> None:
    with pytest.raises(GraphError, match="does not say whether they are an embedding") as caught:
        opened(case)
    assert "--preset arcface" in str(caught.value.hint)
    assert "--task classify" in str(caught.value.hint)
    assert opened(case, task="classify").task == "classify"
    by_hand = opened(case, task="embedding", mean=HALF, std=HALF)
    assert (by_hand.task, by_hand.input.std) == ("embedding", HALF)


def test_class_names_make_classes_of_it(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"n{i}\n" for i in range(64)))
    network = opened("mobilefacenet", names=names)
    assert (network.task, network.class_names[:2]) == ("classify", ("n0", "n1"))
    with pytest.raises(RkdeployError, match="has no classes"):
        opened("iresnet", names=names)


def test_the_error_names_the_presets_of_its_size() -> None:
    with pytest.raises(GraphError, match="how its images are prepared") as caught:
        opened("osnet")
    for name in EMBEDDING_PRESETS:  # 64x32 is of none: all are named
        assert f"--preset {name} (" in str(caught.value.hint)
    assert opened("pixels_inside").input.std == (1.0, 1.0, 1.0)  # needs none


def test_presets_say_input_and_alignment() -> None:
    person = opened("osnet", preset="osnet")
    assert (person.input.fit, person.input.antialias, person.input.mean[0]) == ("stretch", True, 123.675)
    face = opened("iresnet", preset="arcface")
    assert face.head.embedding is not None
    assert (face.head.embedding.alignment, face.input.color) == ("face", "rgb")
    assert opened("clip", preset="clip").input.fit == "center_crop"
    assert opened("clip", preset="clip", fit="stretch").input.fit == "stretch"


@pytest.mark.parametrize(
    ("case", "given", "message"),
    [
        ("iresnet", {"preset": "yolox"}, "not of an embedding"),
        ("iresnet", {"task": "classify"}, "ends as an embedding does"),
        ("clip", {"task": "classify", "preset": "clip"}, "is of an embedding"),
    ],
)
def test_contradictions(case: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(RkdeployError, match=message):
        opened(case, **given)


def test_detectors_take_neither() -> None:
    detector = open_network(ROOT / "tests" / "data" / "maps" / "tail_none.onnx")
    with pytest.raises(RkdeployError, match="does not fit"):
        with_choice(detector, InputChoice(preset="arcface"))
    with pytest.raises(RkdeployError, match="--task is embedding"):
        with_choice(detector, InputChoice(task="embedding"))


@pytest.mark.slow
def test_int8_build(tmp_path: Path) -> None:
    """The toolkit builds a face network with PReLU and a depthwise end, and the proof compares embeddings."""
    options = BuildOptions(
        model=DATA / "mobilefacenet.onnx",
        input=InputChoice(preset="mobilefacenet"),
        calib=ROOT / "calib_data",
        calib_count=4,
        proof_images=4,
        out=tmp_path,
    )
    bundle = build(options, BuildEvents())
    agreement = bundle.record.agreement
    assert agreement is not None
    assert agreement.embedding is not None
    assert agreement.embedding.cosine > 0.97
    assert bundle.spec.outputs[0].shape == (1, 64, 1, 1)
    assert bundle.spec.embedding is not None
    assert bundle.spec.embedding.alignment == "face"


def test_inspect_says_what_a_build_needs() -> None:
    """The presets of the size; nothing for a graph that prepares its pixels."""
    needed = {case: inspect_onnx(DATA / f"{case}.onnx").document.needed for case in ("clip", "osnet", "pixels_inside")}  # type: ignore[union-attr]  # of an ONNX file
    assert "whether its numbers are an embedding (--preset arcface or" in needed["clip"]
    assert "--task classify" in needed["clip"]
    assert "what prepared its images: --preset arcface or" in needed["osnet"]
    assert needed["pixels_inside"] == ""

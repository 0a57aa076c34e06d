"""Every recorded model of every family goes all the way to its cut graph, which all float backends read alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.backends import open_runtime
from rkdeploy.device.runtime.onnxruntime import OnnxRuntime
from rkdeploy.device.runtime.opencv_dnn import OpencvDnn
from rkdeploy.device.stream.detector import Detector
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.network import Network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.verify import verify
from rkdeploy.images.file import read_image
from tests.host.families.vectors import Vector, vectors

ROOT = Path(__file__).parents[3]

ALL = vectors()
BUILT = (
    "yolov5-seg", "yolov5-cls", "ultralytics-v8_pose_2x3", "ultralytics-v11_obb", "ultralytics-v12n",
    "ultralytics-v26_sem", "ultralytics-v26_depth", "ultralytics-v26_seg",
    "ultralytics-v10n", "yolor-paper_p6", "yolop-end_to_end", "yolov7-v7_training",
    "yolov5_face-n05", "yolov7_pose-w6_pose", "rtdetr-yolov8_blocks", "text-plate_color",
)  # fmt: skip
"""One of each kind of head, and the networks with attention, which toolkit 2.5.0 has trouble with."""
BUILT_AT = {
    "ultralytics-v10n": (64, 96), "yolor-paper_p6": (64, 128), "yolov7_pose-w6_pose": (64, 128),
    "rtdetr-yolov8_blocks": (128, 160),
}  # fmt: skip
"""Input sizes of builds where the recorded one is larger than the head needs: the time of a build is in its cells."""

NOT_FOR_OPENCV = ("yolov6-lite_s", "yolov6-face_lite_s", "torchvision_ssd-lite", "torchvision_ssd-lite_one_class")
"""Excitation by a HardSigmoid, whose gate OpenCV 4.11 gives the shape of the whole product."""


def cut_to(folder: Path, network: Network) -> tuple[Path, onnx.ModelProto, ModelSpec]:
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    path = folder / "cut.onnx"
    onnx.save(graph, str(path))
    return path, graph, network.contract(outputs)


@dataclass(frozen=True, slots=True)
class CutModel:
    """A recorded model and its cut graph, which both tests of float share."""

    vector: Vector
    network: Network
    path: Path
    graph: onnx.ModelProto
    spec: ModelSpec

    def recorded(self) -> NDArray[np.uint8]:
        """The recorded picture, enlarged to the network's size."""
        image, size = self.vector.image(), self.spec.input
        _, height, width, _ = image.shape
        return np.ascontiguousarray(image.repeat(size.height // height, 1).repeat(size.width // width, 2))

    def image(self, seed: int) -> NDArray[np.uint8]:
        """Noise of the network's size."""
        size = self.spec.input
        return np.random.default_rng(seed).integers(0, 256, (1, size.height, size.width, 3), np.uint8)


@pytest.fixture(scope="module", params=ALL, ids=lambda v: v.key)
def cut_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CutModel:
    # Twice the recorded size: OpenCV 4.11 gets a depthwise convolution over one row of cells wrong.
    vector: Vector = request.param
    height, width = (side * (1 if vector.group == "text" else 2) for side in vector.hw)  # text has a height of its own
    network = vector.open(hw=(height, width))
    return CutModel(vector, network, *cut_to(tmp_path_factory.mktemp("cut"), network))


def test_cut_is_proven(cut_model: CutModel) -> None:
    """The contract's decode of the cut graph equals the trained decode, on the recorded picture and on noise."""
    network, images = cut_model.network, [("recorded", cut_model.recorded()), ("noise", cut_model.image(1))]
    proof = verify(network.reference, network.reference_head, cut_model.graph, cut_model.spec, images)
    assert proof.rows > 0
    assert all(error.excess <= 1 for error in proof.fields)


def test_float_backends_agree(cut_model: CutModel) -> None:
    """Onnxruntime and OpenCV agree on every head tensor to 1e-3 of its largest value (1 at least), or it is refused."""
    vector, spec, image = cut_model.vector, cut_model.spec, cut_model.image(0)
    if vector.group == "rtdetr" or vector.key in NOT_FOR_OPENCV:
        # OpenCV 4.11 does not know RT-DETR's GridSample.
        with (
            pytest.raises(RkdeployError, match=r"OpenCV|opencv_dnn") as refused,
            OpencvDnn(cut_model.path, spec) as opencv,
        ):
            opencv.infer(image)
        assert "onnxruntime" in str(refused.value)
        return
    with OnnxRuntime(cut_model.path, spec) as runtime:
        expected = [tensor.values.copy() for tensor in runtime.infer(image)]
    with OpencvDnn(cut_model.path, spec) as opencv:
        for a, b in zip(expected, opencv.infer(image), strict=True):
            assert np.abs(a - b.values).max() < 1e-3 * max(1.0, float(np.abs(a).max()))


@pytest.mark.slow
@pytest.mark.parametrize("vector", [v for v in ALL if v.key in BUILT], ids=lambda v: v.key)
def test_int8_build_and_detections(vector: Vector, tmp_path: Path) -> None:
    """The real toolkit builds it in INT8, and the bundle's own backend gives what the task promises."""
    options = BuildOptions(
        model=vector.checkpoint,
        cfg=vector.cfg,
        imgsz=BUILT_AT.get(vector.key, vector.hw),
        calib=ROOT / "calib_data",
        calib_count=4,
        proof_images=2,
        min_agreement=0.0,
        remedies=False,
        out=tmp_path,
    )
    bundle = build(options, BuildEvents())
    assert bundle.record.agreement is not None
    # Random weights and four images of calibration: a tensor that quantization broke would be near 0.
    assert all(output.cosine > 0.6 for output in bundle.record.agreement.outputs)
    picture = read_image(ROOT / "calib_data" / "images" / "val" / "val_0001.jpg")
    thresholds = Thresholds(confidence=0.01)
    with open_runtime("onnxruntime", bundle) as runtime:
        found = Detector(runtime, bundle.spec, thresholds)(picture)
    spec = bundle.spec
    assert (found.keypoints is not None) == (spec.task == "pose")
    assert (found.masks is not None) == (spec.task == "segment")
    assert (found.rotated is not None) == (spec.task == "obb")
    assert (found.ranking is not None) == any(output.role == "class_scores" for output in spec.outputs)
    assert (found.text is not None) == (spec.task == "text")
    assert len(found.class_maps) == len(spec.class_maps)
    assert all(m.class_ids.shape == picture.shape[:2] for m in found.class_maps)
    assert (found.depth is not None) == (spec.task == "depth")
    assert found.depth is None or found.depth.values.shape == picture.shape[:2]
    assert len(found) > 0 or spec.task in ("classify", "semantic", "depth", "text")


def test_every_built_case_is_there() -> None:
    """The list of builds names recorded cases only."""
    assert set(BUILT_AT) < set(BUILT) <= {vector.key for vector in ALL}

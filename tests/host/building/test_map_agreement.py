"""Agreement of class maps and depth with the float model's, and what the gate makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import ClassMapSpec, DepthFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.detections import FoundDepth
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import VerificationError
from rkdeploy.host.building.agreement_gate import FEWEST_MAPS, proof_of, require_agreement
from rkdeploy.host.building.agreement_meter import AgreementMeter
from rkdeploy.host.building.map_agreement import ClassMapAgreement, DepthMapAgreement
from rkdeploy.images.fit import LetterboxTransform


def ids(*counts: int) -> NDArray[np.uint8]:
    """A map of one row with so many pixels of class 0, 1, ..."""
    return np.repeat(np.arange(len(counts)), counts).astype(np.uint8)[None]


def test_stray_pixels_do_not_count() -> None:
    """A class that float gives to fewer than one pixel in a thousand has no say in the mean; a larger one has."""
    for stray, expected in ((9, 1.0), (10, 2 / 3)):
        meter = ClassMapAgreement(3)
        reference = ids(5000, 5000 - stray, stray)
        meter.add(reference, np.minimum(reference, 1))
        found = meter.result("semantic")
        assert found.mean_iou == pytest.approx(expected, abs=2e-3)
        assert found.same == pytest.approx(1 - stray / 10_000)
    assert ClassMapAgreement(2).result("semantic").mean_iou is None


def test_interval_over_images() -> None:
    """Images that agree and images that do not: the interval lies around the mean."""
    meter = ClassMapAgreement(2)
    for image in range(20):
        meter.add(ids(50, 50), ids(50, 50) if image % 2 else ids(100, 0))
    found = meter.result("semantic")
    assert found.same == 0.75
    assert found.same_interval is not None
    assert found.same_interval[0] < 0.75 < found.same_interval[1]
    assert found.same_interval[0] > 0.6


def test_depth_is_averaged_over_images() -> None:
    """Each image weighs the same, however large; no image gives nothing."""
    meter = DepthMapAgreement()
    assert meter.result() is None
    for size, factor in ((4, 1.1), (40, 1.5)):
        truth = np.full((size, size), 3.0, np.float32)
        meter.add(FoundDepth(truth, "metric"), FoundDepth(truth * np.float32(factor), "metric"))
    found = meter.result()
    assert found is not None
    assert found.abs_rel == pytest.approx(0.3, abs=1e-6)
    assert found.delta1 == 0.5


def depth_spec() -> ModelSpec:
    return ModelSpec(
        family="ultralytics",
        task="depth",
        class_names=("depth",),
        input=InputSpec("images", 16, 16, fit="stretch"),
        outputs=(HeadOutput("depth", "depth_map", 0, 4, (1, 1, 4, 4)),),
        depth=DepthFormula("metric", exponential=True, corners=True),
    )


def depth_agreement(images: int, error: float) -> AgreementMeter:
    """Images whose depths all differ by a factor."""
    meter = AgreementMeter(depth_spec())
    raw = np.linspace(0, 2, 16, dtype=np.float32).reshape(1, 1, 4, 4)
    for _ in range(images):
        built = HeadTensor(raw + np.float32(np.log1p(error)))
        meter.add([HeadTensor(raw)], [built], LetterboxTransform(1.0, 1.0, 0.0, 0.0, (16, 16)))
    return meter


def test_depth_that_is_far_off_is_refused() -> None:
    """40 %, as INT8 loses: refused at defaults even on the few images of a small set, and fp16 is named."""
    agreement = depth_agreement(FEWEST_MAPS, 0.4).result("simulator", "folder")
    assert agreement.depth is not None
    assert agreement.depth.abs_rel == pytest.approx(0.4, abs=1e-4)
    with pytest.raises(VerificationError, match=r"depths differ from the float model's by 40\.0 %") as caught:
        require_agreement(agreement, 0.85)
    assert "--dtype fp16" in caught.value.hint
    require_agreement(agreement, 0.0)


@pytest.mark.parametrize(
    ("images", "error", "standing", "reason"),
    [
        (8, 0.01, "agrees", "measured"),
        (8, 0.1, "weak", "measured"),
        (FEWEST_MAPS - 1, 0.01, "unproven", "few_images"),
    ],
)
def test_standing_of_depth(images: int, error: float, standing: str, reason: str) -> None:
    """Good from 5 %, and only where there are enough images."""
    proof = proof_of(depth_agreement(images, error).result("simulator", "folder"))
    assert (proof.standing, proof.reason) == (standing, reason)


def test_a_semantic_map_is_judged_by_pixels_too() -> None:
    """Two measures: mean IoU, and the share of equal pixels."""
    contract = ModelSpec(
        family="ultralytics",
        task="semantic",
        class_names=("road", "car"),
        input=InputSpec("images", 16, 16),
        outputs=(HeadOutput("semantic", "class_map", 0, 1, (1, 2, 16, 16)),),
        class_maps=(ClassMapSpec("semantic", ("road", "car"), background=False),),
    )
    meter = AgreementMeter(contract)
    scores = np.zeros((1, 2, 16, 16), np.float32)
    scores[0, 1, :8] = 1.0
    other = scores.copy()
    other[0, 1, :6] = -1.0
    for _ in range(4):
        meter.add([HeadTensor(scores)], [HeadTensor(other)], LetterboxTransform(1.0, 1.0, 0.0, 0.0, (16, 16)))
    measures = {one.name: one.value for one in meter.result("simulator", "folder").measures}
    assert measures == {"mean_iou": pytest.approx((128 / 224 + 32 / 128) / 2), "same_class": pytest.approx(160 / 256)}

"""Agreement of embeddings with the float model's, and what the gate makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import EmbeddingFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.embedding_reader import unit_vector
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import VerificationError
from rkdeploy.host.building.agreement_gate import FEWEST_IMAGES, proof_of, require_agreement
from rkdeploy.host.building.agreement_meter import AgreementMeter
from rkdeploy.host.building.embedding_agreement import EmbeddingAgreementMeter
from rkdeploy.images.fit import LetterboxTransform

SAME = LetterboxTransform(1.0, 1.0, 0.0, 0.0, (8, 8))
WIDTH = 32


def at(degrees: float) -> NDArray[np.float32]:
    """A vector of length 1 in the plane."""
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


def test_by_hand() -> None:
    """Cosines of 60 and 0 degrees; the third image's nearest becomes another one, which float has far away."""
    meter = EmbeddingAgreementMeter()
    for float_at, built_at in ((0, 0), (90, 90), (170, 110)):
        meter.add(at(float_at), at(built_at))
    found = meter.result()
    assert found is not None
    assert found.cosine == pytest.approx(2.5 / 3)
    assert found.worst == pytest.approx(0.5, abs=1e-6)
    assert found.nearest == 1.0  # 90 degrees is the nearest of all others in both
    meter.add(at(140), at(0))
    changed = meter.result()
    assert changed is not None
    assert changed.nearest == 0.0


def test_alike_images_are_no_loss() -> None:
    """Rounding decides between two images with nearly the same cosine."""
    meter = EmbeddingAgreementMeter()
    for float_at, built_at in ((0, 0), (10, 32), (-32, -10)):
        meter.add(at(float_at), at(built_at))
    found = meter.result()
    assert found is not None
    assert found.nearest == 1.0


def test_too_few_images_have_no_nearest() -> None:
    meter = EmbeddingAgreementMeter()
    assert meter.result() is None
    meter.add(at(0), at(0))
    meter.add(at(9), at(9))
    found = meter.result()
    assert found is not None
    assert found.nearest is None
    assert found.cosine == pytest.approx(1.0)


def judged(noise: float, images: int = 20) -> AgreementMeter:
    """Random embeddings, and the same with noise of a length of their own."""
    spec = ModelSpec(
        family="onnx",
        task="embedding",
        class_names=("embedding",),
        input=InputSpec("images", 8, 8, fit="stretch"),
        outputs=(HeadOutput("embedding", "embedding", 0, 8, (1, WIDTH, 1, 1)),),
        embedding=EmbeddingFormula(),
    )
    meter, rng = AgreementMeter(spec), np.random.default_rng(0)
    for _ in range(images):
        vector = unit_vector(rng.normal(size=WIDTH).astype(np.float32))
        other = vector + noise * unit_vector(rng.normal(size=WIDTH).astype(np.float32))
        built, given = (HeadTensor(v.reshape(1, WIDTH, 1, 1)) for v in (other, vector))
        meter.add([given], [built], SAME)
    return meter


def test_gate() -> None:
    good = judged(0.05).result("simulator", "folder")
    require_agreement(good, 0.85)
    assert proof_of(good).standing == "agrees"
    assert [one.name for one in good.measures] == ["cosine", "nearest"]
    weak = judged(0.5).result("simulator", "folder")
    assert proof_of(weak).standing == "weak"
    broken = judged(3.0).result("simulator", "folder")
    with pytest.raises(VerificationError, match="mean cosine of 0"):
        require_agreement(broken, 0.85)
    few = judged(3.0, FEWEST_IMAGES - 1).result("simulator", "folder")
    require_agreement(few, 0.85)
    assert proof_of(few).reason == "few_images"

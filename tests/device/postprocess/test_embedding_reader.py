"""Embeddings: the tensor's direction, whatever its type and layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rkdeploy.contract.formulas import EmbeddingFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.embedding_reader import EmbeddingReader, unit_vector
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError, RkdeployError
from rkdeploy.images.fit import LetterboxTransform
from tests.device.postprocess.tensor_layouts import in_every_layout

SPEC = ModelSpec(
    family="onnx",
    task="embedding",
    class_names=("embedding",),
    input=InputSpec("images", 8, 8, fit="stretch"),
    outputs=(HeadOutput("embedding", "embedding", 0, 8, (1, 4, 1, 1)),),
    embedding=EmbeddingFormula(),
)
SAME = LetterboxTransform(1.0, 1.0, 0.0, 0.0, (8, 8))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float16", "float32"])
def test_by_hand(dtype: str) -> None:
    """(3, 0, 0, 4) is 0.6 and 0.8 of its length; a scale changes no direction, a zero point does."""
    zero = 0 if dtype.startswith("float") else 2
    values = np.array([3, 0, 0, 4], dtype).reshape(1, 4, 1, 1) + np.array(zero, dtype)
    tensor = HeadTensor(values, 0.25 if zero else 1.0, zero)
    for tensors in ([tensor], *in_every_layout([tensor]).values()):
        found = Postprocessor(SPEC, Thresholds())(tensors, SAME)
        assert found.embedding is not None
        assert found.embedding.dtype == np.float32
        np.testing.assert_allclose(found.embedding, [0.6, 0, 0, 0.8], rtol=1e-6)
        assert len(found) == 0


def test_equals_the_float_arithmetic() -> None:
    raw = np.random.default_rng(0).integers(-128, 128, (1, 4, 1, 1)).astype(np.int8)
    tensor = HeadTensor(raw, 0.031, -7)
    real = tensor.dequantized().ravel().astype(np.float64)
    np.testing.assert_allclose(EmbeddingReader(SPEC)([tensor]), real / np.linalg.norm(real), atol=1e-6)


@pytest.mark.parametrize("values", [[0, 0, 0, 0], [np.nan, 1, 1, 1], [np.inf, 1, 1, 1]])
def test_no_direction(values: list[float]) -> None:
    assert unit_vector(np.array(values, np.float32)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_lengths_whose_squares_are_no_float32(size: float) -> None:
    np.testing.assert_allclose(unit_vector(np.array([3, 4], np.float32) * np.float32(size)), [0.6, 0.8], rtol=1e-5)


def test_contracts_that_cannot_be_read() -> None:
    with pytest.raises(RkdeployError, match="no formula"):
        EmbeddingReader(replace(SPEC, embedding=None))
    with pytest.raises(RkdeployError, match="2 embedding outputs"):
        EmbeddingReader(replace(SPEC, outputs=SPEC.outputs * 2))
    with pytest.raises(RkdeployError, match=r"expected \(1, D, 1, 1\)"):
        EmbeddingReader(replace(SPEC, outputs=(replace(SPEC.outputs[0], shape=(1, 4, 2, 1)),)))
    with pytest.raises(BackendError, match="expected"):
        Postprocessor(SPEC, Thresholds())([HeadTensor(np.zeros((1, 5, 1, 1), np.int8))], SAME)

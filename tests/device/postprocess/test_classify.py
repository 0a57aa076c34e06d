from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rkdeploy.contract.spec import Activation, HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.classify import Classifier
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from tests.device.postprocess.tensor_layouts import as_packed


def spec(classes: int, activation: Activation = "linear") -> ModelSpec:
    return ModelSpec(
        family="yolov8",
        task="classify",
        class_names=tuple(f"class {number}" for number in range(classes)),
        input=InputSpec("images", 32, 32, fit="center_crop"),
        outputs=(HeadOutput("scores", "class_scores", 0, 32, (1, classes, 1, 1), activation),),
    )


def tensor(values: list[float]) -> HeadTensor:
    return HeadTensor(np.array(values, np.float32).reshape(1, -1, 1, 1))


def test_by_hand() -> None:
    """Logits of ln 1, ln 2, ln 5, ln 2 are 0.1, 0.2, 0.5, 0.2; among equal ones the first comes first."""
    found = Classifier(spec(4))([tensor(np.log([1, 2, 5, 2]).tolist())])
    assert found.class_ids.tolist() == [2, 1, 3, 0]
    np.testing.assert_allclose(found.scores, [0.5, 0.2, 0.2, 0.1], rtol=1e-6)
    assert (found.class_ids.dtype.name, found.scores.dtype.name) == ("int32", "float32")


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_scores_that_the_graph_has_activated(activation: Activation) -> None:
    """Probabilities are taken as they are."""
    found = Classifier(spec(3, activation))([tensor([0.2, 0.7, 0.4])])
    assert found.class_ids.tolist() == [1, 2, 0]
    np.testing.assert_allclose(found.scores, [0.7, 0.4, 0.2])


def test_how_many() -> None:
    """Five ranks by default, never more than there are classes."""
    scores = [tensor(np.arange(9.0).tolist())]
    assert Classifier(spec(9))(scores).class_ids.tolist() == [8, 7, 6, 5, 4]
    assert Classifier(spec(9))(scores, ranks=2).class_ids.tolist() == [8, 7]
    assert len(Classifier(spec(9))(scores, ranks=20).scores) == 9


@pytest.mark.parametrize("lanes", [0, 16, 4])
def test_quantized(lanes: int) -> None:
    """Quantized and packed scores rank as the real numbers do, large ones without overflow."""
    raw = np.random.default_rng(0).integers(-128, 128, (1, 21, 1, 1)).astype(np.int8)
    quantized = HeadTensor(raw, 4.0, -20)
    expected = Classifier(spec(21))([HeadTensor(quantized.dequantized())])
    found = Classifier(spec(21))([as_packed(quantized, lanes) if lanes else quantized])
    assert found.class_ids.tolist() == expected.class_ids.tolist()
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert np.isfinite(found.scores).all()


def test_contract_that_does_not_fit_together() -> None:
    """A contract without scores, with two of them, or with another number of classes is refused."""
    whole = spec(3)
    for broken, message in (
        (replace(whole, outputs=()), "0 class_scores outputs, expected one"),
        (replace(whole, outputs=whole.outputs * 2), "2 class_scores outputs, expected one"),
        (replace(whole, class_names=("a",)), r'"scores" has shape \(1, 3, 1, 1\) .* expected \(1, 1, 1, 1\)'),
        (replace(whole, class_names=()), r"expected \(1, 0, 1, 1\)"),
    ):
        with pytest.raises(RkdeployError, match=message):
            Classifier(broken)

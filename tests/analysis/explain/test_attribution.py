"""Errors at objects by hand, networks that are not emulated, and the tables in both languages."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.analysis.explain.attribute_loss import attribute_loss
from rkdeploy.analysis.explain.attribution import LayerLoss, LossAttribution, RemedyGain
from rkdeploy.analysis.explain.attribution_request import AttributionRequest, ExplainedImage
from rkdeploy.analysis.explain.explanation import Explanation, TensorRange
from rkdeploy.analysis.explain.output_error import ObjectError, object_cells
from rkdeploy.analysis.page.content import ABSENT, Note, Table
from rkdeploy.analysis.page.texts import Lang, Words
from rkdeploy.analysis.tables.attribution_tables import attribution_blocks
from rkdeploy.contract.agreement import Measure
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import ToolkitError
from rkdeploy.host.toolkit.emulated_model import EmulatedLayer, Emulation
from rkdeploy.images.fit import LetterboxTransform
from tests.device.postprocess.test_classify import spec as classifier


def test_cells_of_objects_by_hand() -> None:
    """A box of 2x1 cells of a map of 2x4 at stride 8, one beyond the edge, and none at all."""
    boxes = np.array([[8, 0, 23, 7]], np.float32)
    assert object_cells((2, 4), boxes, (16, 32)).tolist() == [[False, True, True, False], [False] * 4]
    outside = np.array([[30, 14, 90, 90]], np.float32)
    assert object_cells((2, 4), outside, (16, 32)).tolist() == [[False] * 4, [False, False, False, True]]
    assert object_cells((2, 4), np.zeros((0, 4), np.float32), (16, 32)).all()


def test_errors_count_at_objects_only() -> None:
    """One of four columns holds the object; an output without columns counts as a whole."""
    maps = np.zeros((1, 2, 1, 4), np.float32)
    reference = {"map": np.tile(maps, (1, 1, 2, 1)), "vector": np.array([[1.0, -1.0]], np.float32)}
    reference["map"][0, 0] = 1.0  # at every cell 1 and 0: a variance of 0.25
    error = ObjectError(reference, np.array([[0, 0, 1, 20]], np.float32), (16, 32))
    wrong = {name: values.copy() for name, values in reference.items()}
    assert error.of(wrong) == 0
    wrong["map"][:, :, :, 1:] += 100  # no object is there
    assert error.of(wrong) == 0
    wrong["map"][:, 0, :, 0] += 1  # half of the values by 1: a squared error of 0.5
    wrong["vector"] += 1
    assert error.of(wrong) == pytest.approx((0.5 / 0.25 + 1.0) / 2)


def test_what_cannot_be_emulated_is_said() -> None:
    """The reason stands in place of layers."""

    def emulated() -> None:
        raise ToolkitError("the operator GridSample is not emulated")

    toolkit: Any = SimpleNamespace(emulated=emulated)
    found = attribute_loss(toolkit, SimpleNamespace())  # type: ignore[arg-type]  # nothing of it is read
    assert not found.layers
    assert found.reason == "This network cannot be emulated: the operator GridSample is not emulated"
    (note,) = blocks(found, "en")
    assert isinstance(note, Note)
    assert "GridSample" in note.text


class FakeModel:
    """Three layers of which each adds its own error to the three scores of a classifier.

    The whole errs by (4, 2, 1): without the first layer a squared error of 5 of 21 is left.
    """

    layers = tuple(EmulatedLayer(name, "Conv", (f"{name}.conv", f"{name}.act"), weighted=True) for name in "abc")
    errors: ClassVar = {"a": (4.0, 0.0, 0.0), "b": (0.0, 2.0, 0.0), "c": (0.0, 0.0, 1.0)}

    def __init__(self, *settings: object) -> None:
        self.taken = 0
        self.factor = 0.5 if settings else 1.0

    def take(self, image: NDArray[np.float32]) -> None:
        assert image.shape == (1, 3, 4, 4)
        self.taken += 1

    def with_float(
        self, layers: Sequence[EmulatedLayer], *, weights: bool = True, activations: bool = True
    ) -> dict[str, NDArray[np.float32]]:
        """Half of a layer's error comes from its weights, half from its activations."""
        part = (weights + activations) / 2
        left = {
            name: np.array(error).reshape(1, 3, 1, 1) * (1 - part * (name in {one.name for one in layers}))
            for name, error in self.errors.items()
        }
        return {"scores": (SCORES + self.factor * sum(left.values())).astype(np.float32)}

    def with_float16(self, layers: Sequence[EmulatedLayer]) -> dict[str, NDArray[np.float32]]:
        return self.with_float(layers, activations=False)

    def alone(self, layer: EmulatedLayer) -> dict[str, NDArray[np.float32]]:
        return {"scores": (SCORES + np.array(self.errors[layer.name]).reshape(1, 3, 1, 1)).astype(np.float32)}


SCORES = np.array([9.0, 0.0, 3.0], np.float32).reshape(1, 3, 1, 1)


def attributed(seconds: float = 60.0) -> LossAttribution:
    """Attribution of the fake model on two images."""
    image = ExplainedImage(
        np.zeros((1, 3, 4, 4), np.float32), LetterboxTransform(1.0, 1.0, 0.0, 0.0, (4, 4)), (HeadTensor(SCORES),)
    )
    options = {"--bias-correction": Emulation(bias_correction=True), "--depthwise-parts 3": None}
    request = AttributionRequest(
        classifier(3), [image] * 2, [image.values], lambda layer: layer.name, options, seconds, lambda _text: None
    )
    toolkit: Any = SimpleNamespace(emulated=FakeModel)
    return attribute_loss(toolkit, request)


def test_layers_and_options_by_hand() -> None:
    """Layers by what is gone without them, weights and activations of each, and an option that halves all errors."""
    found = attributed()
    assert (found.images, found.all_layers, [layer.name for layer in found.layers]) == (2, 3, ["a", "b", "c"])
    assert found.agreement is not None
    assert found.agreement.count == 2  # images: all of them are compared, not the first alone
    first, second, third = found.layers
    assert first.gain == pytest.approx(16 / 21)
    assert second.gain == pytest.approx(4 / 21)
    assert third.gain == pytest.approx(1 / 21)
    assert first.weights_gain == first.activations_gain == pytest.approx((16 - 4) / 21)
    assert first.float16_gain == first.weights_gain
    assert first.alone == pytest.approx(16 / 21)
    assert first.agreement is not None
    together, corrected, parts = found.remedies
    assert (together.option, corrected.option) == ("--float16-layers a,b,c", "--bias-correction")
    assert together.gain == pytest.approx(0.75)  # half of each error
    assert corrected.gain == pytest.approx(0.75)
    assert parts.gain is None
    assert "not emulated" in parts.reason


def test_no_time_is_said() -> None:
    """Layers and options beyond the limit have no figures."""
    found = attributed(0.0)
    assert (found.all_layers, found.layers) == (3, ())
    assert [one.reason for one in found.remedies if one.option == "--bias-correction"] == ["the time limit was reached"]


def blocks(found: LossAttribution | None, lang: Lang) -> list[Any]:
    """Blocks of an explanation with one range."""
    known = TensorRange("a.act", "Mul", (-0.3, 15.0), (-0.3, 14.0), 0.0, 5.0, 31, 2.4, "dark.jpg")
    explanation = Explanation("best", "simulator (x)", ("dark.jpg",), (), (known,), (), (), None, found)
    return list(attribution_blocks(explanation, Words(lang)))


def found_loss() -> LossAttribution:
    """Two of three layers, one of them looked at closely, and two options."""
    measure = Measure("ap", "boxes", 0.95, (0.93, 0.97), 40, "objects")
    layers = (
        LayerLoss("a.act", "Conv", "a", 0.35, 0.13, 0.08, 0.03, 0.12, measure),
        LayerLoss("b.act", "Conv", "b", 0.1),
    )
    remedies = (
        RemedyGain("--bias-correction", 0.2, measure),
        RemedyGain("--depthwise-parts 3", reason="it changes the graph"),
    )
    return LossAttribution(2, measure, layers, 3, remedies, 12.0)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_tables(lang: Lang) -> None:
    """Everything that is known of the worst layer, and dashes for what was not measured."""
    how, part, layers, remedies = blocks(found_loss(), lang)
    assert "AP 0.950" in how.text
    assert "--layer-time" in part.text
    assert isinstance(layers, Table)
    assert isinstance(remedies, Table)
    first, second = ([cell.text for cell in row] for row in layers.rows)
    assert first[:6] == ["a.act", "Conv", "35.0%", "13.0%", "8.0%", "3.0%"]
    assert first[6:8] == ["12.0%", "AP 0.950 (0.930..0.970)"]
    assert first[8:] == ["-0.3..15 (33%)", "31 (2)", "dark.jpg"]
    assert second[:3] == ["b.act", "Conv", "10.0%"]
    assert set(second[3:]) == {ABSENT}
    assert [cell.text for cell in remedies.rows[1]] == ["--depthwise-parts 3", ABSENT, ABSENT, "it changes the graph"]


def test_without_attribution_nothing_is_shown() -> None:
    """As in older documents."""
    assert blocks(None, "en") == []

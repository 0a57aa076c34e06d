"""Text from the scores of CTC recognizers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import TextFormula
from rkdeploy.contract.spec import Activation, HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.detections import FoundText
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.text_reader import TextReader
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform
from tests.device.postprocess.both_ways import ODD_LAYOUTS, both_ways
from tests.device.postprocess.tensor_layouts import in_every_layout

BY_HAND = "__aa_ab_"
"""The best score of each column, `_` for the blank: reads "aab"."""


def spec(
    characters: tuple[str, ...], columns: int, blank: int = 0, activation: Activation = "linear", colors: int = 0
) -> ModelSpec:
    outputs = [HeadOutput("text", "text_logits", 0, 24, (1, len(characters), 1, columns), activation)]
    if colors:
        outputs.append(HeadOutput("class_scores", "class_scores", 0, 24, (1, colors, 1, 1)))
    return ModelSpec(
        family="lprnet",
        task="text",
        class_names=tuple(f"color {n}" for n in range(colors)) or ("text",),
        input=InputSpec("images", 24, 94, fit="stretch", antialias=False),
        outputs=tuple(outputs),
        text=TextFormula(characters, blank),
    )


def logits(read: str, characters: tuple[str, ...], blank: int) -> NDArray[np.float32]:
    """ln 3 for the best score of each column, ln 1 for the others: (1, K, 1, T)."""
    values = np.zeros((1, len(characters), 1, len(read)), np.float32)
    for column, letter in enumerate(read):
        values[0, blank if letter == "_" else characters.index(letter), 0, column] = np.log(3)
    return values


@pytest.mark.parametrize(("characters", "blank"), [(("", "a", "b"), 0), (("a", "b", ""), 2)])
def test_by_hand(characters: tuple[str, ...], blank: int) -> None:
    """A character that follows itself is one, behind a blank it is another; of scores 3, 1 and 1 it has 0.6."""
    found = TextReader(spec(characters, 8, blank))([HeadTensor(logits(BY_HAND, characters, blank))])
    assert (found.text, found.characters, found.columns.tolist()) == ("aab", ("a", "a", "b"), [2, 5, 6])
    np.testing.assert_allclose(found.confidences, [0.6, 0.6, 0.6], rtol=1e-6)
    assert found.confidence == pytest.approx(0.6)
    assert (found.confidences.dtype.name, found.columns.dtype.name) == ("float32", "int32")


def test_nothing_is_read_from_blanks() -> None:
    """An empty line has no confidence."""
    found = TextReader(spec(("", "a", "b"), 8))([HeadTensor(logits("________", ("", "a", "b"), 0))])
    assert (found.text, found.confidence, len(found.columns)) == ("", 0.0, 0)


def test_shares_of_a_softmax_are_taken_as_they_are() -> None:
    """A graph that ends in it."""
    values = np.array([[0.2, 0.1], [0.7, 0.2], [0.1, 0.7]], np.float32).reshape(1, 3, 1, 2)
    found = TextReader(spec(("", "a", "b"), 2, activation="softmax"))([HeadTensor(values)])
    assert found.text == "ab"
    np.testing.assert_allclose(found.confidences, [0.7, 0.7])


def same(one: FoundText, other: FoundText, *, to_the_bit: bool) -> None:
    assert one.characters == other.characters
    assert one.columns.tolist() == other.columns.tolist()
    np.testing.assert_allclose(one.confidences, other.confidences, rtol=0 if to_the_bit else 3e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float16", "float32"])
@pytest.mark.parametrize(("count", "columns"), [(78, 21), (68, 18), (1000, 40), (17, 300), (16, 1), (2, 3)])
def test_by_numpy_and_by_c(dtype: str, count: int, columns: int) -> None:
    """The same text in every layout; of 8-bit tensors the same confidences to the bit, many equal scores included."""
    rng = np.random.default_rng(count)
    real = rng.normal(0, 3, (1, count, 1, columns)).astype(np.float32)
    scale, zero = {"int8": (0.3, 3), "uint8": (0.3, 120), "int16": (0.001, 3)}.get(dtype, (1.0, 0))
    values = real.astype(dtype) if dtype.startswith("float") else np.rint(real / scale + zero).astype(dtype)
    if dtype == "float32":
        values[0, 1] = -0.0 * values[0, 1]
    contract = spec(("", *(chr(0x4E00 + n) for n in range(count - 1))), columns)
    tensor = HeadTensor(values, scale, zero)
    best = values[0, :, 0].argmax(axis=0)
    for one in (
        tensor,
        *(tensors[0] for tensors in in_every_layout([tensor]).values()),
        *(change(tensor) for change in ODD_LAYOUTS.values()),
    ):
        by_numpy, by_c = both_ways(lambda one=one: TextReader(contract)([one]))  # type: ignore[misc]  # bound here
        same(by_c, by_numpy, to_the_bit=values.dtype.itemsize == 1)
        begins = [t for t in range(columns) if best[t] and (t == 0 or best[t] != best[t - 1])]
        assert by_c.columns.tolist() == begins
        shares = np.exp(tensor.dequantized()[0, :, 0].astype(np.float64))
        expected = shares.max(axis=0) / shares.sum(axis=0)
        np.testing.assert_allclose(by_c.confidences, expected[begins], rtol=1e-5)


def test_extreme_scores() -> None:
    """No overflow: far below the best is 0."""
    values = np.full((1, 3, 1, 2), -3e38, np.float32)
    values[0, 1, 0] = 3e38
    for found in both_ways(lambda: TextReader(spec(("", "a", "b"), 2))([HeadTensor(values)])):
        assert (found.text, found.confidences.tolist()) == ("a", [1.0])


def test_postprocessor_gives_the_text_and_its_attribute() -> None:
    """No objects; the attribute's classes are ranked."""
    contract = spec(("", "a", "b"), 8, colors=3)
    colors = HeadTensor(np.log(np.array([1, 3, 1], np.float32)).reshape(1, 3, 1, 1))
    read = Postprocessor(contract, Thresholds())
    found = read(
        [HeadTensor(logits(BY_HAND, ("", "a", "b"), 0)), colors], LetterboxTransform(1.0, 1.0, 0.0, 0.0, (24, 94))
    )
    assert (len(found), found.text is not None and found.text.text) == (0, "aab")
    assert found.ranking is not None
    assert found.ranking.class_ids.tolist() == [1, 0, 2]


def test_contracts_that_cannot_be_read() -> None:
    """Another number of scores, a blank beyond them, no formula, two outputs."""
    good = spec(("", "a", "b"), 8)
    with pytest.raises(RkdeployError, match=r"shape \(1, 3, 1, 8\) .* expected \(1, 2, 1, columns\)"):
        TextReader(replace(good, text=TextFormula(("", "a"))))
    with pytest.raises(RkdeployError, match="number 3 is the blank"):
        TextReader(replace(good, text=TextFormula(("", "a", "b"), 3)))
    with pytest.raises(RkdeployError, match="no formula"):
        Postprocessor(replace(good, text=None), Thresholds())
    with pytest.raises(RkdeployError, match="0 text_logits"):
        TextReader(replace(good, outputs=()))

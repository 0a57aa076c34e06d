"""Plate recognizers' graphs against what their own code computed (tests/data/text)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.analysis.inspection.inspect import inspect_file
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.checkpoint.module_tree import module_from_state_dict
from rkdeploy.host.families import lprnet
from rkdeploy.host.families.characters import LPRNET, PLATES
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input, verify
from rkdeploy.images.fit import LetterboxTransform
from tests.host.export.test_yolop_reference import tensors_of

DATA = Path(__file__).parents[2] / "data" / "text"
COLORS = ("black", "blue", "green", "white", "yellow")
CASES = {
    "lprnet": ("lprnet", 68, 18, ("text",), 67),
    "plate": ("plate-crnn", 78, 21, ("text",), 0),
    "plate_color": ("plate-crnn", 78, 21, COLORS, 0),
    "plate_color_old": ("plate-crnn", 78, 21, COLORS, 0),
}
"""Family, scores, columns, class names, number of the blank."""


def opened(case: str, choice: InputChoice | None = None) -> Network:
    return with_choice(open_network(DATA / f"{case}.pth"), choice or InputChoice())


@pytest.mark.parametrize("case", CASES)
def test_scores_and_text_equal_upstream(case: str) -> None:
    """Scores within float32 rounding of upstream torch; the board's decode of the cut graph reads the same text."""
    recorded = np.load(DATA / f"{case}.npz")
    network = opened(case)
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    assert spec.text is not None
    family, scores, columns, names, blank = CASES[case]
    assert (spec.family, spec.task, spec.class_names, spec.text.blank) == (family, "text", names, blank)
    assert outputs[0].shape == (1, scores, 1, columns)
    assert (spec.input.color, spec.input.fit) == ("bgr", "stretch")
    image = np.ascontiguousarray(recorded["input"].transpose(0, 2, 3, 1))
    assert verify(network.trained, network.reference_head, graph, spec, [("recorded", image)]).decode_proven
    raw = Session(graph).run({"images": network_input(image, spec)})
    largest = np.abs(recorded["text"]).max()
    np.testing.assert_allclose(raw["text_logits"][0, :, 0], recorded["text"], atol=2e-5 * largest)
    tensors = [HeadTensor(raw[output.name]) for output in outputs]
    found = Postprocessor(spec, Thresholds())(tensors, LetterboxTransform(1, 1, 0, 0, network.input_hw))
    assert found.text is not None
    best = recorded["text"].argmax(axis=0).tolist()
    kept = [b for place, b in enumerate(best) if b != blank and (place == 0 or best[place - 1] != b)]
    assert found.text.text == "".join(spec.text.characters[b] for b in kept)
    assert (found.ranking is not None) == ("attribute" in recorded)
    if found.ranking is not None:
        assert found.ranking.class_ids[0] == recorded["attribute"].argmax()
        np.testing.assert_allclose(raw["class_scores"].ravel(), recorded["attribute"], atol=1e-5)


def test_dictionaries_have_no_character_twice() -> None:
    """67 and 77 characters, as many as the published files have without the blank."""
    assert (len(set(LPRNET)), len(set(PLATES))) == (len(LPRNET), len(PLATES)) == (67, 77)


def test_inspect_says_what_it_is() -> None:
    found = inspect_file(DATA / "plate_color.pth")
    assert found.builds
    assert dict(found.rows)["family"] == "plate-crnn, crnn_plate_recognition, text and color"


def test_another_dictionary(tmp_path: Path) -> None:
    """--characters replaces the known one; a checkpoint of another number of scores asks for it."""
    own = tmp_path / "own.txt"
    own.write_text("\n".join(chr(0x4E00 + n) for n in range(67)) + "\n", "utf-8")
    text = opened("lprnet", InputChoice(characters=own)).head.text
    assert text is not None
    assert (text.blank, text.characters[0], text.characters[67]) == (67, "一", "")
    network = open_network(DATA / "lprnet.pth")
    unknown = replace(network, head=replace(network.head, text=None))
    with pytest.raises(RkdeployError, match="68 characters, and its file does not name them"):
        with_choice(unknown, InputChoice())
    with pytest.raises(RkdeployError, match="says how its images are prepared"):
        with_choice(network, InputChoice(preset="lprnet"))


def test_weights_that_do_not_fit() -> None:
    """A missing part is named; weights of another network are not left out silently."""
    checkpoint = read_checkpoint(DATA / "lprnet.pth")
    info = lprnet.describe(checkpoint)
    tensors = {n: t for n, t in tensors_of(checkpoint).items() if n != "backbone.16.weight"}
    with pytest.raises(RkdeployError, match=r"backbone\.16"):
        lprnet.export(replace(checkpoint, root=module_from_state_dict(tensors)), info, 24, 94)
    with pytest.raises(RkdeployError):
        lprnet.export(checkpoint, info, 24, 150)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.errors import VerificationError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.form_cut import cut_in_form
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import network_of
from rkdeploy.host.graph.forms import rgb_input
from rkdeploy.host.graph.session import Session

CHECKPOINT = Path(__file__).parents[2] / "data" / "yolox" / "nano.pth"


def yolox() -> BuildOptions:
    return BuildOptions(CHECKPOINT, input=InputChoice(preset="yolox"), imgsz=(64, 96), form="zoo")


def test_rgb_gives_what_bgr_gave() -> None:
    options = yolox()
    graph, spec = cut_in_form(network_of(options), options)
    assert spec.input.color == "bgr"
    spec = replace(spec, input=replace(spec.input, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)))
    exchanged, found = rgb_input.with_rgb_input(graph, spec)
    assert (found.input.color, found.input.mean, found.input.std) == ("rgb", (3.0, 2.0, 1.0), (6.0, 5.0, 4.0))
    bgr = np.random.default_rng(1).random((1, 3, 64, 96), np.float32)
    rgb = np.ascontiguousarray(bgr[:, ::-1])
    before, after = Session(graph).run({"images": bgr}), Session(exchanged).run({"images": rgb})
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)


def test_an_exchange_that_changes_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    options = yolox()
    graph, spec = cut_in_form(network_of(options), options)
    monkeypatch.setattr(np, "eye", lambda n, dtype: np.full((n, n), 0.5, dtype))
    with pytest.raises(VerificationError, match="after its input was made RGB"):
        rgb_input.with_rgb_input(graph, spec)
    assert isinstance(graph, onnx.ModelProto)

"""Heads of other trainers, as their own exporters write them, against what the trainers' code computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkdeploy.contract.spec import HeadOutput
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.presets import PRESETS, PresetName, fitting
from tests.host.graph.cell_records import FOLDER, RECORDS, CellRecord


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_as_upstream(record: CellRecord) -> None:
    """Boxes within 1e-3 px and scores within 1e-5 of the record, and the graph proves them if it decodes."""
    network = record.open()
    pixels, scores = record.errors(network)
    assert pixels < 1e-3
    assert scores < 1e-5
    assert network.proves_decode is record.proven
    assert network.family == PRESETS[record.preset].family


def test_every_file_is_listed() -> None:
    """No recorded file is left out."""
    assert {path.stem for path in FOLDER.glob("*.onnx")} == {record.name for record in RECORDS}


def test_bytes_say_how_they_are_prepared() -> None:
    """A graph that takes bytes and divides them has its divisor in the contract, whatever the preset."""
    flat = next(record for record in RECORDS if record.name == "yolo_nas_flat").open()
    assert (flat.input.mean, flat.input.std) == ((0.0,) * 3, (255.0,) * 3)
    outputs: tuple[HeadOutput, ...] = ()
    assert flat.contract(outputs).input.std == (255.0,) * 3


LOOKS_THE_SAME = {
    "ppyoloe": "decoded, 4 x 17 bins, from the cells' middle",
    "damo_yolo": "decoded, 4 x 17 bins, from the cells' corner",
    "ppyoloe_model_zoo": "raw, 4 x 17 bins",
    "nanodet": "raw, 4 x 8 bins",
    "picodet_first": "decoded, 4 x 8 bins, from the cells' middle",
    "picodet": "4 x 8 bins and a quality",
}
"""Recorded file -> row of docs/families.md that lists the presets it takes."""


@pytest.mark.parametrize(("name", "line"), LOOKS_THE_SAME.items())
def test_page_lists_the_presets_that_fit(name: str, line: str) -> None:
    """The table of what looks the same says what the code takes."""
    page = (Path(__file__).parents[3] / "docs" / "families.md").read_text("utf-8")
    row = next(each for each in page.splitlines() if each.startswith(f"| {line} |"))
    network = open_network(FOLDER / f"{name}.onnx")
    assert ", ".join(f"`{preset}`" for preset in fitting(network.head)) in row


def test_preset_of_a_raw_head_replaces_the_assumption() -> None:
    """Without a preset raw bins are read as Ultralytics' forks have them; with one the note says whose they are."""
    network = open_network(FOLDER / "ppyoloe_model_zoo.onnx")
    assert any("RGB from 0 to 1" in note and "--preset ppyoloe" in note for note in network.notes)
    chosen = with_choice(network, InputChoice(preset="ppyoloe"))
    assert any("read as --preset ppyoloe says; nothing in the graph proves it" in note for note in chosen.notes)
    assert not any("RGB from 0 to 1" in note for note in chosen.notes)
    assert chosen.input.fit == "stretch"


@pytest.mark.parametrize(("name", "preset", "said"), [
    ("ppyoloe_without_nms", "ppyoloe", True),
    ("ppyoloe_model_zoo", "ppyoloe", False),  # nothing is proven there, and another note says so
    ("rtmdet", "rtmdet", False),  # all forms of RTMDet prepare images alike
])  # fmt: skip
def test_preset_of_a_decoded_head_is_not_proven_to_prepare_images(name: str, preset: PresetName, said: bool) -> None:
    """A graph with its decode proves boxes and scores; that the images' preparation is the preset's word is said."""
    chosen = with_choice(open_network(FOLDER / f"{name}.onnx"), InputChoice(preset=preset))
    assert any(f"but not how images are prepared: that is as --preset {preset}" in n for n in chosen.notes) is said

"""Heads of other trainers, as their own exporters write them, against what the trainers' code computes."""

from __future__ import annotations

import pytest

from rkdeploy.contract.spec import HeadOutput
from rkdeploy.host.building.presets import PRESETS
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

"""Face detectors of the real packages, as their own exporters write them, against what their code computes."""

from __future__ import annotations

import pytest

from rkdeploy.host.building.presets import PRESETS
from tests.host.graph.face_records import FACES, FOLDER, FaceRecord


@pytest.mark.parametrize("record", FACES, ids=lambda record: record.name)
def test_as_upstream(record: FaceRecord) -> None:
    """Boxes and landmarks within 1e-3 px, scores within 1e-5 of the record; the graph proves them if it decodes."""
    network = record.open()
    pixels, scores = record.errors(network)
    assert pixels < 1e-3
    assert scores < 1e-5
    assert network.proves_decode is record.proven
    assert network.family == PRESETS[record.preset].family
    assert network.class_names == (("face",) if record.preset != "ssd" else ("class_0", "class_1", "class_2"))


def test_every_file_is_listed() -> None:
    """No recorded file is left out."""
    assert {path.stem for path in FOLDER.glob("*.onnx")} == {record.name for record in FACES}

"""YOLO-World's and YOLOE's graphs against what the ultralytics package itself computed (tests/data/open_vocabulary)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint, read_checkpoint
from rkdeploy.host.families import ultralytics
from rkdeploy.host.families.checkpoint_facts import layers_of
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.session import Session
from tests.host.families.vectors import Vector, vectors

DATA = Path(__file__).parents[2] / "data" / "open_vocabulary"
CASES = [vector for vector in vectors() if vector.group == "open_vocabulary"]


def test_the_reference_set_is_complete() -> None:
    """Both YOLO-Worlds; YOLOE with its vectors in `pe` or in its head, without prompts, with masks, with two heads."""
    assert {vector.case for vector in CASES} == {
        "world", "worldv2", "yoloe_v8", "yoloe_11_seg", "yoloe_fused", "yoloe_free", "yoloe_26_seg"
    }  # fmt: skip


@pytest.mark.parametrize("vector", CASES, ids=lambda v: v.key)
def test_full_graph_equals_the_package(vector: Vector) -> None:
    """Pixels within 1e-3, scores within 1e-5, masks within 1e-4 of the package."""
    recorded = vector.recorded()
    checkpoint = read_checkpoint(vector.checkpoint)
    assert family_of(checkpoint) is ultralytics
    info = ultralytics.describe(checkpoint)
    assert info.class_names == ("bolt", "nut", "washer")
    outputs = Session(ultralytics.export(checkpoint, info, *vector.hw).model).run(
        {"images": recorded["input"].astype(np.float32) / 255}
    )
    expected = recorded["pred_one2one" if info.end_to_end else "pred"]
    difference = np.abs(outputs["output0"][0] - expected)
    assert difference[:4].max() < 1e-3
    assert difference[4:7].max() < 1e-5
    assert difference[7:].max(initial=0) < 1e-4
    if info.masks:
        assert np.abs(outputs["output1"][0] - recorded["proto"]).max() < 1e-4


def changed(case: str, **attributes: Any) -> Checkpoint:
    """The checkpoint of a case with other attributes of its model; None removes one."""
    checkpoint = read_checkpoint(DATA / f"{case}.pt")
    values = checkpoint.root.attributes
    assert isinstance(values, dict)
    for name, value in attributes.items():
        if value is None:
            del values[name]
        else:
            values[name] = value
    return checkpoint


def test_a_file_without_vectors_of_its_classes_says_what_to_do() -> None:
    """YOLOE as it is published has none; a YOLO-World that was never given classes has random ones."""
    with pytest.raises(CheckpointError, match="no vectors of the classes") as error:
        ultralytics.describe(changed("yoloe_v8", pe=None))
    assert 'YOLOE("yoloe_v8.pt"); m.set_classes(["person", "bus"]); m.save("mine.pt")' in (error.value.hint or "")
    weights = read_checkpoint(DATA / "world.pt").root.child("model").child("12").child("cv3").child("0").child("2")
    tensor = weights.tensors["weight"]
    with pytest.raises(CheckpointError, match=r"vectors of shape .*expected \(1, 3, D\)") as error:
        ultralytics.describe(changed("world", txt_feats=tensor))
    assert "YOLOWorld" in (error.value.hint or "")


def test_placeholders_are_no_vectors() -> None:
    """Vectors of texts have length 1; random weights in their place are refused."""
    checkpoint = read_checkpoint(DATA / "worldv2.pt")
    head = layers_of(checkpoint)[-1]
    weights = head.child("cv3").child("0").child("2").tensors["weight"]
    values = checkpoint.root.attributes
    assert isinstance(values, dict)
    values["txt_feats"] = replace(weights, shape=(1, 3, 512), stride=(0, 0, 1))
    with pytest.raises(CheckpointError, match="placeholders for the vectors"):
        ultralytics.describe(checkpoint)

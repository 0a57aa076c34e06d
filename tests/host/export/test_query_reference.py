"""RT-DETR's graphs against what the ultralytics package itself computed (tests/data/rtdetr)."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.export.builder import GraphBuilder
from rkdeploy.host.families import rtdetr
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.session import Session
from tests.host.families.vectors import Vector, vectors

CASES = [vector for vector in vectors() if vector.group == "rtdetr"]


def test_the_reference_set_is_complete() -> None:
    """Both backbones of its own, YOLOv8's, learned queries, cells that do not count, one level to three."""
    assert {vector.case for vector in CASES} == {"hgnet", "resnet", "yolov8_blocks"}


@pytest.mark.parametrize("vector", CASES, ids=lambda v: v.key)
def test_full_graph_equals_the_package(vector: Vector) -> None:
    """Pixels within 1e-3 and scores within 1e-5 of the package, query by query; images are stretched."""
    recorded = vector.recorded()
    checkpoint = read_checkpoint(vector.checkpoint)
    assert family_of(checkpoint) is rtdetr
    info = rtdetr.describe(checkpoint)
    assert (info.strides, info.end_to_end, info.generation) == ((32,), True, f"rtdetr-{vector.case}")
    height, width = vector.hw
    exported = rtdetr.export(checkpoint, info, height, width)
    assert exported.input.fit == "stretch"
    image = recorded["input"].astype(np.float32) / 255
    found = Session(exported.model).run({"images": image})["output0"][0]
    difference = np.abs(found - recorded["pred"])
    assert (difference[:, :4] * [width, height, width, height]).max() < 1e-3
    assert difference[:, 4:].max() < 1e-5


def test_a_decoder_without_the_layer_that_inference_takes_is_refused() -> None:
    """A damaged number of layers is an error, not a graph that computes something else."""
    checkpoint = read_checkpoint(CASES[0].checkpoint)
    decoder = checkpoint.root.child("model").child("14").child("decoder")
    dict.__setitem__(decoder.attributes, "eval_idx", 7)  # type: ignore[index]  # a plain dict behind a Mapping
    with pytest.raises(GraphError, match="has 3 layers and takes layer 7"):
        rtdetr.export(checkpoint, rtdetr.describe(checkpoint), *CASES[0].hw)


def test_other_models_keep_their_opset() -> None:
    """Only graphs that sample points need opset 16: others stay readable for OpenCV."""
    value = GraphBuilder().input("images", (1, 3, 8, 8))
    builder = GraphBuilder()
    assert builder.finish({"out": builder.input(value.name, value.shape)}, {}).opset_import[0].version == 13

"""Graphs of a fixed batch as graphs of one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.errors import GraphError
from rkdeploy.host.building.onnx_graph import open_graph
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.single_batch import with_batch_of_one
from tests.host.graph.kind_graphs import KindGraph

BATCH = 3


class BatchGraph(KindGraph):
    """A graph of a batch of images."""

    def __init__(self, *, mixed: bool = False) -> None:
        """Rows of three levels, whose reshapes and grid have the batch in them.

        Args:
            mixed: whether the images of a batch are mixed.
        """
        super().__init__()
        tables = []
        for stride in (8, 16, 32):
            cells = (64 // stride) ** 2
            value = self.conv(stride, 3 * 7)
            if mixed:
                value = self.node("Sub", value, self.node("ReduceMean", value, axes=[0], keepdims=1))
            split = self.node("Reshape", value, self.constant(np.array([BATCH, 3, 7, cells])))
            turned = self.node("Transpose", split, perm=[0, 1, 3, 2])
            rows = self.node("Reshape", turned, self.constant(np.array([BATCH, -1, 7])))
            grid = np.repeat(np.arange(3 * cells * 7, dtype=np.float32).reshape(1, 3 * cells, 7), BATCH, axis=0)
            tables.append(self.node("Add", rows, self.constant(grid)))
        self.show(self.node("Concat", *tables, axis=1))

    def model(self, opset: int = 16) -> onnx.ModelProto:
        """The graph, whose input is the batch."""
        made = super().model(opset)
        made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = BATCH
        del made.graph.value_info[:]
        for info in made.graph.output:
            info.type.tensor_type.ClearField("shape")
        return onnx.shape_inference.infer_shapes(made, data_prop=True)


def test_one_image_gives_the_same() -> None:
    """Shapes and grids are those of one image, and its rows are those that it has within a batch."""
    model = BatchGraph().model()
    single = with_batch_of_one(model, "images", BATCH, (64, 64))
    assert single is not None
    images = np.random.default_rng(1).random((BATCH, 3, 64, 64), np.float32)
    expected, got = (
        next(iter(Session(m).run({"images": i}).values())) for m, i in ((model, images), (single, images[1:2]))
    )
    assert got.shape == (1, *expected.shape[1:])
    np.testing.assert_allclose(got[0], expected[1], atol=1e-4)


def test_images_that_are_mixed_are_refused(tmp_path: Path) -> None:
    """A graph whose images depend on each other has no part of one image: the message says what to do."""
    model = BatchGraph(mixed=True).model()
    assert with_batch_of_one(model, "images", BATCH, (64, 64)) is None
    onnx.save(model, str(tmp_path / "mixed.onnx"))
    with pytest.raises(GraphError, match=r"has a batch of 3, expected 1\..*batch"):
        open_graph(tmp_path / "mixed.onnx", None, None, 0)


def test_build_takes_one_image(tmp_path: Path) -> None:
    """The head is found as in a graph of one image, with a note."""
    graph = KindGraph()
    graph.show(*(graph.conv(stride, 21) for stride in (8, 16, 32)))
    model = graph.model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = BATCH
    for info in (*model.graph.output, *model.graph.value_info):
        info.type.tensor_type.shape.dim[0].dim_value = BATCH
    onnx.save(model, str(tmp_path / "batch.onnx"))
    opened = open_graph(tmp_path / "batch.onnx", None, None, 9)
    assert [tap.shape[0] for tap in opened.head.taps] == [1, 1, 1]
    assert any("3 images at once" in note for note in opened.notes)

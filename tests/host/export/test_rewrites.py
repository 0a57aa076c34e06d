"""Blocks are written the cheaper way where that is equal, and as trained where it is not; test_yolov5_reference.py
compares the values of all forms with upstream's own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from rkdeploy.host.checkpoint import Module, read_checkpoint
from rkdeploy.host.export.builder import GraphBuilder
from rkdeploy.host.export.emission import Emission
from rkdeploy.host.export.rewrites import nested_pools
from rkdeploy.host.export.stem_form import StemForm
from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS
from rkdeploy.host.families import yolov5
from rkdeploy.host.graph.session import Session

DATA = Path(__file__).parents[2] / "data" / "yolov5"


def exported(case: str, stem: StemForm = "space_to_depth") -> onnx.ModelProto:
    """A recorded checkpoint's graph at 128x128, with the shapes of all tensors."""
    checkpoint = read_checkpoint(DATA / f"{case}.pt")
    model = yolov5.export(checkpoint, yolov5.describe(checkpoint), 128, 128, stem=stem).model
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def rows_of(model: onnx.ModelProto) -> dict[str, int]:
    """Height of every tensor (N, C, H, W) between nodes."""
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    return {name: shape[2] for name, shape in shapes.items() if len(shape) == 4}


def pool(window: int, **changes: object) -> Module:
    """A MaxPool2d that keeps the size, but for the changes."""
    attributes = {"kernel_size": window, "stride": 1, "padding": window // 2, "dilation": 1, **changes}
    return Module("MaxPool2d", "torch.nn.modules.pooling", f"pool{window}", attributes, {}, {})


def pooled(*pools: Module) -> tuple[list[list[int]], list[NDArray[np.float32]]]:
    """Windows in the graph, and the outputs on a tensor smaller than the largest window."""
    builder = GraphBuilder()
    outputs = nested_pools(Emission(builder, YOLOV5_BLOCKS), pools, builder.input("images", (1, 2, 9, 11)))
    model = builder.finish({f"out{i}": value for i, value in enumerate(outputs)}, {})
    windows = [list(a.ints) for n in model.graph.node for a in n.attribute if a.name == "kernel_shape"]
    values = -np.random.default_rng(0).random((1, 2, 9, 11), np.float32)  # below zero: padding must not be zero
    answers = Session(model).run({"images": values})
    return windows, [answers[f"out{i}"] for i in range(len(pools))]


def test_spp_is_one_small_window_three_times() -> None:
    """Windows of 5, 9 and 13 are 5 three times over, to the bit, also at the borders."""
    windows, chained = pooled(pool(5), pool(9), pool(13))
    assert windows == [[5, 5]] * 3
    for window, values in zip((5, 9, 13), chained, strict=True):
        assert np.array_equal(values, pooled(pool(window))[1][0])


@pytest.mark.parametrize("changes", [{"stride": 2}, {"padding": 1}, {"dilation": 2, "padding": 8}])
def test_other_pools_are_written_as_they_are(changes: dict[str, object]) -> None:
    """A window with a stride, other padding or gaps is not a repetition of a smaller one."""
    windows, values = pooled(pool(5), pool(9, **changes))
    assert windows == [[5, 5], [9, 9]]
    assert np.array_equal(values[1], pooled(pool(9, **changes))[1][0])


def test_c3_joins_its_first_two_convolutions_where_channels_are_filled_up() -> None:
    """Two convolutions of 4 or 8 channels become one; with another activation in one of them they stay two."""
    checkpoint = read_checkpoint(DATA / "v7_n.pt")
    c3 = next(m for m in checkpoint.root.walk() if m.class_name == "C3")
    relu = replace(c3.child("cv2").child("act"), class_name="ReLU")
    mixed = replace(
        c3,
        children={**c3.children, "cv2": replace(c3.child("cv2"), children={**c3.child("cv2").children, "act": relu})},
    )
    kinds = []
    for block in (c3, mixed):
        builder = GraphBuilder()
        channels = c3.child("cv1").child("conv").array("weight").shape[1]
        out = YOLOV5_BLOCKS["C3"](
            Emission(builder, YOLOV5_BLOCKS), block, [builder.input("images", (1, channels, 8, 8))]
        )
        kinds.append(Counter(node.op_type for node in builder.finish({"out": out}, {}).graph.node))
    assert kinds[0]["Split"] == 1
    assert kinds[1]["Split"] == 0
    assert kinds[0]["Conv"] == kinds[1]["Conv"] - 1


@pytest.mark.parametrize("case", ["v7_n", "v5_s_focus_spp"])
def test_stripes_keep_the_largest_tensor_in_pieces(case: str) -> None:
    """No convolution block's output has the height of the stem's, and the pieces are joined behind the second layer."""
    whole, cut = rows_of(exported(case)), exported(case, "stripes")
    assert sum(rows == 64 for rows in whole.values()) > 1
    assert [name for name, rows in rows_of(cut).items() if rows == 64] == ["model.0.space_to_depth/Conv_output_0"]
    joins = [n for n in cut.graph.node if n.op_type == "Concat" and [a.i for a in n.attribute] == [2]]
    assert len(joins) == 1
    assert rows_of(cut)[joins[0].output[0]] == 32

"""Attributes that a trained forward pass reads: each changes the graph as it changes the network, or is refused.

The expected values are computed here, from the layers' documented formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.errors import RkdeployError
from rkdeploy.host.checkpoint import Module, read_checkpoint
from rkdeploy.host.checkpoint.tensor import LazyTensor, Storage
from rkdeploy.host.export.attention_blocks import ATTENTION_BLOCKS
from rkdeploy.host.export.builder import GraphBuilder
from rkdeploy.host.export.csp_blocks import CSP_BLOCKS
from rkdeploy.host.export.emission import Emission, emit
from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS
from rkdeploy.host.families import ultralytics
from rkdeploy.host.graph.session import Session

DATA = Path(__file__).parents[2] / "data"
Floats = NDArray[np.float32]
X = np.array([[-3, 1, -1], [2, 0, 5], [-2, 4, 7]], np.float32)[None, None]


def tensor(values: Floats) -> LazyTensor:
    """A stored tensor with these values."""
    flat = np.ascontiguousarray(values, np.float32).view(np.uint8).ravel()
    strides = tuple(step // 4 for step in np.ascontiguousarray(values, np.float32).strides)
    return LazyTensor(Storage("0", "float32", values.size, lambda: flat), "float32", values.shape, strides, 0)


def module(
    class_name: str,
    attributes: Mapping[str, object],
    tensors: Mapping[str, Floats] | None = None,
    children: Mapping[str, Module] | None = None,
) -> Module:
    """A module as a checkpoint has it."""
    stored = {name: tensor(values) for name, values in (tensors or {}).items()}
    return Module(class_name, "torch.nn", "layer", dict(attributes), stored, dict(children or {}))


def computed(layer: Module, *inputs: Floats) -> Floats:
    """Output of the exported layer."""
    builder = GraphBuilder()
    emission = Emission(builder, YOLOV5_BLOCKS | CSP_BLOCKS | ATTENTION_BLOCKS)
    values = [builder.input(f"x{i}", x.shape) for i, x in enumerate(inputs)]
    model = builder.finish({"out": emit(emission, layer, values)}, {})
    return Session(model).run({f"x{i}": x for i, x in enumerate(inputs)})["out"]


def conv(weight: Floats, **attributes: object) -> Module:
    """A Conv2d without bias."""
    return module("Conv2d", attributes, {"weight": weight})


ONES = np.ones((1, 1, 2, 2), np.float32)
NORM = {
    "running_mean": np.zeros(1, np.float32), "running_var": np.ones(1, np.float32),
    "weight": np.ones(1, np.float32), "bias": np.zeros(1, np.float32),
}  # fmt: skip
AVERAGE = {"kernel_size": 2, "stride": 1}
ATTENTION = {
    "embed_dim": 4, "num_heads": 2, "batch_first": False, "add_zero_attn": False,
}  # fmt: skip

HONORED: dict[str, tuple[Module, Floats]] = {
    "LeakyReLU slope": (module("LeakyReLU", {"negative_slope": 0.25}), np.where(X < 0, X * np.float32(0.25), X)),
    "ELU alpha": (module("ELU", {"alpha": 0.5}), np.where(X < 0, 0.5 * np.expm1(X), X).astype(np.float32)),
    "ReLU6 bounds, which torch does not read": (
        module("ReLU6", {"min_val": -1.0, "max_val": 3.0}), np.clip(X, 0, 6),
    ),
    "PReLU slope": (module("PReLU", {}, {"weight": np.array([0.5], np.float32)}), np.where(X < 0, X / 2, X)),
    "BatchNorm eps": (module("BatchNorm2d", {"eps": 3.0}, NORM), X / 2),
    "MaxPool stride": (
        module("MaxPool2d", {"kernel_size": 2, "stride": 1}), np.array([[2, 5], [4, 7]], np.float32)[None, None],
    ),
    "MaxPool stride left out": (module("MaxPool2d", {"kernel_size": 2}), np.array([[[[2]]]], np.float32)),
    "MaxPool ceil_mode": (
        module("MaxPool2d", {"kernel_size": 2, "ceil_mode": True}), np.array([[[[2, 5], [4, 7]]]], np.float32),
    ),
    "MaxPool padding": (
        module("MaxPool2d", {"kernel_size": 2, "padding": 1}), np.array([[[[-3, 1], [2, 7]]]], np.float32),
    ),
    "MaxPool dilation": (
        module("MaxPool2d", {"kernel_size": 2, "stride": 1, "dilation": 2}), np.array([[[[7]]]], np.float32),
    ),
    "AvgPool count_include_pad": (
        module("AvgPool2d", {"kernel_size": 2, "padding": 1, "count_include_pad": True}),
        np.array([[[[-0.75, 0], [0, 4]]]], np.float32),
    ),
    "Upsample factor": (module("Upsample", {"scale_factor": 2, "mode": "nearest"}), X.repeat(2, 2).repeat(2, 3)),
    "Upsample size": (module("Upsample", {"size": (3, 6), "mode": "nearest"}), X.repeat(2, 3)),
    "Upsample align_corners": (
        module("Upsample", {"size": (3, 5), "mode": "bilinear", "align_corners": True}),
        np.stack((X[..., 0], X[..., :2].mean(-1), X[..., 1], X[..., 1:].mean(-1), X[..., 2]), -1),
    ),
    "ZeroPad2d padding": (module("ZeroPad2d", {"padding": (1, 0, 0, 2)}), np.pad(X, ((0, 0), (0, 0), (0, 2), (1, 0)))),
    "Conv stride": (conv(ONES, stride=2), np.array([[[[0]]]], np.float32)),
    "Conv padding": (conv(ONES, stride=2, padding=1), np.array([[[[-3, 0], [0, 16]]]], np.float32)),
    "Conv padding same": (
        conv(np.array([[[[0, 0, 0], [0, 0, 0], [0, 0, 1]]]], np.float32), padding="same"),
        np.array([[[[0, 5, 0], [4, 7, 0], [0, 0, 0]]]], np.float32),
    ),
    "Conv dilation": (conv(ONES, dilation=2), np.array([[[[1]]]], np.float32)),
    "ConvTranspose stride and output_padding": (
        module("ConvTranspose2d", {"stride": 2, "output_padding": 1}, {"weight": ONES[..., :1, :1]}),
        np.kron(X[0, 0], np.array([[1, 0], [0, 0]], np.float32))[None, None],
    ),
    "AdaptiveAvgPool size 1": (module("AdaptiveAvgPool2d", {"output_size": 1}), X.mean((2, 3), keepdims=True)),
    "Dropout": (module("Dropout", {"p": 0.9}), X),
}  # fmt: skip


@pytest.mark.parametrize(("layer", "expected"), HONORED.values(), ids=HONORED.keys())
def test_attribute_is_honored(layer: Module, expected: Floats) -> None:
    """The graph computes what the layer computes with that attribute."""
    values = computed(layer, X)
    assert values.shape == expected.shape
    assert np.abs(values - expected).max() < 1e-6


REFUSED: dict[str, Module] = {
    "GELU approximate": module("GELU", {"approximate": "tanh"}),
    "AvgPool divisor_override": module("AvgPool2d", {**AVERAGE, "divisor_override": 3}),
    "AvgPool ceil_mode": module("AvgPool2d", {**AVERAGE, "ceil_mode": True}),
    "AvgPool count_include_pad": module("AvgPool2d", {**AVERAGE, "padding": 1, "count_include_pad": False}),
    "MaxPool return_indices": module("MaxPool2d", {"kernel_size": 2, "return_indices": True}),
    "Upsample mode": module("Upsample", {"scale_factor": 2, "mode": "nearest-exact"}),
    "Upsample factor that gives no whole size": module("Upsample", {"scale_factor": 1.5, "mode": "nearest"}),
    "ZeroPad2d value": module("ZeroPad2d", {"padding": 1, "value": 7.0}),
    "Conv padding_mode": conv(ONES, padding=1, padding_mode="reflect"),
    "Conv padding valid": conv(ONES, padding="valid"),
    "AdaptiveAvgPool size 2": module("AdaptiveAvgPool2d", {"output_size": 2}),
    "Softmax": module("Softmax", {"dim": 1}),
    "Hardtanh": module("Hardtanh", {"min_val": -2.0, "max_val": 2.0}),
}


@pytest.mark.parametrize("layer", REFUSED.values(), ids=REFUSED.keys())
def test_attribute_is_refused(layer: Module) -> None:
    """A layer without an emitter is an error that names it; it is never left out."""
    with pytest.raises(RkdeployError, match='"layer"'):
        computed(layer, X)


def test_concatenation_dimension() -> None:
    """Concat joins along the dimension it stores."""
    assert np.array_equal(computed(module("Concat", {"d": 2}), X, X), np.concatenate((X, X), 2))


@pytest.mark.parametrize("add", [True, False])
def test_shortcut(add: bool) -> None:
    """A bottleneck adds its input where it says so."""
    step = module("Conv", {}, children={"conv": conv(2 * ONES[..., :1, :1])})
    assert np.array_equal(
        computed(module("Bottleneck", {"add": add}, children={"cv1": step, "cv2": step}), X), 4 * X + add * X
    )


@pytest.mark.parametrize("scale", [None, 0.03, 1.5])
def test_attention_scale(scale: float | None) -> None:
    """softmax(scale q k) with the stored scale, 1 / sqrt(d) where there is none; q, k and v are x, 2x and 3x here."""
    heads, depth, cells = 1, 1, 9
    zero = conv(np.zeros((1, 1, 1, 1), np.float32))
    layer = module(
        "Attention",
        {"num_heads": heads, "key_dim": depth, "head_dim": depth} | ({} if scale is None else {"scale": scale}),
        children={
            "qkv": conv(np.array([1, 2, 3], np.float32).reshape(3, 1, 1, 1)),
            "pe": zero,
            "proj": conv(ONES[..., :1, :1]),
        },
    )
    x = X.reshape(cells).astype(np.float64)
    powers = np.exp((1.0 if scale is None else scale) * np.outer(x, 2 * x))
    expected = powers / powers.sum(1, keepdims=True) @ (3 * x)
    assert np.abs(computed(layer, X).reshape(cells) - expected).max() < 1e-4


def test_area_attention_of_another_depth() -> None:
    """Area attention scales by the head size it stores; one that is not that of its channels is refused."""
    layer = module(
        "AAttn", {"num_heads": 1, "area": 1, "head_dim": 4},
        children={"qkv": conv(np.ones((3, 1, 1, 1), np.float32))},
    )  # fmt: skip
    with pytest.raises(RkdeployError, match=r"head_dim 4, expected 1"):
        computed(layer, X)


@pytest.mark.parametrize("changes", [{"batch_first": True}, {"add_zero_attn": True}])
def test_multihead_attention_of_another_kind(changes: dict[str, object]) -> None:
    """Cells last, and an extra cell of zeros, are other networks under the same name."""
    checkpoint = read_checkpoint(DATA / "yolov5" / "c3tr.pt")
    block = next(m for m in checkpoint.root.walk() if m.class_name == "TransformerBlock")
    changed = _with_attributes(block, "MultiheadAttention", changes)
    with pytest.raises(RkdeployError, match=next(iter(changes))):
        computed(changed, np.zeros((1, 8, 2, 2), np.float32))
    assert computed(block, np.zeros((1, 8, 2, 2), np.float32)).shape == (1, 8, 2, 2)


def _with_attributes(tree: Module, class_name: str, changes: Mapping[str, object]) -> Module:
    children = {name: _with_attributes(child, class_name, changes) for name, child in tree.children.items()}
    attributes = {**tree.attributes, **changes} if tree.class_name == class_name else tree.attributes
    return replace(tree, children=children, attributes=attributes)


def _exported(change: Callable[[Module], Module]) -> None:
    checkpoint = read_checkpoint(DATA / "ultralytics" / "v11_obb.pt")
    changed = replace(checkpoint, root=change(checkpoint.root))
    ultralytics.export(changed, ultralytics.describe(changed), 64, 64)


def _with_bins(tree: Module) -> Module:
    children = {name: _with_bins(child) for name, child in tree.children.items()}
    if tree.class_name == "DFL":
        bins = np.array([0, 1, 2, 3.5], np.float32).reshape(1, 4, 1, 1)
        children["conv"] = replace(children["conv"], tensors={"weight": tensor(bins)})
    return replace(tree, children=children)


def test_bins_of_a_distribution() -> None:
    """The decode counts bins 0, 1, 2, ...: a head that stores others is refused, as is one of fewer levels."""
    _exported(lambda root: root)
    with pytest.raises(RkdeployError, match=r"dfl.* weights 4 bins with .*3\.5"):
        _exported(_with_bins)
    with pytest.raises(RkdeployError, match=r"nl 7, expected 1"):
        _exported(lambda root: _with_attributes(root, "OBB", {"nl": 7}))

"""Emitters for the blocks of YOLO-World and YOLOE, whose classes are vectors: those of the file become weights.

Formulas are those of the forward passes in inference mode (ultralytics.nn.modules.block, head and tasks).  A class's
score is the product of its vector with the feature of a cell, which is a convolution once the vectors are constants.
YOLO-World's first version also lets the image change the vectors (ImagePoolingAttn): the blocks behind that multiply
two computed tensors, all other blocks only convolve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import convolutions, layer_settings, layers
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.csp_blocks import halves, joined
from rkdeploy.host.export.emission import Emission, Emitter, chain, child, emit, one
from rkdeploy.host.export.transformer_blocks import layer_norm

Floats = NDArray[np.float32]

CONTRAST = "rkdeploy.Contrast"
"""Class name of a made-up module: the scores of a level, with the children `features` and `contrast`."""
POINTWISE = "rkdeploy.Pointwise"
"""Class name of a made-up module: a Linear or 1x1 convolution, its child `layer`, over the cells of a map."""
VOCABULARY_BLOCKS = frozenset({"C2fAttn", "ImagePoolingAttn"})
"""Classes of the checkpoint's own blocks that take vectors."""
_TEXTS = "texts"  # key of the vectors that the image has changed, in `Emission.parts`
_EPS = 1e-12  # of torch's normalize


def vocabulary_blocks(vectors: Floats) -> Mapping[str, Emitter]:
    """The emitters for a vocabulary.

    Args:
        vectors: (classes, D), one per class.
    """
    return {
        "C2fAttn": partial(_c2f_attn, vectors),
        "ImagePoolingAttn": partial(_image_pooling, vectors),
        CONTRAST: partial(_contrast, vectors),
        POINTWISE: _pointwise,
    }


def _contrast(vectors: Floats, emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """exp(scale) (w . f(x)) + bias, w of length 1: ContrastiveHead, which normalizes f(x) too, or its BatchNorm form.

    The last convolution of `features`, the BatchNorm and the product become one convolution where nothing normalizes.
    """
    steps, head = list(module.child("features").children.values()), module.child("contrast")
    value = one(module, inputs)
    for step in steps[:-1]:
        value = emit(emission, step, [value])
    unit = vectors.astype(np.float64)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), _EPS)
    unit = unit * np.exp(float(head.array("logit_scale").ravel()[0]))
    bias = np.full(len(unit), float(head.array("bias").ravel()[0]))
    last = steps[-1]
    if "norm" not in head.children:
        value = _normalized(emission, head, convolutions.convolution(emission.builder, last, value))
        return convolutions.convolution(emission.builder, _plain(head), value, weight=unit[:, :, None, None], bias=bias)
    gain, shift = convolutions.batch_norm_scale(head.child("norm"))
    weight = np.einsum("tc,cihw->tihw", unit * gain, last.array("weight").astype(np.float64))
    return convolutions.convolution(
        emission.builder, last, value, weight=weight,
        bias=bias + unit @ (last.array("bias").astype(np.float64) * gain + shift),
    )  # fmt: skip


def _normalized(emission: Emission, module: Module, value: Value) -> Value:
    """The channels of each cell, scaled to length 1."""
    builder, path = emission.builder, module.path
    n, _, h, w = value.shape
    squares = builder.elementwise("Mul", path, value, value)
    axes = builder.constant(f"{path}.axes", np.array([1], np.int64))
    total = builder.add("ReduceSum", path, [squares, axes], (n, 1, h, w), {"keepdims": 1})
    length = builder.add("Sqrt", path, [total], total.shape)
    return builder.elementwise("Div", path, value, builder.elementwise("Max", path, length, _EPS))


def _plain(module: Module) -> Module:
    """A convolution of one cell at a time at a module's place: without stride, padding or groups."""
    return Module("Conv2d", module.module_name, module.path, {}, {}, {})


def _pointwise(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    layer = module.child("layer")
    weight = layer.array("weight")
    weight = weight.reshape(*weight.shape[:2], 1, 1)
    bias = layer.array("bias").astype(np.float64)
    return convolutions.convolution(emission.builder, _plain(layer), one(module, inputs), weight=weight, bias=bias)


def _c2f_attn(vectors: Floats, emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cat(a, b, m0(b), ..., attn(last, vectors))) with a, b = halves of cv1(x)."""
    a, b = halves(emission, module, child(emission, module, "cv1", one(module, inputs)))
    steps = chain(emission, module.child("m"), b)
    attended = _max_sigmoid(vectors, emission, module.child("attn"), [b, *steps][-1])
    return joined(emission, module, [a, b, *steps, attended], "cv2")


def _max_sigmoid(vectors: Floats, emission: Emission, module: Module, value: Value) -> Value:
    """proj_conv(x) times sigmoid(largest of (ec(x) . gl(w)) / sqrt(d) over all classes w + bias), head by head."""
    builder, path = emission.builder, module.path
    n, _, h, w = value.shape
    heads, depth = layer_settings.whole_number(module, "nh", 1), layer_settings.whole_number(module, "hc", 0)
    embedded = child(emission, module, "ec", value) if "ec" in module.children else value
    if embedded.channels != heads * depth:
        raise GraphError(f'"{path}" has {embedded.channels} channels for {heads} heads of {depth}.')
    texts = emission.parts.get(_TEXTS)
    if texts is None:
        guide = vectors @ module.child("gl").array("weight").T + module.child("gl").array("bias")
        weight = guide.reshape(-1, heads, depth).transpose(1, 0, 2).reshape(-1, depth, 1, 1) * depth**-0.5
        grouped = Module("Conv2d", "", f"{path}.gl", {"groups": heads}, {}, {})
        products = convolutions.convolution(builder, grouped, embedded, weight=weight, bias=np.zeros(len(weight)))
        alike = builder.reshape(path, products, (heads, len(vectors), h * w))
        best = builder.add("ReduceMax", path, [alike], (heads, 1, h * w), {"axes": [1], "keepdims": 1})
    else:
        guided = layers.linear_module(builder, module.child("gl"), texts[0])
        count = guided.shape[1]
        guided = builder.transpose(path, builder.reshape(path, guided, (count, heads, depth)), (1, 0, 2))
        cells = builder.reshape(path, embedded, (heads, depth, h * w))
        alike = builder.add("MatMul", path, [guided, cells], (heads, count, h * w))
        best = builder.add("ReduceMax", path, [alike], (heads, 1, h * w), {"axes": [1], "keepdims": 1})
        best = builder.elementwise("Mul", path, best, depth**-0.5)
    shifted = builder.elementwise("Add", path, best, module.array("bias").reshape(heads, 1, 1))
    gate = builder.add("Sigmoid", path, [shifted], shifted.shape)
    if "scale" in module.tensors:
        gate = builder.elementwise("Mul", path, gate, module.array("scale").reshape(heads, 1, 1))
    projected = child(emission, module, "proj_conv", value)
    split = builder.reshape(path, projected, (heads, projected.channels // heads, h * w))
    return builder.reshape(path, builder.elementwise("Mul", path, split, gate), (n, projected.channels, h, w))


def _image_pooling(vectors: Floats, emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """The vectors after attention to k x k maxima of each level, w + scale proj(attention): later blocks take these."""
    builder, path = emission.builder, module.path
    side, heads = layer_settings.whole_number(module, "k", 3), layer_settings.whole_number(module, "nh", 8)
    depth, count = layer_settings.whole_number(module, "hc", 0), len(vectors)
    tokens = []
    for number, value in enumerate(inputs):
        projected = child(emission, module.child("projections"), str(number), value)
        pooled = _pooled(emission, module, projected, side)
        tokens.append(builder.reshape(path, pooled, (1, projected.channels, side * side)))
    image = builder.transpose(path, builder.concat(path, tokens, 2), (0, 2, 1))
    texts = Value(builder.constant(f"{path}.texts", vectors[None]), (1, *vectors.shape))

    def part(name: str, value: Value, order: tuple[int, int, int]) -> Value:
        norm, linear = module.child(name).children.values()
        normal = layers.linear_module(builder, linear, layer_norm(builder, norm, value))
        return builder.transpose(path, builder.reshape(path, normal, (normal.shape[1], heads, depth)), order)

    places = image.shape[1]
    logits = builder.add(
        "MatMul", path, [part("query", texts, (1, 0, 2)), part("key", image, (1, 2, 0))], (heads, count, places)
    )
    scaled = builder.elementwise("Mul", path, logits, depth**-0.5)
    shares = builder.add("Softmax", path, [scaled], scaled.shape, {"axis": -1})
    mixed = builder.add("MatMul", path, [shares, part("value", image, (1, 0, 2))], (heads, count, depth))
    mixed = builder.reshape(path, builder.transpose(path, mixed, (1, 0, 2)), (1, count, heads * depth))
    change = child(emission, module, "proj", mixed)
    if "scale" in module.tensors:
        change = builder.elementwise("Mul", path, change, module.array("scale").reshape(1, 1, 1))
    changed = builder.elementwise("Add", path, change, vectors[None])
    emission.parts[_TEXTS] = (changed,)
    return changed


def _pooled(emission: Emission, module: Module, value: Value, side: int) -> Value:
    """AdaptiveMaxPool2d: the maxima of side x side windows, (1, C, side, side)."""
    builder, path = emission.builder, module.path
    _, c, h, w = value.shape
    maxima = []
    for row in range(side):
        for column in range(side):
            low = [floor(row * h / side), floor(column * w / side)]
            high = [ceil((row + 1) * h / side), ceil((column + 1) * w / side)]
            names = [
                builder.constant(f"{path}.{name}", np.array(numbers, np.int64))
                for name, numbers in (("low", low), ("high", high), ("axes", [2, 3]))
            ]
            window = builder.add("Slice", path, [value, *names], (1, c, high[0] - low[0], high[1] - low[1]))
            maxima.append(builder.add("GlobalMaxPool", path, [window], (1, c, 1, 1)))
    return builder.reshape(path, builder.concat(path, maxima, 3), (1, c, side, side))

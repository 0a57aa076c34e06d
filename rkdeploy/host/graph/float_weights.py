"""Float form of ONNX files that were quantized before: the toolkit quantizes again, on the images of the build.

Each tensor of integers is taken for the real values that it stands for: the rounding of activations is left out, and
weights keep the values that they were rounded to.  Known forms are those of onnxruntime's quantizers: pairs of
QuantizeLinear and DequantizeLinear, operators of their own (QLinearConv, ...), and integer weights whose activations
are rounded as they come (DynamicQuantizeLinear, ConvInteger).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView, attributes

_OF_BYTES: Final = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"
})  # fmt: skip
_PREFIXES: Final = ("QLinear", "QGemm")
_TWO_SIDED: Final = {"QLinearAdd": "Add", "QLinearMul": "Mul", "QLinearMatMul": "MatMul"}
"""Operators of two tensors, each followed by its scale and zero point."""
_ONE_SIDED: Final = {
    "QLinearSigmoid": "Sigmoid", "QLinearLeakyRelu": "LeakyRelu", "QLinearSoftmax": "Softmax",
    "QLinearAveragePool": "AveragePool", "QLinearGlobalAveragePool": "GlobalAveragePool",
}  # fmt: skip
"""Operators of one tensor, followed by its scale and zero point."""
_OWN_SETTINGS: Final = frozenset({"channels_last", "opset"})
"""Attributes that only the integer operators have."""
_SUMS: Final = frozenset({"Conv", "ConvTranspose", "Add", "Gemm", "MatMul", "BatchNormalization"})
"""Operators behind which onnxruntime's quantizers drop a ReLU or a Clip that the integers' range has anyway."""
_BACK: Final = "DequantizeLinear"
_PASSING: Final = frozenset({"QuantizeLinear", _BACK, "Transpose", "Reshape", "Identity"})
_MOST_PASSED: Final = 16
"""Operators between a softmax and its mean: more are not looked through."""
_SIX = 6.0
_NEAR_SIX = 1e-3
_LEAST_SHARE = 0.1
"""Of the sums, those with a range from 0 on where it stands for an activation: half or more, with residuals too."""
QUANTIZED_NOTE: Final = (
    "The ONNX file is quantized already: the float model that the build is compared with has its weights as they were "
    "rounded. What they lost is lost: if you have the float model, build from that."
)
"""Note for the user."""
_FLOAT_MODEL = "Give the float model that it was made from: the toolkit quantizes it on the images of --calib."


def is_quantized(model: onnx.ModelProto) -> bool:
    """True if the graph computes with integers that stand for real values."""
    return any(_of_bytes(node) for node in model.graph.node)


def with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in floating point.

    Args:
        model: quantized, nodes in order, weights loaded.

    Raises:
        GraphError: naming an integer operator whose float form is not known, or one whose weights are computed.
    """
    graph = GraphView(model)
    rewriting = _Rewriting(graph, drops_activations=_drops_activations(graph))
    for node in model.graph.node:
        rewriting.take(node)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(rewriting.nodes)
    result.graph.initializer.extend(rewriting.constants)
    return result


def _of_bytes(node: onnx.NodeProto) -> bool:
    return node.op_type in _OF_BYTES or node.op_type.startswith(_PREFIXES)


@dataclass(slots=True)
class _Rewriting:
    """The nodes and constants of the float form, as they are added."""

    graph: GraphView
    drops_activations: bool
    """True if the quantizer dropped activations, see `_drops_activations`."""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    """Tensors that an earlier node's float form computes."""

    def take(self, node: onnx.NodeProto) -> None:
        """Append the float form of a node."""
        if node.output and node.output[0] in self.done:
            return
        if node.op_type in _RULES:
            _RULES[node.op_type](self, node)
        elif node.op_type in _TWO_SIDED:
            self.add(_TWO_SIDED[node.op_type], [self.real(node, 0), self.real(node, 3)], node)
        elif node.op_type in _ONE_SIDED:
            self.add(_ONE_SIDED[node.op_type], [self.real(node, 0)], node)
        elif _of_bytes(node):
            raise GraphError(
                f'The graph is quantized, and its node "{node.name or node.output[0]}" is the operator '
                f'"{node.op_type}", whose float form is not known.',
                _FLOAT_MODEL,
            )
        else:
            self.nodes.append(node)

    def add(self, kind: str, inputs: list[str], like: onnx.NodeProto, output: str = "") -> None:
        """Append an operator with the settings of the integer one."""
        settings = {name: value for name, value in attributes(like).items() if name not in _OWN_SETTINGS}
        if kind == "Identity":
            settings = {}
        self.nodes.append(helper.make_node(kind, inputs, [output or like.output[0]], name=like.name, **settings))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Append a constant in float32."""
        self.constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def real(self, node: onnx.NodeProto, place: int, *, axis: int | None = None) -> str:
        """The float tensor of an input that its scale and zero point follow."""
        values = self.graph.stored(node.input[place])
        if values is None:
            return node.input[place]
        scale, zero = self.scale(node, place + 1), self.zero(node, place + 2)
        return self.constant(f"{node.output[0]}.{place}", _dequantized(values, scale, zero, axis))

    def scale(self, node: onnx.NodeProto, place: int) -> NDArray[Any]:
        """The constant at a place of a node's inputs.

        Raises:
            GraphError: when it is computed.
        """
        value = self.graph.stored(node.input[place])
        if value is None:
            raise GraphError(
                f'The graph is quantized, and "{node.input[place]}" of its node "{node.name or node.output[0]}" is '
                "computed, expected a constant.",
                _FLOAT_MODEL,
            )
        return value

    def zero(self, node: onnx.NodeProto, place: int) -> NDArray[Any]:
        """The zero point at a place, 0 where there is none."""
        given = len(node.input) > place and node.input[place]
        return self.scale(node, place) if given else np.zeros((), np.uint8)


def _dequantized(values: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """(integer - zero point) * scale, along one axis where there are several."""
    steps = values.astype(np.float64) - _along(zero, values, axis)
    real: NDArray[Any] = steps * _along(scale, values, axis)
    return real


def _rounded(values: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Real values after quantization and back."""
    limits = np.iinfo(zero.dtype)
    steps = np.rint(values.astype(np.float64) / _along(scale, values, axis)) + _along(zero, values, axis)
    return _dequantized(np.clip(steps, limits.min, limits.max), scale, zero, axis)


def _along(numbers: NDArray[Any], values: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Scales or zero points in the shape that goes with the values.

    Raises:
        GraphError: for several numbers per index of the axis: a scale per block.
    """
    real = numbers.astype(np.float64)
    if real.size == 1:
        return real.reshape(())
    if axis is None:
        return real
    place = axis % max(values.ndim, 1)
    if real.ndim != 1 or not values.ndim or real.size != values.shape[place]:
        raise GraphError(
            f"The graph is quantized with scales of shape {numbers.shape} for values of shape {values.shape}, expected "
            f"one scale, or one for each index of axis {place}.",
            _FLOAT_MODEL,
        )
    return real.reshape([-1 if i == place else 1 for i in range(values.ndim)])


def _quantize(to: _Rewriting, node: onnx.NodeProto) -> None:
    """Round a constant; pass anything else on, bounded where the integers' range stands for a dropped activation."""
    values = to.graph.stored(node.input[0])
    if values is not None:
        axis = attributes(node).get("axis", 1)
        to.constant(node.output[0], _rounded(values, to.scale(node, 1), to.zero(node, 2), axis))
        return
    source = to.graph.producer(node.input[0])
    bounded = source is not None and source.op_type in _SUMS and not _is_mean_of_bins(to.graph, source)
    _finish(to, node, node.input[0], (1, 2), bounded=bounded)


def _drops_activations(graph: GraphView) -> bool:
    """True if a range without negative numbers stands for a ReLU: if many sums have one.

    In a network of other activations it is chance: the logits of a level were above 0 on all of the quantizer's images.
    """
    sums, bounded = 0, 0
    for node in graph.model.graph.node:
        source = graph.producer(node.input[0]) if node.op_type == "QuantizeLinear" else None
        place = 2 if source is not None and source.op_type in _SUMS else 7 if node.op_type == "QLinearConv" else None
        if place is None:
            continue
        zero = graph.stored(node.input[place]) if len(node.input) > place else None
        sums += 1
        bounded += zero is not None and zero.size == 1 and int(zero.flat[0]) == np.iinfo(zero.dtype).min
    return bounded >= _LEAST_SHARE * sums


def _is_mean_of_bins(graph: GraphView, node: onnx.NodeProto) -> bool:
    """True for a convolution of shares whose weights have no negative number: it needs no ReLU for such a range.

    The mean of a softmax, as the boxes of YOLOv8 have it.
    """
    if node.op_type != "Conv" or len(node.input) > 2:
        return False
    weights = graph.producer(node.input[1])
    constant = graph.stored(weights.input[0] if weights is not None and weights.op_type == _BACK else node.input[1])
    zero = graph.stored(weights.input[2]) if weights is not None and len(weights.input) > 2 else np.zeros(())
    if constant is None or zero is None or (constant.astype(np.float64) < zero.astype(np.float64).min()).any():
        return False
    source = graph.producer(node.input[0])
    for _ in range(_MOST_PASSED):
        if source is None or source.op_type not in _PASSING:
            break
        source = graph.producer(source.input[0])
    return source is not None and source.op_type == "Softmax"


def _finish(to: _Rewriting, node: onnx.NodeProto, tensor: str, places: tuple[int, int], *, bounded: bool) -> None:
    """Compute a node's output of a tensor: with a ReLU where its range has no negative numbers."""
    scale, zero = to.scale(node, places[0]), to.zero(node, places[1])
    limits = np.iinfo(zero.dtype)
    whole = scale.size == zero.size == 1
    low, high = ((limit - int(zero.flat[0])) * float(scale.flat[0]) for limit in (limits.min, limits.max))
    name = f"{node.output[0]}.range"
    if not (bounded and to.drops_activations and whole and low == 0.0):
        to.nodes.append(helper.make_node("Identity", [tensor], [node.output[0]], name=name))
    elif abs(high - _SIX) < _NEAR_SIX:
        ends = [to.constant(f"{node.output[0]}.{end}", np.array(v)) for end, v in (("low", 0.0), ("high", _SIX))]
        to.nodes.append(helper.make_node("Clip", [tensor, *ends], [node.output[0]], name=name))
    else:
        to.nodes.append(helper.make_node("Relu", [tensor], [node.output[0]], name=name))


def _dequantize(to: _Rewriting, node: onnx.NodeProto) -> None:
    """Make a constant real, pass anything else on."""
    values = to.graph.stored(node.input[0])
    if values is None:
        to.add("Identity", [node.input[0]], node)
        return
    axis = attributes(node).get("axis", 1)
    to.constant(node.output[0], _dequantized(values, to.scale(node, 1), to.zero(node, 2), axis))


def _quantize_as_it_comes(to: _Rewriting, node: onnx.NodeProto) -> None:
    """Pass the values on, with a scale of 1 and a zero point of 0."""
    to.add("Identity", [node.input[0]], node)
    for name, value in zip(node.output[1:], (1.0, 0.0), strict=False):
        to.constant(name, np.array(value))


def _convolution(to: _Rewriting, node: onnx.NodeProto) -> None:
    """Convolve with real weights; their scale is multiplied behind it, which is taken in where it is found."""
    weight = to.scale(node, 1)
    factor, behind = _factor_behind(to.graph, node.output[0])
    values = _dequantized(weight, np.array(factor), to.zero(node, 3), 0)
    to.done.update(behind)
    end = behind[-1] if behind else node.output[0]
    to.add("Conv", [node.input[0], to.constant(f"{node.output[0]}.weight", values)], node, output=end)


def _factor_behind(graph: GraphView, tensor: str) -> tuple[float, tuple[str, ...]]:
    """The scale of the weights in the product behind an integer convolution, and the tensors up to that product.

    (1, nothing) where the graph is of another form.
    """
    found: list[onnx.NodeProto] = []
    for kind in ("Cast", "Mul"):
        consumers = graph.consumers(found[-1].output[0] if found else tensor)
        if len(consumers) != 1 or consumers[0].op_type != kind:
            return 1.0, ()
        found.append(consumers[0])
    cast, product = found
    scales = next((graph.producer(name) for name in product.input if name != cast.output[0]), None)
    if scales is None or scales.op_type != "Mul":
        return 1.0, ()
    known = [value for name in scales.input if (value := graph.stored(name)) is not None]
    if len(known) != 1 or known[0].size != 1:
        return 1.0, ()
    return float(known[0].flat[0]), (cast.output[0], product.output[0])


def _product(to: _Rewriting, node: onnx.NodeProto) -> None:
    """Multiply with real numbers, whose scales are multiplied behind it."""
    weight = to.graph.stored(node.input[1])
    second = node.input[1]
    if weight is not None:
        values = _dequantized(weight, np.ones(()), to.zero(node, 3), -1)
        second = to.constant(f"{node.output[0]}.weight", values)
    to.add("MatMul", [node.input[0], second], node)


def _whole_convolution(to: _Rewriting, node: onnx.NodeProto) -> None:
    """QLinearConv: convolve with real weights and biases."""
    inputs = [to.real(node, 0), to.real(node, 3, axis=0)]
    if len(node.input) > 8 and node.input[8]:
        scale = to.scale(node, 1).astype(np.float64) * to.scale(node, 4).astype(np.float64)
        inputs.append(to.constant(f"{node.output[0]}.bias", to.scale(node, 8) * scale.ravel()))
    sums = f"{node.output[0]}.sums"
    to.add("Conv", inputs, node, output=sums)
    _finish(to, node, sums, (6, 7), bounded=True)


def _whole_product(to: _Rewriting, node: onnx.NodeProto) -> None:
    """QGemm: multiply with real weights and biases."""
    inputs = [to.real(node, 0), to.real(node, 3, axis=0 if attributes(node).get("transB") else 1)]
    if len(node.input) > 6 and node.input[6]:
        scale = to.scale(node, 1).astype(np.float64) * to.scale(node, 4).astype(np.float64)
        inputs.append(to.constant(f"{node.output[0]}.bias", to.scale(node, 6) * scale.ravel()))
    to.add("Gemm", inputs, node)


def _side_by_side(to: _Rewriting, node: onnx.NodeProto) -> None:
    """QLinearConcat: scale and zero point of the output come first."""
    to.add("Concat", [to.real(node, place) for place in range(2, len(node.input), 3)], node)


_RULES: Final[Mapping[str, Callable[[_Rewriting, onnx.NodeProto], None]]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _quantize_as_it_comes,
    "ConvInteger": _convolution,
    "MatMulInteger": _product,
    "QLinearConv": _whole_convolution,
    "QGemm": _whole_product,
    "QLinearConcat": _side_by_side,
}

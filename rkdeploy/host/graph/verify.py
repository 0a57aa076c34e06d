"""The proof that the contract describes the network correctly: two ways to the same figures must agree.

One way is the trained model's own decode inside the full graph.  The other is the cut graph's raw tensors put through
the numpy decode that runs on the board, with the contract's anchors, strides, roles and activations.  A wrong anchor,
stride, order or activation cannot pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.record import FieldError, Verification
from rkdeploy.contract.spec import Activation, ModelSpec
from rkdeploy.device.postprocess.decoder import DenseField
from rkdeploy.device.postprocess.depth_reader import depth_of
from rkdeploy.device.postprocess.embedding_reader import unit_vector
from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import VerificationError
from rkdeploy.host.graph.head import DecodedTensor, Head, read_rows
from rkdeploy.host.graph.rounding import RoundingNoise
from rkdeploy.host.graph.session import Session

_LOG = logging.getLogger(__name__)

TOLERANCES = {"px": 1e-3, "score": 1e-4, "rad": 1e-4, "value": 1e-4}
"""Difference allowed for the arithmetic of the two decodes, by unit; `_ROUNDING` of the figure itself is added."""
NOISE_FACTOR = 4.0
"""Difference allowed for float32 sums in another order, in multiples of the noise; see docs/verification.md."""
_ROUNDING = 2e-6
_CEILINGS = {"px": 0.1, "score": 0.005, "rad": 0.005, "value": 0.0}
"""Upper limits of the noise's allowance, by unit, or `_CEILING_SHARE` of the figure: half of the smallest fault's
effect.
"""
_CEILING_SHARE = 0.005
_SIGMOID_ERROR = 2.0**-23
"""Absolute error of a sigmoid near 0: a root below 1 makes more of it."""
_PROBES = 8
"""Draws per figure.  The smallest estimate among 270,000 figures is 0.16 of the figure's noise (chi-squared, lower
tail); with four draws it would be 0.04.
"""
_PHRASES = {
    "xy": ("box centers differ", "strides or order"),
    "wh": ("box sizes differ", "anchors or distances"),
    "objectness": ("objectness differs", "activation or order"),
    "scores": ("scores differ", "activation or order"),
    "keypoint_xy": ("keypoints differ", "their formula"),
    "keypoint_scores": ("visibilities differ", "activation or order"),
    "coefficients": ("mask coefficients differ", "order"),
    "angle": ("angles differ", "their formula"),
}


@dataclass(frozen=True, slots=True)
class Wording:
    """Words of a refusal.

    Attributes:
        failure: what is wrong, before the differences.
        hint: what to do.
    """

    failure: str
    hint: str


_TRAINED_DECODE = Wording(
    "The contract does not describe this network correctly",
    "Nothing was written. If the anchors came from --weights, they belong to another model.",
)

Images = Iterable[tuple[str, NDArray[np.uint8]]]
"""(name, (1, height, width, 3) uint8 in the contract's color order)."""


def verify(full: onnx.ModelProto, head: Head, cut: onnx.ModelProto, spec: ModelSpec, images: Images) -> Verification:
    """Compare the full graph's decode with the contract's decode of the cut graph.

    The two graphs may sum in another order, which changes float32 results; the effect on a decoded figure is
    measured, see docs/verification.md.

    Args:
        full: the network with the decode that its trainer exported.
        head: the head of `full`, which describes its outputs.
        cut: the cut graph.
        spec: the contract.
        images: at least one.

    Raises:
        VerificationError: when they differ by more than float32 rounding can, with the figures; when a figure is NaN or
            infinite.
    """
    session = Session(full)
    reader = CutReader(cut, spec, rows=head.rows is not None, image_fields=lambda raw: _image_fields(head, raw))
    return compare_decodes(lambda inputs: trained_fields(head, session.run(inputs)), reader, images, _TRAINED_DECODE)


def compare_decodes(
    expected_of: Callable[[Mapping[str, NDArray[np.float32]]], list[DenseField]],
    reader: CutReader,
    images: Images,
    wording: Wording,
) -> Verification:
    """Compare the contract's decode of a cut graph with what it should be.

    Args:
        expected_of: the fields that it should give for one image.
        reader: of the cut graph.
        images: at least one.
        wording: of a refusal.

    Raises:
        VerificationError: as for `verify`.
    """
    spec = reader.spec
    rooted = spec.points is not None and spec.points.score == "root"
    names: list[str] = []
    rows = 0
    worst: dict[str, FieldError] = {}
    for name, image in images:
        inputs = {spec.input.name: network_input(image, spec)}
        expected = expected_of(inputs)
        got, noise = reader.read(inputs)
        _require_finite(name, expected, got)
        rows += len(expected[0].values)
        for error in _differences(expected, got, noise, rooted=rooted):
            if error.name not in worst or error.excess > worst[error.name].excess:
                worst[error.name] = error
        names.append(name)
    if not names:
        raise VerificationError("There is no image to verify the contract with.")
    result = Verification(len(names), tuple(names), rows, tuple(worst.values()))
    for error in result.fields:
        _LOG.debug("%s differs by up to %.3g of its tolerance", error.name, error.excess)
    _require(result, wording)
    return result


class CutReader:
    """The contract's decode of a cut graph, and the effect of float32 rounding on each decoded figure."""

    def __init__(
        self,
        cut: onnx.ModelProto,
        spec: ModelSpec,
        *,
        rows: bool,
        image_fields: Callable[[Mapping[str, NDArray[np.float32]]], list[DenseField]],
    ) -> None:
        """Open the graph.

        Args:
            cut: the cut graph.
            spec: contract of the cut graph.
            rows: True if there are rows to decode.
            image_fields: the fields of the tensors of the whole image.

        Raises:
            GraphError: when onnxruntime rejects the graph.
        """
        self._session, self._noise = Session(cut), RoundingNoise(cut)
        self._image_fields, self.spec = image_fields, spec
        self._decoder = decoder_for(spec) if rows else None

    def read(
        self, inputs: Mapping[str, NDArray[np.float32]]
    ) -> tuple[list[DenseField], dict[str, NDArray[np.float64]]]:
        """The fields of one image, and by name the noise of their values, of the same shape."""
        raw = self._session.run(inputs)
        noise = self._noise.of(inputs, raw)
        fields = self._fields(raw)
        moved = {field.name: np.zeros(field.values.shape) for field in fields}
        rng = np.random.default_rng(0)
        for _ in range(_PROBES):
            probe = {name: _moved(values, noise[name], rng) for name, values in raw.items()}
            for field, other in zip(fields, self._fields(probe), strict=True):
                moved[field.name] += (other.values.astype(np.float64) - field.values) ** 2
        return fields, {name: np.sqrt(squares / _PROBES) for name, squares in moved.items()}

    def _fields(self, raw: Mapping[str, NDArray[np.float32]]) -> list[DenseField]:
        tensors = [HeadTensor(raw[output.name]) for output in self.spec.outputs]
        rows = list(self._decoder.decode_dense(tensors)) if self._decoder else []
        return rows + self._image_fields(raw)


def _moved(values: NDArray[np.float32], noise: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Every value moved by its channel's noise times a normal number.

    Signs alone would not do: two bins that share a box's side often get the same one every time, and do not move it.
    """
    moved: NDArray[np.float32] = (values + noise * rng.standard_normal(values.shape)).astype(np.float32)
    return moved


def _require_finite(image: str, *sides: Iterable[DenseField]) -> None:
    for fields, whose in zip(sides, ("full graph", "cut graph"), strict=True):
        for field in fields:
            if not np.isfinite(field.values).all():
                raise VerificationError(
                    f'The {whose} gives NaN or infinity in "{field.name}" on "{image}".',
                    "The weights are damaged or the training diverged; evaluate the model in its training framework.",
                )


def trained_fields(head: Head, outputs: Mapping[str, NDArray[np.float32]]) -> list[DenseField]:
    """The full graph's outputs, field by field, rows in the contract's order."""
    fields = list(read_rows(head.rows, outputs)) if head.rows is not None else []
    channels = {tap.name: tap.shape[1] for tap in head.taps}
    for tensor in head.tensors:
        values = outputs[tensor.output]
        values = values.reshape(-1, channels[tensor.tap]).T if tensor.side_by_side else values
        fields.append(whole_field(tensor.tap, tensor.activation, values))
    return fields


def _image_fields(head: Head, raw: Mapping[str, NDArray[np.float32]]) -> list[DenseField]:
    """The cut graph's whole-image tensors, with the activation or formula that follows in the full graph."""
    depths = {tap.name for tap in head.taps if tap.role == "depth_map"}
    return [whole_field(t.tap, t.activation, _finished(raw[t.tap], t, head, depths)) for t in head.tensors]


def _finished(
    values: NDArray[np.float32], tensor: DecodedTensor, head: Head, depths: Container[str]
) -> NDArray[np.float32]:
    """One whole-image tensor as the full graph gives it."""
    if tensor.normalized:
        return unit_vector(values.reshape(-1))
    if tensor.tap not in depths:
        return _activated(values, tensor.activation)
    assert head.depth is not None, "a head with a depth map has its formula"
    return depth_of(values, head.depth)


def whole_field(name: str, activation: Activation, values: NDArray[np.float32]) -> DenseField:
    """All values of a tensor of the whole image as one field."""
    return DenseField(name, "value" if activation == "linear" else "score", values.reshape(1, -1))


def _activated(values: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    if activation == "sigmoid":
        probabilities: NDArray[np.float32] = (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)
        return probabilities
    if activation == "softmax":
        powers = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares
    return values


def _differences(
    expected: Iterable[DenseField],
    got: Iterable[DenseField],
    noise: Mapping[str, NDArray[np.float64]],
    *,
    rooted: bool,
) -> Iterable[FieldError]:
    decoded, trained = ({field.name: field for field in fields} for fields in (got, expected))
    ours, theirs = _joined(decoded, trained), _joined(trained, decoded)
    if ours.keys() != theirs.keys():
        raise VerificationError(
            f"The full graph decodes {', '.join(sorted(theirs))}; the contract {', '.join(sorted(ours))}."
        )
    for name, field in theirs.items():
        a, b = field.values.astype(np.float64), ours[name].values.astype(np.float64)
        if a.shape != b.shape:
            raise VerificationError(f'The full graph decodes "{name}" of shape {a.shape}, the contract {b.shape}.')
        if a.size:
            difference, allowed = np.abs(a - b), _allowed(field.unit, a, noise[name])
            if rooted and name == "scores":
                allowed += _root_of_sigmoid_error(a)
            at = int(np.argmax(difference / allowed))
            yield FieldError(name, field.unit, float(difference.flat[at]), float(allowed.flat[at]))


def _joined(fields: Mapping[str, DenseField], others: Mapping[str, DenseField]) -> Mapping[str, DenseField]:
    """The fields of one side, with scores times objectness where the other side only gives the product."""
    if "objectness" in others or "objectness" not in fields:
        return fields
    scores, objectness = fields["scores"], fields["objectness"]
    product = DenseField("scores", scores.unit, scores.values * objectness.values)
    return {name: field for name, field in fields.items() if name != "objectness"} | {"scores": product}


def _allowed(unit: str, values: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """The difference allowed for each value: for the decodes' arithmetic, and for the rounding before it."""
    size = np.abs(values)
    share = _CEILING_SHARE * (size.max() if unit == "value" else size)
    ceiling = np.maximum(_CEILINGS[unit], share)
    allowed: NDArray[np.float64] = TOLERANCES[unit] + _ROUNDING * size + np.fmin(NOISE_FACTOR * noise, ceiling)
    return allowed


def _root_of_sigmoid_error(roots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Change of square roots by the error of what is below them: its root near 0, otherwise by the derivative."""
    near_zero: NDArray[np.float64] = np.full(roots.shape, np.sqrt(_SIGMOID_ERROR))
    return np.minimum(near_zero, _SIGMOID_ERROR / np.maximum(2 * roots, _SIGMOID_ERROR))


def network_input(image: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """(1, H, W, 3) uint8 to the graph's (1, 3, H, W) float32, (pixel - mean) / std."""
    mean, std = np.array(spec.input.mean, np.float32), np.array(spec.input.std, np.float32)
    return np.ascontiguousarray(((image.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2))


def _require(result: Verification, wording: Wording) -> None:
    wrong = []
    for error in result.fields:
        if not error.excess <= 1:
            what, cause = _PHRASES.get(error.name, (f'"{error.name}" differs', "the activation"))
            unit = f" {error.unit}" if error.unit in {"px", "rad"} else ""
            wrong.append(f"{what} by {error.max_error:.3g}{unit} ({cause}), allowed is {error.allowed:.3g}")
    if wrong:
        raise VerificationError(f"{wording.failure}: {'; '.join(wrong)}.", wording.hint)

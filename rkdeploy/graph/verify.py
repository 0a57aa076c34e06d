"""The proof that the contract reads the network right: two ways to the same figures must agree.

One way is the trained model's own decode inside the full graph.  The other is the cut graph's raw tensors put through
the numpy decode that runs on the board, with the contract's anchors, strides, roles and activations.  A wrong anchor,
stride, order or activation cannot pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.errors import VerificationError
from rkdeploy.graph.head import Head, read_rows
from rkdeploy.graph.session import Session
from rkdeploy.postprocess.decoder import DenseField
from rkdeploy.postprocess.postprocessor import decoder_for
from rkdeploy.record import FieldError, Verification
from rkdeploy.runtime.protocol import HeadTensor
from rkdeploy.spec import Activation, ModelSpec

TOLERANCES = {"px": 1e-3, "score": 1e-4, "rad": 1e-4, "value": 1e-4}
"""Largest difference allowed, by unit; float32 rounds in proportion, so `_ROUNDING` of the figure itself is added."""
_ROUNDING = 2e-6
_REWRITE_TOLERANCE = 1e-5
_PHRASES = {
    "xy": ("box centres differ", "strides or order"),
    "wh": ("box sizes differ", "anchors or distances"),
    "objectness": ("objectness differs", "activation or order"),
    "scores": ("scores differ", "activation or order"),
    "keypoint_xy": ("keypoints differ", "their formula"),
    "keypoint_scores": ("visibilities differ", "activation or order"),
    "coefficients": ("mask coefficients differ", "order"),
    "angle": ("angles differ", "their formula"),
}

Images = Iterable[tuple[str, NDArray[np.uint8]]]
"""(name, (1, height, width, 3) uint8 in the contract's colour order)."""


def verify(
    full: onnx.ModelProto,
    head: Head,
    cut: onnx.ModelProto,
    spec: ModelSpec,
    images: Images,
    *,
    separate: bool = False,
) -> Verification:
    """Compare the full graph's decode with the contract's decode of the cut graph.

    Args:
        full: the network with the decode that its trainer exported.
        head: the head of `full`, which knows how its outputs are read.
        cut: the cut graph.
        spec: the contract.
        images: at least one.
        separate: the two graphs were exported separately, so that their float32 sums go other ways round; decoding
            multiplies that by the size of a box, and the tolerance is that of `verify_rewrite`.

    Raises:
        VerificationError: when they differ by more than the tolerances, saying in what.
    """
    rounding = _REWRITE_TOLERANCE if separate else _ROUNDING
    full_session, cut_session = Session(full), Session(cut)
    decoder = decoder_for(spec) if head.rows is not None else None
    names: list[str] = []
    rows = 0
    worst: dict[str, FieldError] = {}
    for name, image in images:
        x = network_input(image, spec)
        expected = trained_fields(head, full_session.run({spec.input.name: x}))
        raw = cut_session.run({spec.input.name: x})
        got = list(decoder.decode_dense([HeadTensor(raw[o.name]) for o in spec.outputs])) if decoder else []
        got += _image_fields(head, raw)
        rows += len(expected[0].values)
        for error in _differences(expected, got, rounding):
            if error.name not in worst or error.excess > worst[error.name].excess:
                worst[error.name] = error
        names.append(name)
    if not names:
        raise VerificationError("There is no image to verify the contract with.")
    result = Verification(len(names), tuple(names), rows, tuple(worst.values()))
    _require(result)
    return result


def trained_fields(head: Head, outputs: Mapping[str, NDArray[np.float32]]) -> list[DenseField]:
    """What the full graph's outputs say, field by field, rows in the contract's order."""
    fields = list(read_rows(head.rows, outputs)) if head.rows is not None else []
    for tensor in head.tensors:
        fields.append(_whole(tensor.tap, tensor.activation, outputs[tensor.output]))
    return fields


def _image_fields(head: Head, raw: Mapping[str, NDArray[np.float32]]) -> list[DenseField]:
    """The cut graph's whole-image tensors, with the activation that the full graph has behind them."""
    return [_whole(t.tap, t.activation, _activated(raw[t.tap], t.activation)) for t in head.tensors]


def _whole(name: str, activation: Activation, values: NDArray[np.float32]) -> DenseField:
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


def _differences(expected: Iterable[DenseField], got: Iterable[DenseField], rounding: float) -> Iterable[FieldError]:
    ours = {field.name: field for field in got}
    theirs = {field.name: field for field in expected}
    if ours.keys() != theirs.keys():
        raise VerificationError(
            f"The full graph decodes {', '.join(sorted(theirs))}; the contract {', '.join(sorted(ours))}."
        )
    for name, field in theirs.items():
        a, b = field.values.astype(np.float64), ours[name].values.astype(np.float64)
        if a.shape != b.shape:
            raise VerificationError(f'The full graph decodes "{name}" of shape {a.shape}, the contract {b.shape}.')
        difference, allowed = np.abs(a - b), TOLERANCES[field.unit] + rounding * np.abs(a)
        excess = difference / allowed
        at = int(np.argmax(np.where(np.isnan(excess), np.inf, excess))) if excess.size else 0
        if excess.size:
            yield FieldError(name, field.unit, float(difference.flat[at]), float(allowed.flat[at]))


def verify_rewrite(
    trained: onnx.ModelProto, rewritten: onnx.ModelProto, head: Head, spec: ModelSpec, images: Images
) -> float:
    """Prove that a graph written in another form decodes to the same figures; returns the largest difference.

    float32 sums another way round differ in their last digits, and decoding multiplies that by the size of a box:
    allowed are the tolerance in pixels plus 1e-5 of the figure itself.

    Args:
        trained: the graph as it was trained.
        rewritten: the graph in the form that is built.
        head: how the outputs of both are read.
        spec: the contract, for the input.
        images: as for `verify`.

    Raises:
        VerificationError: when a figure differs by more.
    """
    sessions = Session(trained), Session(rewritten)
    worst = 0.0
    for name, image in images:
        x = network_input(image, spec)
        pairs = zip(*(trained_fields(head, s.run({spec.input.name: x})) for s in sessions), strict=True)
        for a, b in ((a.values.astype(np.float64), b.values.astype(np.float64)) for a, b in pairs):
            difference = np.abs(a - b)
            if not (difference <= TOLERANCES["px"] + _REWRITE_TOLERANCE * np.abs(a)).all():
                raise VerificationError(
                    f'The rewritten graph differs from the trained by up to {difference.max():.3g} on "{name}", '
                    f"allowed are {TOLERANCES['px']} plus {_REWRITE_TOLERANCE:g} of the figure.",
                    "Build with --stem trained and report the model.",
                )
            worst = max(worst, float(difference.max(initial=0.0)))
    return worst


def network_input(image: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """(1, H, W, 3) uint8 to the graph's (1, 3, H, W) float32, (pixel - mean) / std."""
    mean, std = np.array(spec.input.mean, np.float32), np.array(spec.input.std, np.float32)
    return np.ascontiguousarray(((image.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2))


def _require(result: Verification) -> None:
    wrong = []
    for error in result.fields:
        if not error.excess <= 1:
            what, cause = _PHRASES.get(error.name, (f'"{error.name}" differs', "the activation"))
            unit = f" {error.unit}" if error.unit in {"px", "rad"} else ""
            wrong.append(f"{what} by {error.max_error:.3g}{unit} ({cause}), allowed is {error.allowed:.3g}")
    if wrong:
        raise VerificationError(
            f"The contract does not read this network right: {'; '.join(wrong)}.",
            "Nothing was written. If the anchors came from --weights, they belong to another model.",
        )

"""Proof for a graph without a decode: simplification kept its outputs."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.record import FieldError, Verification
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.errors import VerificationError
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import Images, network_input

_ROUNDING = 1e-5
"""Fraction of a tensor's largest value: float32 sums in another order, as in `verify_rewrite`."""


def verify_outputs(
    trained: onnx.ModelProto, simplified: onnx.ModelProto, spec: ModelSpec, images: Images
) -> Verification:
    """Compare every output of two graphs.

    Args:
        trained: the graph as it was given, with a static input.
        simplified: the graph that is cut.
        spec: the contract, for the input.
        images: at least one.

    Returns:
        The largest difference of each output, with `decode_proven` false.

    Raises:
        VerificationError: when an output differs by more than rounding, or is NaN or infinite, or there is no image.
    """
    sessions = Session(trained), Session(simplified)
    worst: dict[str, FieldError] = {}
    names: list[str] = []
    for name, image in images:
        expected, got = (session.run({spec.input.name: network_input(image, spec)}) for session in sessions)
        for output, values in expected.items():
            _require_finite(name, output, values, got[output])
            allowed = _ROUNDING * float(np.abs(values).max(initial=1.0))
            error = FieldError(output, "value", float(np.abs(values - got[output]).max(initial=0.0)), allowed)
            if output not in worst or not error.excess <= worst[output].excess:
                worst[output] = error
        names.append(name)
    if not names:
        raise VerificationError("There is no image to verify the contract with.")
    for error in worst.values():
        if not error.excess <= 1:
            raise VerificationError(
                f'The simplified graph gives other values of "{error.name}": they differ by {error.max_error:.3g}, '
                f"allowed is {error.allowed:.3g}.",
                "Export the model again with another opset, such as 12 or 17, and report it.",
            )
    return Verification(len(names), tuple(names), 0, tuple(worst.values()), decode_proven=False)


def _require_finite(image: str, output: str, *sides: NDArray[np.float32]) -> None:
    for values, whose in zip(sides, ("graph", "simplified graph"), strict=True):
        if not np.isfinite(values).all():
            raise VerificationError(
                f'The {whose} gives NaN or infinity in its output "{output}" on "{image}".',
                "The weights are damaged or the training diverged; evaluate the model in its training framework.",
            )

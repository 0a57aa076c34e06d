"""Proof for a graph without a decode: the cut graph gives what the graph itself has at the head's tensors.

One way is the graph as it was read, run up to the head's tensors, whose channels are then picked out here.  The other
is the cut graph, with its rewritten last convolutions, its own sigmoids and its form of outputs.  Both are decoded by
the contract's formulas, so that each difference is compared as in `verify`.  That these formulas are those of the
training code is not proven by it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.record import Verification
from rkdeploy.contract.spec import HeadOutput, ModelSpec
from rkdeploy.device.postprocess.decoder import DenseField
from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import VerificationError
from rkdeploy.host.graph.cut import CutOutput, ending_in, output_of, tap_parts
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.head import Head, Tap
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import CutReader, Images, Wording, compare_decodes, whole_field

_AS_IN_GRAPH = CutOptions("none", "none")
_WORDING = Wording(
    "The cut graph does not give what the graph gives at its head",
    "Nothing was written. Export the model again with another opset, such as 12 or 17, and report it.",
)
Tensors = Mapping[str, NDArray[np.float32]]


def tap_outputs(head: Head) -> tuple[HeadOutput, ...]:
    """The contract's outputs for the head's tensors as they are in the graph, without a sigmoid of ours."""
    return tuple(output_of(tap, part) for tap, part in _parts(head))


def verify_taps(
    whole: onnx.ModelProto, head: Head, tap_spec: ModelSpec, cut: onnx.ModelProto, spec: ModelSpec, images: Images
) -> Verification:
    """Compare a cut graph with the graph that it was cut from.

    Args:
        whole: the graph that was cut.
        head: head of `whole`.
        tap_spec: the contract of `tap_outputs`.
        cut: the cut graph.
        spec: contract of the cut graph.
        images: at least one.

    Raises:
        VerificationError: when they differ by more than float32 rounding can; when a value is NaN or infinite.
    """
    session = Session(ending_in(whole, (tap.tensor for tap in head.taps)))
    decoder = decoder_for(tap_spec) if _has_rows(head) else None

    def expected_of(inputs: Tensors) -> list[DenseField]:
        values = _tap_values(head, session.run(inputs))
        tensors = [HeadTensor(values[output.name]) for output in tap_spec.outputs]
        rows = list(decoder.decode_dense(tensors)) if decoder is not None else []
        return rows + _image_fields(head, values)

    reader = CutReader(cut, spec, rows=_has_rows(head), image_fields=lambda raw: _image_fields(head, raw))
    return compare_decodes(expected_of, reader, images, _WORDING)


def _has_rows(head: Head) -> bool:
    return any(not tap.name for tap in head.taps)


def _parts(head: Head) -> list[tuple[Tap, CutOutput]]:
    return [(tap, part) for tap in head.taps for part in tap_parts(tap, head, _AS_IN_GRAPH)]


def _tap_values(head: Head, values: Tensors) -> dict[str, NDArray[np.float32]]:
    """The tensors of `tap_outputs` by name.

    Raises:
        VerificationError: when a value is NaN or infinite.
    """
    found = {}
    for tap, part in _parts(head):
        tensor = values[tap.tensor]
        if not np.isfinite(tensor).all():
            raise VerificationError(
                f'The graph gives NaN or infinity in its head\'s tensor "{tap.tensor}".',
                "The weights are damaged or the training diverged; evaluate the model in its training framework.",
            )
        picked = tensor if part.channels is None else tensor[:, list(part.channels)]
        if part.subtracted:
            picked = picked - tensor[:, list(part.subtracted)]
        found[output_of(tap, part).name] = np.ascontiguousarray(picked)
    return found


def _image_fields(head: Head, raw: Tensors) -> list[DenseField]:
    return [whole_field(tap.name, "linear", raw[tap.name]) for tap in head.taps if tap.name]

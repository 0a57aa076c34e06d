"""The proof, on images, that the contract reads the network as its trainer does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.record import Verification
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.datasets.calibration import CalibrationImage
from rkdeploy.host.building.network import Network
from rkdeploy.host.graph.foreign_process import Runs, run_foreign
from rkdeploy.host.graph.rewrite_proof import verify_rewrite
from rkdeploy.host.graph.verify import verify
from rkdeploy.host.graph.verify_outputs import verify_outputs
from rkdeploy.host.graph.verify_taps import tap_outputs, verify_taps
from rkdeploy.images.fit import image_fit

VERIFY_IMAGES = 4

_Image = tuple[str, NDArray[np.uint8]]


def verify_contract(
    network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec, images: Sequence[CalibrationImage]
) -> Verification:
    """Verify the contract of a cut graph, and the rewritten first layer if there is one.

    For a graph of raw tensors without its checkpoint the outputs of the simplified graph are compared with those of the
    file, and the cut graph with the tensors that it was cut at; the result says that the decode is not proven.

    The graph of an ONNX file is run in a process with limits, since its decode may do anything.  The part that is cut
    from
    it does the same work on every image (`require_fixed_work`), so the rest of a build can run it here.

    Args:
        network: the network.
        cut_graph: its cut graph.
        spec: the contract of the cut graph.
        images: the first of them are taken; none takes seeded noise, which also exercises the decode.

    Raises:
        GraphError: the graph of an ONNX file crashed, or exceeded the limits.
        VerificationError: when the proof does not hold.
    """
    shown = tuple(_verify_images(spec, images))  # read here: OpenCV's threads do not survive a fork
    prove = partial(_proven, network, cut_graph, spec, shown)
    if not network.foreign:
        return prove()
    return run_foreign(network.file, prove, Verification, Runs.of(network.simplified, len(shown)))


def verify_rewritten(
    graph: onnx.ModelProto, rewritten: onnx.ModelProto, spec: ModelSpec, images: Sequence[CalibrationImage]
) -> None:
    """Verify that a rewritten cut graph computes the same as the graph that the contract was proven with.

    Args:
        graph: the cut graph.
        rewritten: the same in the form that is built.
        spec: contract of both.
        images: as for `verify_contract`.

    Raises:
        VerificationError: when a channel differs by more than float32 rounding can.
    """
    verify_rewrite(graph, rewritten, spec, tuple(_verify_images(spec, images)))


def _proven(network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec, images: Sequence[_Image]) -> Verification:
    if not network.proves_decode:
        proof = verify_outputs(network.reference, network.simplified, spec, images)
        tap_spec = network.contract(tap_outputs(network.head))
        verify_taps(network.simplified, network.head, tap_spec, cut_graph, spec, images)
        return proof
    rewrite = None
    if network.trained is not network.reference:  # first, since it names the layer
        rewrite = verify_rewrite(network.trained, network.reference, spec, images)
    proof = verify(network.trained, network.reference_head, cut_graph, spec, images)
    if rewrite is None:
        return proof
    return replace(proof, rewrite_error=rewrite.max_error, rewrite_allowed=rewrite.allowed)


def _verify_images(spec: ModelSpec, images: Sequence[CalibrationImage]) -> Iterator[_Image]:
    fit = image_fit(spec.input)
    for image in images[:VERIFY_IMAGES]:
        yield image.path, fit(image.read()).image
    if not images:
        noise = np.random.default_rng(0).integers(0, 256, (1, spec.input.height, spec.input.width, 3), np.uint8)
        yield "seeded noise (no images given)", noise

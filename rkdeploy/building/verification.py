"""The proof, on images, that the contract reads the network as its trainer does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.building.network import Network
from rkdeploy.graph.verify import verify, verify_rewrite
from rkdeploy.graph.verify_outputs import verify_outputs
from rkdeploy.preprocess import image_fit
from rkdeploy.quantize.calibration import CalibrationImage
from rkdeploy.record import Verification
from rkdeploy.spec import ModelSpec

VERIFY_IMAGES = 4


def verify_contract(
    network: Network, cut_graph: onnx.ModelProto, spec: ModelSpec, images: Sequence[CalibrationImage]
) -> Verification:
    """Verify the contract of a cut graph, and the rewritten first layer where there is one.

    Of a graph of raw tensors without its checkpoint only the outputs are compared, and the result says so.

    Args:
        network: what was cut.
        cut_graph: what became of it.
        spec: the contract of the cut graph.
        images: the first of them are taken; none takes seeded noise, which exercises the decode all the same.

    Raises:
        VerificationError: when the proof does not hold.
    """
    if not network.proves_decode:
        return verify_outputs(network.reference, network.simplified, spec, _verify_images(spec, images))
    head = network.reference_head
    proof = verify(
        network.reference,
        head,
        cut_graph,
        spec,
        _verify_images(spec, images),
        separate=network.separate_reference,
    )
    if network.trained is network.reference:
        return proof
    rewrite = verify_rewrite(network.trained, network.reference, head, spec, _verify_images(spec, images))
    return replace(proof, rewrite_error=rewrite)


def _verify_images(spec: ModelSpec, images: Sequence[CalibrationImage]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    fit = image_fit(spec.input)
    for image in images[:VERIFY_IMAGES]:
        yield image.path, fit(image.read()).image
    if not images:
        noise = np.random.default_rng(0).integers(0, 256, (1, spec.input.height, spec.input.width, 3), np.uint8)
        yield "seeded noise (no images given)", noise

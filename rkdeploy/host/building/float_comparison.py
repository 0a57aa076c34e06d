"""Comparison of the model that is open in the toolkit with the float model, on a build's held-out images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rkdeploy.datasets.calibration import load_letterboxed
from rkdeploy.host.building.agreement_meter import AgreementMeter
from rkdeploy.host.building.compared_tensors import (
    FLOAT_FIGURES_FROM,
    float_tensors,
    simulated_tensors,
    simulator_figures_from,
)
from rkdeploy.host.graph.session import Session
from rkdeploy.images.fit import image_fit

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from rkdeploy.contract.agreement import Agreement
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.host.building.chosen_images import BuildImages
    from rkdeploy.host.building.example_keeper import ExampleKeeper
    from rkdeploy.host.toolkit.toolkit import Toolkit


def calibration_input(spec: ModelSpec, images: BuildImages) -> Iterator[NDArray[np.uint8]]:
    """The calibration images as the network takes them, (1, 3, H, W) uint8 each."""
    assert images.calibration is not None
    return load_letterboxed(images.calibration, image_fit(spec.input), "nchw")


def compare_with_float(
    toolkit: Toolkit,
    spec: ModelSpec,
    cut_graph: onnx.ModelProto,
    images: BuildImages,
    detail: Callable[[str], None],
    examples: ExampleKeeper | None = None,
) -> Agreement | None:
    """Compare the simulator with the float model; None without images.

    Args:
        toolkit: with the built model open.
        spec: contract of that graph.
        cut_graph: the float model.
        images: of the build.
        detail: called with the progress.
        examples: keeps the first images; None keeps none.

    Raises:
        RkdeployError: when either side fails, or the built model's outputs hold NaN or infinity.
    """
    if not images.proof:
        return None
    session = Session(cut_graph)
    fit = image_fit(spec.input)
    meter = AgreementMeter(spec)
    for index, image in enumerate(images.proof):
        detail(f"{index + 1}/{len(images.proof)}")
        pixels = image.read()
        boxed = fit(pixels)
        reference = float_tensors(session, spec, boxed.image)
        compared = meter.add(reference, simulated_tensors(toolkit, spec, boxed.image), boxed.transform)
        if examples is not None:
            examples.add(image.path, pixels, compared)
    agreement = meter.result(simulator_figures_from(toolkit), images.proof_source)
    if examples is not None:
        examples.write(FLOAT_FIGURES_FROM, agreement)
    return agreement

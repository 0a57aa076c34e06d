"""One quantization of a network: the `.rknn`, its comparison with the float model, and its accuracy."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.contract.bundle import QUANTIZATION
from rkdeploy.errors import ToolkitError
from rkdeploy.host.building.build_values import BuildData, BuiltNetwork, CutNetwork
from rkdeploy.host.building.example_keeper import ExampleKeeper
from rkdeploy.host.building.float_comparison import calibration_input, compare_with_float
from rkdeploy.host.building.labeled_comparison import measure_labeled
from rkdeploy.host.building.npu_model import build_npu_model
from rkdeploy.host.toolkit.compile_log import read_compile_log
from rkdeploy.host.toolkit.files import FOUND_BY_STEP_1

if TYPE_CHECKING:
    from rkdeploy.contract.compiled_model import CompiledModel
    from rkdeploy.host.building.build_options import BuildOptions
    from rkdeploy.host.building.journal import Journal
    from rkdeploy.host.toolkit.built_model import BuiltModel
    from rkdeploy.host.toolkit.toolkit import Toolkit


def quantize_network(
    toolkit: Toolkit, options: BuildOptions, part: CutNetwork, data: BuildData, folder: Path, journal: Journal
) -> BuiltNetwork:
    """Build the `.rknn`, and compare it with the float model while the toolkit has it open.

    Args:
        toolkit: open.
        options: of this quantization.
        part: the network.
        data: the images.
        folder: for the files.
        journal: of the build.

    Raises:
        RkdeployError: the toolkit failed, or the model's outputs hold NaN or infinity.
    """
    with journal.stage("toolkit", f"Building for {options.target} with rknn-toolkit2"):
        model, spec = build_npu_model(
            toolkit,
            options,
            part.spec,
            (part.file, part.graph),
            partial(calibration_input, part.spec, data.images),
            folder / f"{options.title}.rknn",
            folder / QUANTIZATION,
            journal.events.detail,
            part.given if options.algorithm == FOUND_BY_STEP_1 else None,  # a search finds others
        )
        compiled, problem = compiled_of(model)
    with journal.stage("compare", f"Comparing {options.dtype} with the float model in the simulator"):
        examples = ExampleKeeper(folder, options.examples)
        agreement = compare_with_float(toolkit, spec, part.graph, data.images, journal.events.detail, examples)
    return BuiltNetwork(options, part, model, spec, agreement, compiled, problem)


def with_accuracy(toolkit: Toolkit, data: BuildData, built: BuiltNetwork, journal: Journal) -> BuiltNetwork:
    """The same with the accuracy of both models, where there are labeled images.

    Args:
        toolkit: with that model open.
        data: the images.
        built: the model.
        journal: of the build.

    Raises:
        RkdeployError: when either side fails, or the images are unusable.
    """
    if data.labeled is None:
        return built
    dtype = built.options.dtype
    with journal.stage("accuracy", f"Measuring {dtype} and the float model on labeled images"):
        accuracy = measure_labeled(toolkit, built.spec, built.part.graph, data.labeled, dtype, journal.events.detail)
    return replace(built, accuracy=accuracy)


def compiled_of(model: BuiltModel) -> tuple[CompiledModel | None, str]:
    """The compiler's tables, or the reason why there are none: that costs the predictions, not the build."""
    try:
        return read_compile_log(model.log), ""
    except ToolkitError as error:
        return None, f"{error.message} Nothing can be predicted for this build."

"""The accuracy that another program's form of the outputs costs: our own form, built and compared too."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from rkdeploy.contract.record import FormRecord
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import FLOAT_DTYPE, BuildOptions
from rkdeploy.host.building.float_comparison import calibration_input, compare_with_float
from rkdeploy.host.building.form_cut import cut_in_form, form_program
from rkdeploy.host.building.given_calibration import given_grids
from rkdeploy.host.building.npu_model import build_npu_model
from rkdeploy.host.graph.depthwise_parts import with_depthwise_parts
from rkdeploy.host.toolkit.toolkit import Toolkit

if TYPE_CHECKING:
    from rkdeploy.contract.agreement import Agreement, Measure
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.host.building.chosen_images import BuildImages
    from rkdeploy.host.building.network import Network


def form_record(
    network: Network,
    options: BuildOptions,
    spec: ModelSpec,
    images: BuildImages,
    detail: Callable[[str], None],
) -> tuple[FormRecord, str]:
    """The part of build.json on a form other than our own, and why our own could not be measured, or nothing.

    Args:
        network: that is built.
        options: of the build.
        spec: contract of the form.
        images: of the build.
        detail: called with the progress.
    """
    program = form_program(spec)
    try:
        return FormRecord(options.form, program, _own_agreement(network, options, images, detail)), ""
    except RkdeployError as error:
        problem = f"The cost of --form {options.form} is not known, since our own form did not build: {error.message}"
        return FormRecord(options.form, program), problem


def cost_text(form: FormRecord, agreement: Agreement | None) -> str:
    """The form's figure next to our own form's, as a line for the user; empty without both."""
    here = agreement.headline if agreement is not None else None
    own = form.own.headline if form.own is not None else None
    if here is None or own is None:
        return ""
    return f"{_named(here)} in this form, {own.value:.3f} in our own, against the float model on the same images"


def type_note(spec: ModelSpec) -> str:
    """A warning where the zoo's C demos would read a float16 output as int8; empty if all is well.

    Args:
        spec: contract of the built model.
    """
    if spec.form != "zoo":
        return ""
    integers = [output.quantization is not None for output in spec.outputs]
    # the pose demo reads its keypoints, the last output, as float16
    judged = integers[:-1] if spec.keypoints is not None else integers
    if all(judged) or not any(judged):
        return ""
    return (
        "Some outputs are float16 and others integers: the zoo's C demos read all of them as int8. Leave out the "
        "--float16 options, or give layers that end before the head."
    )


def refusal_hint(form: FormRecord | None, dtype: str) -> str:
    """Beginning of the hint for a refused build; empty where it is not the form's doing."""
    own = form.own.headline if form is not None and form.own is not None else None
    if form is None or own is None:
        return ""
    advice = "" if dtype == FLOAT_DTYPE else " Build this form with --dtype fp16."
    return f"Our own form of the same build has {_named(own)} (leave out --form {form.name}).{advice} "


def _named(measure: Measure) -> str:
    names = {"ap": "AP", "ap50": "AP50"}
    return f"{names.get(measure.name, measure.name.replace('_', ' '))} {measure.value:.3f}"


def _own_agreement(
    network: Network, options: BuildOptions, images: BuildImages, detail: Callable[[str], None]
) -> Agreement | None:
    if not images.proof:
        return None
    own = replace(options, form="rkdeploy")
    graph, spec = cut_in_form(network, own)
    if own.dtype != FLOAT_DTYPE:
        graph = with_depthwise_parts(graph, own.depthwise_parts)
    with tempfile.TemporaryDirectory(prefix="rkdeploy-form-") as name:
        folder = Path(name)
        file = folder / "own-cut.onnx"
        onnx.save(graph, str(file))
        with Toolkit(log=folder / "toolkit.log", python=own.toolkit_python, on_progress=detail) as toolkit:
            calibration = partial(calibration_input, spec, images)
            _, built = build_npu_model(
                toolkit,
                own,
                spec,
                (file, graph),
                calibration,
                folder / "own.rknn",
                folder / "kept",
                detail,
                given_grids(network, own),
            )
            return compare_with_float(toolkit, built, graph, images, detail)

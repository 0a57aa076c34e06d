"""The cut of a network in the form of outputs that a build asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.host.building.build_options import FLOAT_DTYPE
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.forms.frigate import frigate_cut_options, frigate_form, frigate_model_type
from rkdeploy.host.graph.forms.ultralytics_form import ultralytics_cut_options, ultralytics_form
from rkdeploy.host.graph.forms.zoo import zoo_cut_options, zoo_demo, zoo_form

if TYPE_CHECKING:
    import onnx

    from rkdeploy.contract.spec import FormName, ModelSpec
    from rkdeploy.host.building.build_options import BuildOptions
    from rkdeploy.host.building.network import Network


def cut_in_form(network: Network, options: BuildOptions) -> tuple[onnx.ModelProto, ModelSpec]:
    """The cut graph, and its contract.

    Args:
        network: the network.
        options: of the build: the form of the outputs, its data type, and how our own form is cut.

    Raises:
        GraphError: when the head cannot be cut, or not in this form.
    """
    if options.form == "rkdeploy":
        graph, outputs = cut(network.simplified, network.head, options.cut)
        return graph, network.contract(outputs)
    whole, outputs = cut(
        network.simplified, network.head, _cut_options(network, options.form), scores_with_boxes=options.form == "zoo"
    )
    spec = network.contract(outputs)
    if options.form == "zoo":
        return zoo_form(whole, spec)
    if options.form == "frigate":
        return frigate_form(whole, spec)
    return ultralytics_form(whole, spec, fractions=options.dtype != FLOAT_DTYPE)


def form_program(spec: ModelSpec) -> str:
    """The program that reads a contract's outputs, for users."""
    if spec.form == "zoo":
        return f"rknn_model_zoo, examples/{zoo_demo(spec)}"
    if spec.form == "frigate":
        return f"Frigate, model_type {frigate_model_type(spec)}"
    return f"Ultralytics, task {spec.task}"


def _cut_options(network: Network, form: FormName) -> CutOptions:
    """Form of the cut that another program's outputs are made from."""
    if form == "zoo":
        return zoo_cut_options(network.task)
    spec = network.contract(cut(network.simplified, network.head, CutOptions())[1])
    return frigate_cut_options(spec) if form == "frigate" else ultralytics_cut_options(spec)

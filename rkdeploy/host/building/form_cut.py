"""The cut of a network in the form of outputs that a build asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import onnx

from rkdeploy.contract.spec import FormName, ModelSpec, Task
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.forms.zoo import zoo_cut_options, zoo_demo, zoo_form

if TYPE_CHECKING:
    from rkdeploy.host.building.network import Network


@dataclass(frozen=True, slots=True)
class _Form:
    """One form.

    Attributes:
        cut_options: of the graph that it is made from, by the model's task.
        make: appends the form's nodes, and describes the outputs.
        program: names the program that reads a contract in this form.
    """

    cut_options: Callable[[Task], CutOptions]
    make: Callable[[onnx.ModelProto, ModelSpec], tuple[onnx.ModelProto, ModelSpec]]
    program: Callable[[ModelSpec], str]


def _zoo_program(spec: ModelSpec) -> str:
    return f"rknn_model_zoo, examples/{zoo_demo(spec)}"


_FORMS: Final[Mapping[FormName, _Form]] = {"zoo": _Form(zoo_cut_options, zoo_form, _zoo_program)}


def cut_in_form(network: Network, form: FormName, options: CutOptions) -> tuple[onnx.ModelProto, ModelSpec]:
    """The cut graph, and its contract.

    Args:
        network: the network.
        form: of the outputs.
        options: form of the cut, for our own form; the others say how they are cut.

    Raises:
        GraphError: when the head cannot be cut, or not in this form.
    """
    if form == "rkdeploy":
        graph, outputs = cut(network.simplified, network.head, options)
        return graph, network.contract(outputs)
    chosen = _FORMS[form]
    graph, outputs = cut(network.simplified, network.head, chosen.cut_options(network.task), scores_with_boxes=True)
    return chosen.make(graph, network.contract(outputs))


def form_program(spec: ModelSpec) -> str:
    """The program that reads a contract's outputs, for users."""
    return _FORMS[spec.form].program(spec)

"""Accuracy of the model that is open in the toolkit and of the float model, on labeled images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rkdeploy.host.building.accuracy_gate import Side, measure
from rkdeploy.host.building.compared_tensors import (
    FLOAT_FIGURES_FROM,
    float_tensors,
    simulated_tensors,
    simulator_figures_from,
)
from rkdeploy.host.graph.session import Session

if TYPE_CHECKING:
    import onnx

    from rkdeploy.contract.accuracy import AccuracyReport
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.datasets.truth import LabeledSet
    from rkdeploy.host.toolkit.toolkit import Toolkit


def measure_labeled(
    toolkit: Toolkit,
    spec: ModelSpec,
    cut_graph: onnx.ModelProto,
    labeled: LabeledSet,
    dtype: str,
    detail: Callable[[str], None],
) -> AccuracyReport:
    """Measure the simulator and the float model.

    Args:
        toolkit: with the built model open.
        spec: contract of that model.
        cut_graph: the float model.
        labeled: the images.
        dtype: of the built model.
        detail: called with the progress.
    """
    session = Session(cut_graph)
    return measure(
        labeled,
        spec,
        Side(partial(float_tensors, session, spec), "onnxruntime", "float", FLOAT_FIGURES_FROM),
        Side(partial(simulated_tensors, toolkit, spec), "simulator", dtype, simulator_figures_from(toolkit)),
        detail,
    )

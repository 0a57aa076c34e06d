"""Per-layer times, work and memory: predicted from the compiler's plan, and measured where a profile has them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rkdeploy.analysis.estimate.latency import SAME_CHIP, latency_model, predict
from rkdeploy.analysis.estimate.layer_work import works_of
from rkdeploy.analysis.origin import Origin, origin_of
from rkdeploy.analysis.report.macs import layer_macs
from rkdeploy.analysis.report.memory_map import peak_bytes, tensor_lives, weight_bytes
from rkdeploy.analysis.report.model_report import (
    LayerRow,
    LayerTable,
    LimitName,
    PlannedMemory,
    Roofline,
)
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from rkdeploy.analysis.estimate.prediction import Prediction
    from rkdeploy.contract.compiled_model import CompiledLayer, CompiledModel
    from rkdeploy.device.profiling.layer_table import RuntimeLayer
    from rkdeploy.device.profiling.profile_document import LayerProfile

_LANES = 32  # of chips without a fit; concerns activations' time only, which is not reported for them


def predicted_time(compiled: CompiledModel, target: str, dtype: str, toolkit: str) -> tuple[Prediction | None, str]:
    """The prediction, or None and the reason why there is none.

    Args:
        compiled: the plan.
        target: chip.
        dtype: type of the build.
        toolkit: name and version of the compiler.
    """
    try:
        return predict(compiled, target, dtype, toolkit), ""
    except RkdeployError as error:
        return None, error.message


def planned_table(compiled: CompiledModel, target: str, prediction: Prediction | None, toolkit: str) -> LayerTable:
    """The compiler's layers, with predicted times where there are any.

    Args:
        compiled: the plan.
        target: chip.
        prediction: of this very plan, None where this chip or type cannot be predicted.
        toolkit: name and version of the compiler.
    """
    chip = latency_model().chips.get(SAME_CHIP.get(target, target))
    works = {work.number: work for work in works_of(compiled, chip.lanes if chip else _LANES)}
    times = {layer.number: layer for layer in prediction.layers} if prediction else {}
    weights = weight_bytes(compiled)
    rows = []
    for layer in compiled.layers:
        work, timed = works.get(layer.number), times.get(layer.number)
        if layer.is_end or work is None:
            continue
        rows.append(
            LayerRow(
                number=layer.number,
                op=layer.op,
                name=layer.name,
                dtype=layer.dtype,
                target=layer.target,
                output_shape="x".join(map(str, layer.output_shape)),
                time_ms=timed.time_ms if timed else None,
                share=timed.time_ms / prediction.time_ms if timed and prediction else None,
                limit=timed.limit if timed else "",
                macs=layer_macs(layer),
                traffic_bytes=round(work.traffic_mb * 1e6),
                weight_bytes=weights.get(layer.number, 0),
                cycles=layer.total_cycles,
            )
        )
    return LayerTable(
        origin=origin_of(prediction) if prediction else Origin("predicted", toolkit),
        rows=tuple(rows),
        total_ms=prediction.time_ms if prediction else None,
        roofline=roofline(compiled, target) if prediction else None,
        slowed=False,
    )


def measured_table(found: LayerProfile, origin: Origin, compiled: CompiledModel | None, target: str) -> LayerTable:
    """A runtime's own table; multiply-accumulates and weights come from the compiled layer of the same name.

    Args:
        found: as the profile has it.
        origin: of the profile's times.
        compiled: the plan of this model; None when the bundle is not at hand.
        target: chip, for the roofline's lines.
    """
    names = Counter(layer.name for layer in compiled.layers) if compiled else Counter()
    planned = {layer.name: layer for layer in compiled.layers if names[layer.name] == 1} if compiled else {}
    weights = weight_bytes(compiled) if compiled else {}
    rows = tuple(
        _measured_row(layer, planned.get(layer.name) if layer.name else None, weights)
        for layer in found.layers
        if not layer.is_end
    )
    return LayerTable(
        origin=Origin(origin.kind, found.figures_from if origin.kind != "measured" else origin.by),
        rows=rows,
        total_ms=found.total_us / 1000 if found.total_us is not None else None,
        roofline=roofline(compiled, target) if compiled and any(row.time_ms and row.macs for row in rows) else None,
        slowed=True,
    )


def _measured_row(layer: RuntimeLayer, planned: CompiledLayer | None, weights: dict[int, int]) -> LayerRow:
    return LayerRow(
        number=layer.number,
        op=layer.op,
        name=layer.name,
        dtype=layer.dtype,
        target=layer.target,
        output_shape=layer.output_shape,
        time_ms=layer.time_us / 1000 if layer.time_us is not None else None,
        share=layer.share,
        limit=_limit(layer),
        macs=layer_macs(planned) if planned else None,
        traffic_bytes=round(layer.rw_kib * 1024) if layer.rw_kib is not None else None,
        weight_bytes=weights.get(planned.number, 0) if planned else None,
        cycles=layer.total_cycles,
    )


def _limit(layer: RuntimeLayer) -> LimitName:
    """The longer of the runtime's two counts of cycles; empty where it counts none."""
    if not layer.total_cycles:
        return ""
    return "memory" if layer.waits_for_memory else "compute"


def roofline(compiled: CompiledModel, target: str) -> Roofline | None:
    """The chip's two lines, as the latency model's coefficients imply them; None for a chip without a fit.

    Computing costs `compute_ms` a million cycles, so the clock is 1e9 / compute_ms; the best layer of the plan says how
    many multiply-accumulates a cycle has.  Moving costs `traffic_ms` a million bytes.
    """
    chip = latency_model().chips.get(SAME_CHIP.get(target, target))
    if chip is None or chip.coefficients.compute_ms <= 0 or chip.coefficients.traffic_ms <= 0:
        return None
    rates = [(layer_macs(layer) or 0) / layer.npu_cycles for layer in compiled.layers if layer.npu_cycles > 0]
    best = max(rates, default=0.0)
    if best <= 0:
        return None
    return Roofline(
        origin=Origin("predicted", latency_model().source),
        macs_per_second=best * 1e9 / chip.coefficients.compute_ms,
        bytes_per_second=1e9 / chip.coefficients.traffic_ms,
        macs_per_cycle=best,
    )


def planned_memory(compiled: CompiledModel, toolkit: str) -> PlannedMemory:
    """The memory map of a compiled model."""
    lives = tensor_lives(compiled)
    peak, layer = peak_bytes(lives)
    return PlannedMemory(
        origin=Origin("predicted", toolkit),
        weight_bytes=round(compiled.weight_kib * 1024),
        internal_bytes=round(compiled.internal_kib * 1024),
        tensors=lives,
        peak_bytes=peak,
        peak_layer=layer,
    )

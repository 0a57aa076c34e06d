"""The summary: is it right, how accurate, how fast, how big?  One answer each, with where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.page.content import Status
from rkdeploy.analysis.report.model_report import ModelReport, PlannedMemory, Verdict
from rkdeploy.contract.accuracy import AccuracyReport, Evaluation
from rkdeploy.contract.agreement import Agreement
from rkdeploy.contract.record import Verification
from rkdeploy.device.profiling.profile_document import Profile
from rkdeploy.host.building.agreement_gate import proof_of

GOOD_DROP, POOR_DROP = 0.01, 0.03
"""Loss of mAP50-95 (top-1, mean IoU) up to which nothing is said, and from which it is called bad."""
_MIB = 1 << 20


def with_summary(model: ModelReport) -> ModelReport:
    """The model with the answers that its figures give."""
    summary = (
        right(model.verification, model.agreement),
        accurate(model.accuracy),
        fast(model.predicted, model.profiles, model.not_predicted),
        big(model.rknn_bytes, model.memory, model.profiles),
    )
    return replace(model, summary=summary)


def right(verification: Verification | None, agreement: Agreement | None) -> Verdict:
    """Verdict: is the decode proven, and does the quantized model agree with the float model?"""
    if verification is None:
        return Verdict("right", "unknown", "right.unknown", "", {})
    held = all(error.excess <= 1 for error in verification.fields)
    values: dict[str, float | int | str] = {"rows": verification.rows, "verified_on": verification.images}
    if not held:
        return Verdict("right", "bad", "right.wrong", "", values)
    if not verification.decode_proven:
        return Verdict("right", "unproven", "right.no_decode", "", values)
    origin = origin_of(agreement) if agreement is not None else None
    proof = proof_of(agreement)
    values |= {"images": 0, "objects": 0}
    if agreement is not None:
        values |= {"images": agreement.images, "objects": agreement.float_detections}
    if proof.standing == "unproven":
        return Verdict("right", "unproven", f"right.{proof.reason}", "", values, origin)
    measure = proof.measure
    assert measure is not None
    values |= {"of": measure.of, "low": measure.interval[0], "high": measure.interval[1], "count": measure.count}
    status: Status = "good" if proof.standing == "agrees" else "attention"
    return Verdict("right", status, f"right.{measure.name}", f"{measure.value:.3f}", values, origin)


def accurate(accuracy: Sequence[AccuracyReport]) -> Verdict:
    """Accuracy, and its change by the build."""
    chosen = _chosen(accuracy)
    built = built_side(chosen) if chosen else None
    if chosen is None or built is None:
        return Verdict("accurate", "unknown", "accurate.unknown", "", {})
    after = built.headlines()
    if not after:
        return Verdict("accurate", "unknown", "accurate.unlabeled", "", {"source": chosen.source})
    name, value = next(iter(after.items()))
    values: dict[str, float | int | str] = {
        "name": name,
        "built": value,
        "dtype": built.computes,
        "images": built.images,
        "source": chosen.source,
    }
    before = chosen.evaluations[0].headlines() if chosen.evaluations[0].computes == "float" else {}
    if built.computes == "float" or name not in before:
        return Verdict("accurate", "plain", "accurate.alone", f"{value:.3f}", values, origin_of(built))
    drop = max(before[key] - after.get(key, 0.0) for key in before)
    rounded = round(drop, 6)  # 0.8 - 0.79 is a little more than 0.01
    status: Status = "good" if rounded <= GOOD_DROP else "attention" if rounded <= POOR_DROP else "bad"
    values |= {"float": before[name], "change": value - before[name]}
    return Verdict("accurate", status, "accurate.beside_float", f"{value:.3f}", values, origin_of(built))


def built_side(found: AccuracyReport) -> Evaluation | None:
    """The side that stands for the model: what a board gave, else the built model, else float."""
    order = {"measured": 0, "simulator": 1, "stand_in": 2, "predicted": 3, "host": 4}
    return min(found.evaluations, key=lambda side: order[origin_of(side).kind], default=None)


def _chosen(accuracy: Sequence[AccuracyReport]) -> AccuracyReport | None:
    """The evaluation on most images, of those that a board gave where there are such; of equal ones the last."""
    measured = [one for one in accuracy if any(origin_of(side).kind == "measured" for side in one.evaluations)]
    found = measured or list(accuracy)
    return max(reversed(found), key=lambda one: one.evaluations[0].images) if found else None


def fast(predicted: Prediction | None, runs: Sequence[Profile], why_not: str) -> Verdict:
    """Speed.  A board's times come first, then a prediction, then times of other machines, which are marked."""
    measured = [run for run in runs if origin_of(run).kind == "measured"]
    if measured:
        return _run_verdict(measured[0], "plain", "fast.measured")
    if predicted is not None:
        values: dict[str, float | int | str] = {
            "low": predicted.low_ms,
            "high": predicted.high_ms,
            "fps": predicted.frames_per_second,
        }
        figure = f"{predicted.time_ms:.1f} ms"
        if predicted.coverage is None:
            return Verdict("fast", "attention", "fast.by_int8", figure, values, origin_of(predicted))
        values["coverage"] = predicted.coverage
        return Verdict("fast", "plain", "fast.predicted", figure, values, origin_of(predicted))
    if runs:
        return _run_verdict(runs[0], "attention", "fast.no_board")
    return Verdict("fast", "unknown", "fast.unknown", "", {"reason": why_not})


def _run_verdict(run: Profile, status: Status, code: str) -> Verdict:
    best = max(run.throughput, key=lambda one: one.frames_per_second, default=None)
    single = 1000 / run.stages.total.p50_ms if run.stages.total.p50_ms > 0 else 0.0
    network = run.stages.npu or run.stages.infer
    return Verdict(
        "fast",
        status,
        code,
        f"{best.frames_per_second if best else single:.1f} fps",
        {
            "fps": best.frames_per_second if best else single,
            "contexts": best.contexts if best else 1,
            "frame_ms": run.stages.total.p50_ms,
            "network_ms": network.p50_ms,
        },
        origin_of(run),
    )


def big(rknn_bytes: int | None, memory: PlannedMemory | None, runs: Sequence[Profile]) -> Verdict:
    """Memory."""
    values: dict[str, float | int | str] = {"file_mib": (rknn_bytes or 0) / _MIB}
    for run in runs:
        if run.npu_memory is not None and origin_of(run).kind == "measured":
            weights, internal = run.npu_memory.weights, run.npu_memory.internal
            values |= {"weights_mib": weights / _MIB, "internal_mib": internal / _MIB}
            code = "big.memory" if rknn_bytes is not None else "big.memory_alone"
            return Verdict("big", "plain", code, f"{(weights + internal) / _MIB:.1f} MiB", values, origin_of(run))
    if memory is not None:
        values |= {"weights_mib": memory.weight_bytes / _MIB, "internal_mib": memory.internal_bytes / _MIB}
        return Verdict("big", "plain", "big.memory", f"{memory.total_bytes / _MIB:.1f} MiB", values, memory.origin)
    if rknn_bytes is not None:
        return Verdict("big", "plain", "big.file", f"{rknn_bytes / _MIB:.1f} MiB", values)
    return Verdict("big", "unknown", "big.unknown", "", {})

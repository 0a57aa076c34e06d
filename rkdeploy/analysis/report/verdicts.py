"""The summary: is it right, how accurate, how fast, how big?  One answer each, with where it comes from."""

from __future__ import annotations

from collections.abc import Sequence

from rkdeploy.analysis.page.blocks import Status
from rkdeploy.analysis.report.model import (
    AccuracyFacts,
    AccuracySide,
    AgreementFacts,
    BuildFacts,
    MeasuredRun,
    PlannedMemory,
    PredictedTime,
    Verdict,
)
from rkdeploy.contract.accuracy import Evaluation
from rkdeploy.contract.record import Verification
from rkdeploy.host.building.agreement_gate import proof_of

GOOD_DROP, POOR_DROP = 0.01, 0.03
"""Loss of mAP50-95 (top-1, mean IoU) up to which nothing is said, and from which it is called bad."""
_MIB = 1 << 20


def summary(
    verification: Verification | None,
    agreement: AgreementFacts | None,
    accuracy: Sequence[AccuracyFacts],
    predicted: PredictedTime | None,
    runs: Sequence[MeasuredRun],
    build: BuildFacts | None,
    memory: PlannedMemory | None,
    why_not_predicted: str,
) -> tuple[Verdict, ...]:
    """All answers, in their order."""
    return (
        right(verification, agreement),
        accurate(accuracy),
        fast(predicted, runs, why_not_predicted),
        big(build, memory, runs),
    )


def right(verification: Verification | None, agreement: AgreementFacts | None) -> Verdict:
    """Is the model read right, and does the built one say what float says?"""
    if verification is None:
        return Verdict("right", "unknown", "right.unknown", "", {})
    held = all(error.excess <= 1 for error in verification.fields)
    values: dict[str, float | int | str] = {"rows": verification.rows, "verified_on": verification.images}
    if not held:
        return Verdict("right", "bad", "right.wrong", "", values)
    if not verification.decode_proven:
        return Verdict("right", "unproven", "right.no_decode", "", values)
    found, origin = (agreement.agreement, agreement.origin) if agreement is not None else (None, None)
    proof = proof_of(found)
    values |= {"images": found.images if found else 0, "objects": found.float_detections if found else 0}
    if proof.standing == "unproven":
        return Verdict("right", "unproven", f"right.{proof.reason}", "", values, origin)
    measure = proof.measure
    assert measure is not None
    values |= {"of": measure.of, "low": measure.interval[0], "high": measure.interval[1], "count": measure.count}
    status: Status = "good" if proof.standing == "agrees" else "attention"
    return Verdict("right", status, f"right.{measure.name}", f"{measure.value:.3f}", values, origin)


def accurate(accuracy: Sequence[AccuracyFacts]) -> Verdict:
    """How accurate is it, and what did building cost?"""
    chosen = _chosen(accuracy)
    built = built_side(chosen) if chosen else None
    if chosen is None or built is None:
        return Verdict("accurate", "unknown", "accurate.unknown", "", {})
    after = headlines(built)
    if not after:
        return Verdict("accurate", "unknown", "accurate.unlabeled", "", {"source": chosen.source})
    name, value = next(iter(after.items()))
    values: dict[str, float | int | str] = {
        "name": name, "built": value, "dtype": built.computes, "images": built.images, "source": chosen.source
    }  # fmt: skip
    before = headlines(chosen.sides[0]) if chosen.sides[0].computes == "float" else {}
    if built.computes == "float" or name not in before:
        return Verdict("accurate", "plain", "accurate.alone", f"{value:.3f}", values, built.origin)
    drop = max(before[key] - after.get(key, 0.0) for key in before)
    rounded = round(drop, 6)  # 0.8 - 0.79 is a little more than 0.01
    status: Status = "good" if rounded <= GOOD_DROP else "attention" if rounded <= POOR_DROP else "bad"
    values |= {"float": before[name], "change": value - before[name]}
    return Verdict("accurate", status, "accurate.beside_float", f"{value:.3f}", values, built.origin)


def headlines(side: AccuracySide) -> dict[str, float]:
    """The figure that stands for each thing that was measured, by its name."""
    whole = Evaluation(
        "", side.computes, "", side.images, side.objects, side.ranking, side.class_maps
    )  # knows which figures those are
    return whole.headlines()


def built_side(found: AccuracyFacts) -> AccuracySide | None:
    """The side that stands for the model: what a board gave, else the built model, else float."""
    order = {"measured": 0, "simulator": 1, "stand_in": 2, "predicted": 3, "host": 4}
    return min(found.sides, key=lambda side: order[side.origin.kind], default=None)


def _chosen(accuracy: Sequence[AccuracyFacts]) -> AccuracyFacts | None:
    """The evaluation on most images, of those that a board gave where there are such; of equal ones the last."""
    measured = [one for one in accuracy if any(side.origin.kind == "measured" for side in one.sides)]
    found = measured or list(accuracy)
    return max(reversed(found), key=lambda one: one.sides[0].images) if found else None


def fast(predicted: PredictedTime | None, runs: Sequence[MeasuredRun], why_not: str) -> Verdict:
    """How fast is it?  A board's times come first, then a prediction; what stands in for a board is called so."""
    measured = [run for run in runs if run.origin.kind == "measured"]
    if measured:
        return _run_verdict(measured[0], "plain", "fast.measured")
    if predicted is not None:
        values: dict[str, float | int | str] = {
            "low": predicted.low_ms, "high": predicted.high_ms, "fps": predicted.frames_per_second
        }  # fmt: skip
        figure = f"{predicted.time_ms:.1f} ms"
        if predicted.coverage is None:
            return Verdict("fast", "attention", "fast.by_int8", figure, values, predicted.origin)
        values["coverage"] = predicted.coverage
        return Verdict("fast", "plain", "fast.predicted", figure, values, predicted.origin)
    if runs:
        return _run_verdict(runs[0], "attention", "fast.no_board")
    return Verdict("fast", "unknown", "fast.unknown", "", {"reason": why_not})


def _run_verdict(run: MeasuredRun, status: Status, code: str) -> Verdict:
    best = max(run.throughput, key=lambda one: one.frames_per_second, default=None)
    single = 1000 / run.stages.total.p50_ms if run.stages.total.p50_ms > 0 else 0.0
    network = run.stages.npu or run.stages.infer
    return Verdict(
        "fast", status, code, f"{best.frames_per_second if best else single:.1f} fps",
        {
            "fps": best.frames_per_second if best else single, "contexts": best.contexts if best else 1,
            "frame_ms": run.stages.total.p50_ms, "network_ms": network.p50_ms,
        },
        run.origin,
    )  # fmt: skip


def big(build: BuildFacts | None, memory: PlannedMemory | None, runs: Sequence[MeasuredRun]) -> Verdict:
    """How much memory does it take?"""
    values: dict[str, float | int | str] = {"file_mib": build.rknn_bytes / _MIB} if build else {"file_mib": 0.0}
    for run in runs:
        if run.npu_memory is not None and run.origin.kind == "measured":
            weights, internal = run.npu_memory.weights, run.npu_memory.internal
            values |= {"weights_mib": weights / _MIB, "internal_mib": internal / _MIB}
            code = "big.memory" if build else "big.memory_alone"
            return Verdict("big", "plain", code, f"{(weights + internal) / _MIB:.1f} MiB", values, run.origin)
    if memory is not None:
        values |= {"weights_mib": memory.weight_bytes / _MIB, "internal_mib": memory.internal_bytes / _MIB}
        return Verdict("big", "plain", "big.memory", f"{memory.total_bytes / _MIB:.1f} MiB", values, memory.origin)
    if build is not None:
        return Verdict("big", "plain", "big.file", f"{build.rknn_bytes / _MIB:.1f} MiB", values)
    return Verdict("big", "unknown", "big.unknown", "", {})

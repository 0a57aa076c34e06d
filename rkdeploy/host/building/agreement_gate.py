"""What the comparison with float proves, and which built models are refused.

Refused is only what is broken beyond doubt: a figure whose interval ends below the floor, a score tensor that cannot
reach the threshold, nothing found where float is sure.  Rounding flips detections near the threshold in any quantized
model, and a few images say little: between the floor and good agreement a build is kept and the user warned, and where
there is too little to judge by it is called unproven.
"""

from __future__ import annotations

from typing import Final

from rkdeploy.contract.record import Agreement, Measure, Proof
from rkdeploy.errors import VerificationError

FLOOR: Final = 0.85
"""Lowest share at which a build is kept.  Chosen on real models: see the table in docs/quantization.md."""
GOOD: Final = 0.95
"""Share from which nothing is said."""
FEWEST_OBJECTS: Final = 10
FEWEST_IMAGES: Final = 8
"""Fewer prove nothing: of classifiers and class maps images are counted, else objects."""

_PHRASES: Final = {
    "ap50": "AP50 of its {of} against float's detections is {value:.3f}",
    "recall": "it finds {percent:.1f} % of the objects that float is sure of",
    "precision": "float sees {percent:.1f} % of what it finds",
    "mean_iou": 'its class map "{of}" overlaps float\'s by {percent:.1f} % (mean IoU)',
    "first_class": "it gives float's first class on {percent:.1f} % of the images",
    "matched": "{percent:.1f} % of float's {of} are matched",
}
_MEND: Final = (
    "INT8: calibrate on 20 to 40 images like those the model will see (--calib), all classes among them; "
    "rkdeploy explain BUNDLE names the layers that lose most (build with --min-agreement 0 to have one); "
    "docs/quantization.md has what else helps. If --dtype fp16 disagrees too, it is not quantization: please report it."
)


def proof_of(agreement: Agreement | None, *, decode_proven: bool = True) -> Proof:
    """What the comparison proves.

    Args:
        agreement: the comparison; None of a build that had no image to compare on.
        decode_proven: whether the decode was proven, without which both sides may be read wrong alike.
    """
    if not decode_proven:
        return Proof("unproven", "no_decode")
    if agreement is None:
        return Proof("unproven", "no_images")
    measures = agreement.measures
    judged = [one for one in measures if _is_enough(one)]
    weakest = min(judged, key=lambda one: one.value, default=None)
    if weakest is not None:
        return Proof("agrees" if weakest.value >= GOOD else "weak", "measured", weakest)
    if not measures:
        return Proof("unproven", "no_objects")
    first = measures[0]
    return Proof("unproven", "few_objects" if first.unit == "objects" else "few_images", first)


def proof_text(proof: Proof, agreement: Agreement | None) -> str:
    """A sentence or two for the user; empty where all is well."""
    if proof.standing == "agrees" or proof.reason == "no_decode":  # which has a note of its own
        return ""
    if proof.standing == "weak" and proof.measure is not None:
        return (
            f"The built model is weaker than float: {described(proof.measure)}. Good is {GOOD:.2f} and more. "
            "rkdeploy explain BUNDLE says where it is lost, docs/quantization.md what helps."
        )
    images = agreement.images if agreement is not None else 0
    source = agreement.source if agreement is not None else ""
    reasons = {
        "no_images": "there was no image to compare the built model with float on",
        "no_objects": f"float finds nothing on the {images} images of {source}",
        "few_objects": f"float finds {proof.measure.count if proof.measure else 0} objects only on the {images} images "
        f"of {source}; {FEWEST_OBJECTS} are needed to judge",
        "few_images": f"{images} images are too few to judge; {FEWEST_IMAGES} are needed",
    }
    return f"Unproven: {reasons[proof.reason]}. Give images like those the model will see (--calib)."


def described(measure: Measure) -> str:
    """A measure as a user reads it, with its interval and what it rests on."""
    text = _PHRASES[measure.name].format(of=measure.of, value=measure.value, percent=100 * measure.value)
    low, high = measure.interval
    return f"{text} (95 % interval {low:.3f} to {high:.3f}, {measure.count} {measure.unit})"


def require_agreement(agreement: Agreement, min_agreement: float) -> None:
    """Refuse a built model that is broken beyond doubt.

    Args:
        agreement: the comparison.
        min_agreement: share from 0 to 1 that every measure must reach with the upper end of its interval.

    Raises:
        VerificationError: saying what is broken, by how much, and what to do.
    """
    _require_reachable_scores(agreement)
    _require_detections(agreement)
    fallen = [one for one in agreement.measures if _is_enough(one) and one.interval[1] < min_agreement]
    if fallen:
        raise VerificationError(
            f"The built model does not give what float gives: {'; '.join(described(one) for one in fallen)}. The upper "
            f"end of the interval must reach {min_agreement:.3f}. {agreement.images} images of {agreement.source}.",
            f"{_MEND} Or lower --min-agreement if this is good enough.",
        )


def _is_enough(measure: Measure) -> bool:
    return measure.count >= (FEWEST_OBJECTS if measure.unit == "objects" else FEWEST_IMAGES)


def _require_reachable_scores(agreement: Agreement) -> None:
    for output in agreement.outputs:
        if output.float_peak is None or output.built_peak is None or output.float_peak <= agreement.confidence:
            continue
        if output.reachable_score is not None and output.reachable_score <= agreement.confidence:
            raise VerificationError(
                f'Output "{output.name}" can represent scores up to {output.reachable_score:.3f} only, float reaches '
                f"{output.float_peak:.3f} and the threshold is {agreement.confidence}: every detection of it is lost.",
                "The calibration images show none of its objects, or boxes and scores share one scale: calibrate on "
                "images like those the model will see, or build with --split boxes_scores.",
            )


def _require_detections(agreement: Agreement) -> None:
    """Objects that float is sure of are not lost by rounding, nor many made out of nothing."""
    sure = agreement.recall
    if sure is not None and not agreement.built_detections:
        raise VerificationError(
            f"The built model finds nothing on {agreement.images} images where float finds "
            f"{agreement.float_detections} objects, {sure.objects} of them with a score above {sure.confidence}.",
            _MEND,
        )
    if not agreement.float_detections and agreement.built_detections > agreement.images:
        raise VerificationError(
            f"The built model finds {agreement.built_detections} objects on {agreement.images} images where float "
            "finds none.",
            _MEND,
        )

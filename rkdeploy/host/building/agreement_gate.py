"""Proof from the comparison with the float model, and the refusal of broken models.

Only clearly broken models are refused: a figure whose interval ends below the floor, a score tensor that cannot
reach the threshold, nothing found where the float model is certain.  Rounding flips detections near the threshold in
any quantized model, and a few images prove little: between the floor and good agreement a build is kept with a warning,
and with too little data it is called unproven.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rkdeploy.contract.agreement import Agreement, Measure, Proof
from rkdeploy.errors import VerificationError

FLOOR: Final = 0.85
"""Lowest share at which a build is kept.  Chosen on real models: see the table in docs/quantization.md."""
GOOD: Final = 0.95
"""Share from which there is no warning."""
FEWEST_OBJECTS: Final = 10
FEWEST_IMAGES: Final = 8
FEWEST_MAPS: Final = 4
"""Smallest number that proves something: objects; images of classifiers; images of class maps and depth, each of which
has thousands of pixels.
"""
COSINE_MARGIN: Final = 0.1
"""Distance of the floor of embeddings' cosines below that of shares: at a mean cosine of 0.8 no search is lost yet."""
_OF_MAPS: Final = frozenset({"mean_iou", "same_class", "depth", "delta1"})

_PHRASES: Final = {
    "ap50": "AP50 of its {of} against the float model's detections is {value:.3f}",
    "recall": "it finds {percent:.1f} % of the objects that the float model is certain of",
    "precision": "the float model also finds only {percent:.1f} % of its objects",
    "mean_iou": 'its class map "{of}" overlaps the float model\'s by {percent:.1f} % (mean IoU)',
    "same_class": 'its class map "{of}" gives {percent:.1f} % of the pixels the float model\'s class',
    "depth": "its depths differ from the float model's by {rest:.1f} % in the mean (AbsRel)",
    "delta1": "{percent:.1f} % of its depths are within a quarter of the float model's (delta1)",
    "cosine": "its embeddings have a mean cosine of {value:.3f} to the float model's",
    "nearest": "it finds the float model's nearest image for {percent:.1f} % of the images",
    "same_text": "it reads the float model's text on {percent:.1f} % of the images whose text is certain",
    "characters": "its characters agree with the float model's by {percent:.1f} % (1 less the edit distance)",
    "first_class": "it gives the float model's first class on {percent:.1f} % of the images",
    "matched": "{percent:.1f} % of the float model's {of} are matched",
}
_MEND: Final = (
    "INT8: calibrate on 20 to 40 images like those the model will see (--calib), all classes among them; where that is "
    "done already, --algorithm sensitivity --bias-correction costs no time on the NPU (a minute), and --algorithm mmse "
    "searches the toolkit's ranges (1 to 20 minutes); rkdeploy explain BUNDLE names the layers "
    "that lose most (build with --min-agreement 0 to have one); docs/quantization.md has what else helps. If --dtype "
    "fp16 disagrees too, it is not quantization: please report it."
)

TRIED_MEND: Final = (
    "INT8: calibrate on 20 to 40 images like those the model will see (--calib), all classes among them; rkdeploy "
    "explain BUNDLE names the layers that lose most (build with --min-agreement 0 to have one). If --dtype fp16 "
    "disagrees too, it is not quantization: please report it. Or lower --min-agreement if this is good enough."
)
"""Advice where all remedies were tried."""
_DEPTH_MEND: Final = (
    "Build with --dtype fp16: one of 256 steps of an 8-bit tensor is a few percent of a depth already, and the layers "
    "before it add theirs. INT8: calibrate on 20 to 40 images like those the model will see (--calib)."
)
_TEXT_MEND: Final = (
    "Build with --dtype fp16, as rknn_model_zoo does for PP-OCR: one wrong character makes a wrong text. INT8: "
    "calibrate on 20 to 40 lines of text like those the model will read (--calib)."
)


def proof_of(agreement: Agreement | None, *, decode_proven: bool = True) -> Proof:
    """The proof that the comparison gives.

    Args:
        agreement: the comparison; None for a build without an image to compare on.
        decode_proven: True if the decode was proven; otherwise both sides may be decoded wrongly in the same way.
    """
    if not decode_proven:
        return Proof("unproven", "no_decode")
    if agreement is None:
        return Proof("unproven", "no_images")
    measures = agreement.measures
    lowest = weakest(agreement)
    if lowest is not None:
        return Proof("agrees" if lowest.value >= GOOD else "weak", "measured", lowest)
    if not measures:
        return Proof("unproven", "no_objects")
    first = measures[0]
    return Proof("unproven", "few_objects" if first.unit == "objects" else "few_images", first)


def weakest(agreement: Agreement | None) -> Measure | None:
    """The lowest measure that there is enough data for; None without any."""
    judged = [one for one in agreement.measures if _is_enough(one)] if agreement is not None else []
    return min(judged, key=lambda one: one.value, default=None)


def is_clearly_weak(agreement: Agreement) -> bool:
    """True if a measure's whole interval is below what is good, or the model would be refused."""
    judged = [one for one in agreement.measures if _is_enough(one)]
    return any(one.interval[1] < GOOD for one in judged) or is_refused(agreement, FLOOR)


def is_refused(agreement: Agreement, min_agreement: float) -> bool:
    """True if `require_agreement` refuses a model."""
    try:
        require_agreement(agreement, min_agreement)
    except VerificationError:
        return True
    return False


def proof_text(proof: Proof, agreement: Agreement | None) -> str:
    """A sentence or two for the user; empty if all is well."""
    if proof.standing == "agrees" or proof.reason == "no_decode":  # reported separately
        return ""
    if proof.standing == "weak" and proof.measure is not None:
        return (
            f"The quantized model is weaker than the float model: {described(proof.measure)}. Good is {GOOD:.2f} and "
            "more. rkdeploy explain BUNDLE shows where it is lost, docs/quantization.md what helps."
        )
    images = agreement.images if agreement is not None else 0
    source = agreement.source if agreement is not None else ""
    fewest = _fewest(proof.measure) if proof.measure is not None else FEWEST_IMAGES
    reasons = {
        "no_images": "there was no image to compare the quantized with the float model on",
        "no_objects": f"the float model finds nothing on the {images} images of {source}",
        "few_objects": f"the float model finds only {proof.measure.count if proof.measure else 0} objects on the "
        f"{images} images of {source}; {FEWEST_OBJECTS} are needed to judge",
        "few_images": f"{images} images are too few to judge; {fewest} are needed",
    }
    return f"Unproven: {reasons[proof.reason]}. Give images like those the model will see (--calib)."


def described(measure: Measure) -> str:
    """A measure as text, with its interval and the number of objects behind it."""
    percent, rest = 100 * measure.value, 100 * (1 - measure.value)
    text = _PHRASES[measure.name].format(of=measure.of, value=measure.value, percent=percent, rest=rest)
    low, high = measure.interval
    return f"{text} (95 % interval {low:.3f} to {high:.3f}, {measure.count} {measure.unit})"


def require_agreement(agreement: Agreement, min_agreement: float) -> None:
    """Check that a quantized model is not clearly broken.

    Args:
        agreement: the comparison.
        min_agreement: share from 0 to 1 that every measure must reach with the upper end of its interval; cosines of
            embeddings may be `COSINE_MARGIN` below it.

    Raises:
        VerificationError: when it is: what is broken, by how much, and what to do.
    """
    _require_reachable_scores(agreement)
    _require_detections(agreement)
    floors = {one: min_agreement - (COSINE_MARGIN if one.name == "cosine" else 0.0) for one in agreement.measures}
    fallen = [one for one, floor in floors.items() if _is_enough(one) and one.interval[1] < floor]
    if fallen:
        raise VerificationError(
            f"The quantized model does not agree with the float model: {'; '.join(described(one) for one in fallen)}. "
            f"The upper end of the interval must reach {max(floors[one] for one in fallen):.3f}. "
            f"{agreement.images} images of {agreement.source}.",
            f"{_mend(fallen)} Or lower --min-agreement if this is good enough.",
        )


def _mend(fallen: Sequence[Measure]) -> str:
    """Advice against these."""
    names = {one.name for one in fallen}
    if names & {"depth", "delta1"}:
        return _DEPTH_MEND
    return _TEXT_MEND if names & {"same_text", "characters"} else _MEND


def _is_enough(measure: Measure) -> bool:
    return measure.count >= _fewest(measure)


def _fewest(measure: Measure) -> int:
    if measure.unit == "objects":
        return FEWEST_OBJECTS
    return FEWEST_MAPS if measure.name in _OF_MAPS else FEWEST_IMAGES


def _require_reachable_scores(agreement: Agreement) -> None:
    for output in agreement.outputs:
        if output.float_peak is None or output.built_peak is None or output.float_peak <= agreement.confidence:
            continue
        if output.reachable_score is not None and output.reachable_score <= agreement.confidence:
            raise VerificationError(
                f'Output "{output.name}" can represent scores up to {output.reachable_score:.3f} only, the float model '
                f"reaches {output.float_peak:.3f} and the threshold is {agreement.confidence}: nothing is detected.",
                "The calibration images show none of its objects, or boxes and scores share one scale: calibrate on "
                "images like those the model will see, or build with --split boxes_scores.",
            )


def _require_detections(agreement: Agreement) -> None:
    """Check that certain objects are not lost, and that objects do not appear without any in the float model."""
    sure = agreement.recall
    if sure is not None and not agreement.built_detections:
        raise VerificationError(
            f"The quantized model finds nothing on {agreement.images} images where the float model "
            f"finds {agreement.float_detections} objects, {sure.objects} of them with a score above {sure.confidence}.",
            _MEND,
        )
    if not agreement.float_detections and agreement.built_detections > agreement.images:
        raise VerificationError(
            f"The quantized model finds {agreement.built_detections} objects on {agreement.images} images where the "
            "float model finds none.",
            _MEND,
        )

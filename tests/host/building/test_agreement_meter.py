"""Comparison of a quantized model with the float model: matching by hand, and rejected cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rkdeploy.contract.agreement import Proof
from rkdeploy.contract.formulas import ClassMapSpec
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, Quantization
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import VerificationError
from rkdeploy.host.building.agreement_gate import proof_of, proof_text, require_agreement
from rkdeploy.host.building.agreement_meter import AgreementMeter
from rkdeploy.host.building.detection_matching import match_detections
from rkdeploy.images.fit import LetterboxTransform

# One level of 2x2 cells, one anchor, one class: channels x, y, w, h, objectness, class.
SPEC = ModelSpec(
    family="yolov5",
    task="detect",
    class_names=("bolt",),
    input=InputSpec("images", 16, 16),
    outputs=(
        HeadOutput("stride8_map", "anchor_map", 0, 8, (1, 6, 2, 2), "sigmoid", Quantization("int8", 1 / 255, -128)),
    ),
    anchors=Anchors((((8.0, 8.0),),)),
)
WHOLE = LetterboxTransform(1.0, 1.0, 0.0, 0.0, (16, 16))


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def head(objectness: float) -> HeadTensor:
    """One object in the first cell with the given objectness."""
    values = np.zeros((1, 6, 2, 2), np.float32)
    values[0, :4] = 0.5
    values[0, 5] = 1.0
    values[0, 4, 0, 0] = objectness
    return HeadTensor(values)


def quantized(tensor: HeadTensor, scale: float = 1 / 255, zero_point: int = -128) -> HeadTensor:
    values = np.clip(np.rint(tensor.values / scale) + zero_point, -128, 127).astype(np.int8)
    return HeadTensor(values, scale, zero_point)


def test_matching_by_hand() -> None:
    """Each detection is used once, the best overlap first; another class or a far score does not match."""
    reference = found((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.9, 0), (20, 20, 30, 30, 0.8, 1))
    compared = found((0, 0, 10, 10, 0.85, 0), (20, 20, 30, 30, 0.8, 0), (20, 20, 30, 30, 0.5, 1))
    matches = match_detections(reference, compared, 0.85, 0.15)
    assert matches.ious == (1.0,)
    assert matches.score_differences == pytest.approx((0.05,), abs=1e-6)
    assert (matches.reference, matches.compared) == (3, 3)


def test_nothing_to_match() -> None:
    """No detections on either side is not an error."""
    assert match_detections(Detections.empty(), Detections.empty(), 0.85, 0.15).ious == ()
    assert match_detections(found((0, 0, 1, 1, 0.5, 0)), Detections.empty(), 0.85, 0.15).reference == 1


def test_quantized_tensor_is_measured() -> None:
    """Cosine, error, saturation and the reachable score of a well quantized tensor."""
    meter = AgreementMeter(SPEC)
    meter.add([head(0.9)], [quantized(head(0.9))], WHOLE)
    agreement = meter.result("simulator", "by hand")
    (output,) = agreement.outputs
    assert output.cosine > 0.9999
    assert output.max_error <= 0.5 / 255 + 1e-6
    assert output.reachable_score == pytest.approx(1.0)
    assert output.float_peak == pytest.approx(0.9)
    assert agreement.share == 1.0
    require_agreement(agreement, 1.0)


def test_score_tensor_that_cannot_reach_the_threshold_is_refused() -> None:
    """A scale too small for scores is named, with what it can represent."""
    narrow = 0.2 / 255
    meter = AgreementMeter(SPEC)
    meter.add([head(0.9)], [quantized(head(0.9), narrow)], WHOLE)
    agreement = meter.result("simulator", "by hand")
    with pytest.raises(VerificationError, match=r'"stride8_map" can represent scores up to 0\.200 only'):
        require_agreement(agreement, 0.0)


def test_agreement_is_an_average_precision() -> None:
    """A score that moved across the threshold costs nothing; AP50, recall and the interval are recorded."""
    meter = AgreementMeter(SPEC)
    for _ in range(12):
        meter.add([head(0.9)], [quantized(head(0.9))], WHOLE)
    meter.add([head(0.26)], [quantized(head(0.24))], WHOLE)
    agreement = meter.result("simulator", "by hand")
    (boxes,) = agreement.average_precisions
    assert (boxes.objects, boxes.images, boxes.ap50, boxes.ap50_interval) == (13, 13, 1.0, (1.0, 1.0))
    assert agreement.share == 12 / 13
    assert agreement.recall is not None
    assert (agreement.recall.objects, agreement.recall.found) == (12, 1.0)
    require_agreement(agreement, 1.0)
    assert proof_of(agreement).standing == "agrees"
    assert proof_text(proof_of(agreement), agreement) == ""


def test_scores_that_all_fell_are_refused() -> None:
    """Ranked by score all is right, but nothing reaches the threshold of use: average precision does not see that."""
    meter = AgreementMeter(SPEC)
    meter.add([head(0.9)], [quantized(head(0.1))], WHOLE)
    agreement = meter.result("simulator", "by hand")
    assert agreement.average_precisions[0].ap50 == 1.0
    with pytest.raises(
        VerificationError, match=r"finds nothing on 1 images where the float model finds 1 objects, 1 of them"
    ):
        require_agreement(agreement, 0.0)


def test_half_the_scores_fell() -> None:
    """Half of the certain objects lies below the threshold: the recall says so, with its interval."""
    meter = AgreementMeter(SPEC)
    for built in [0.9, 0.1] * 20:
        meter.add([head(0.9)], [quantized(head(built))], WHOLE)
    agreement = meter.result("simulator", "by hand")
    with pytest.raises(
        VerificationError, match=r"it finds 50\.0 % of the objects that the float model is certain of \(95 % interval"
    ):
        require_agreement(agreement, 0.8)
    require_agreement(agreement, 0.5)
    assert proof_of(agreement).standing == "weak"
    assert "weaker than the float model: it finds 50.0 %" in proof_text(proof_of(agreement), agreement)


def test_one_borderline_object_is_no_fault() -> None:
    """The float model finds 8 objects, INT8 a ninth at 0.25 (float: 0.249): unproven, since few, but not refused."""
    meter = AgreementMeter(SPEC)
    for _ in range(8):
        meter.add([head(0.9)], [head(0.9)], WHOLE)
    meter.add([head(0.249)], [head(0.251)], WHOLE)
    agreement = meter.result("simulator", "by hand")
    assert (agreement.float_detections, agreement.built_detections) == (8, 9)
    require_agreement(agreement, 0.9)
    proof = proof_of(agreement)
    assert (proof.standing, proof.reason) == ("unproven", "few_objects")
    assert proof_text(proof, agreement).startswith(
        "Unproven: the float model finds only 8 objects on the 9 images of by hand"
    )


def test_nothing_there_is_unproven() -> None:
    """No object, or no image at all, is not called good."""
    meter = AgreementMeter(SPEC)
    meter.add([head(0.1)], [head(0.1)], WHOLE)
    agreement = meter.result("simulator", "by hand")
    require_agreement(agreement, 0.9)
    assert proof_of(agreement) == Proof("unproven", "no_objects")
    assert proof_text(proof_of(agreement), agreement).startswith(
        "Unproven: the float model finds nothing on the 1 images"
    )
    assert proof_of(None) == Proof("unproven", "no_images")


def test_phantoms_are_refused() -> None:
    """A model that finds everything, and as much again with a higher score, has half the precision."""
    meter = AgreementMeter(SPEC)
    for _ in range(12):
        extra = head(0.9)
        extra.values[0, 4, 1, 1] = 0.95
        meter.add([head(0.9)], [quantized(extra)], WHOLE)
    agreement = meter.result("simulator", "by hand")
    assert agreement.share == 1.0
    with pytest.raises(VerificationError, match=r"AP50 of its boxes against the float model's detections is 0\.5"):
        require_agreement(agreement, 0.8)


def test_phantoms_with_low_scores_are_refused() -> None:
    """False detections ranked behind all true ones cost no average precision, but a user sees them."""
    meter = AgreementMeter(SPEC)
    for _ in range(12):
        extra = head(0.9)
        extra.values[0, 4, 1, 1] = extra.values[0, 4, 0, 1] = 0.3
        meter.add([head(0.9)], [quantized(extra)], WHOLE)
    agreement = meter.result("simulator", "by hand")
    assert agreement.average_precisions[0].ap50 == 1.0
    with pytest.raises(VerificationError, match=r"the float model also finds only 33\.3 % of its objects"):
        require_agreement(agreement, 0.8)


def test_thin_boxes_are_left_out() -> None:
    """A box 2 px high that moved by 2 px has no overlap left, and says nothing of the model."""
    tall, thin = head(0.9), head(0.9)
    for values in (tall.values, thin.values):
        values[0, 4, 1, 1] = 0.8
    tall.values[0, 3, 1, 1] = thin.values[0, 3, 1, 1] = 0.2  # 8 px times (2 * 0.2) ** 2 are 1.28 px
    thin.values[0, 1, 1, 1] = 0.7
    meter = AgreementMeter(SPEC)
    meter.add([tall], [thin], WHOLE)
    agreement = meter.result("simulator", "by hand")
    assert (agreement.float_detections, agreement.built_detections, agreement.matched) == (1, 1, 1)
    assert agreement.average_precisions[0].ap50 == 1.0


def test_a_class_map_is_judged_by_its_iou() -> None:
    """Half of the float model's road lost: IoU 1/2 of the road, 2/3 of the rest; few images prove nothing."""
    spec = replace(
        SPEC,
        outputs=(HeadOutput("lane", "class_map", 0, 1, (1, 2, 16, 16), "sigmoid"),),
        anchors=None,
        class_maps=(ClassMapSpec("lane", ("nothing", "road")),),
    )
    reference = np.zeros((1, 2, 16, 16), np.float32)
    reference[0, 0] = 1.0
    reference[0, :, :8] = np.array([0.0, 1.0], np.float32)[:, None, None]
    built = reference.copy()
    built[0, :, :4] = np.array([1.0, 0.0], np.float32)[:, None, None]
    meter = AgreementMeter(spec)
    meter.add([HeadTensor(reference)], [HeadTensor(built)], WHOLE)
    few = meter.result("simulator", "by hand")
    assert few.class_maps[0].mean_iou == pytest.approx((0.5 + 8 / 12) / 2)
    require_agreement(few, 0.9)
    assert proof_of(few).reason == "few_images"
    for _ in range(8):
        meter.add([HeadTensor(reference)], [HeadTensor(built)], WHOLE)
    with pytest.raises(VerificationError, match=r'class map "lane" overlaps the float model\'s by 58\.3 %'):
        require_agreement(meter.result("simulator", "by hand"), 0.8)


def test_detections_out_of_nothing_are_refused() -> None:
    """If the float model finds nothing, many detections are not agreement."""
    crowded = HeadTensor(np.full((1, 6, 2, 2), 0.5, np.float32))
    crowded.values[0, 4:] = 1.0
    meter = AgreementMeter(SPEC)
    meter.add([head(0.0)], [quantized(crowded)], WHOLE)
    with pytest.raises(VerificationError, match="where the float model finds none"):
        require_agreement(meter.result("simulator", "by hand"), 0.9)


def test_nan_is_named() -> None:
    """A built model that answers NaN or infinity is refused by the tensor's name."""
    broken = head(0.9)
    broken.values[0, 0, 0, 0] = np.inf
    with pytest.raises(VerificationError, match=r'"stride8_map" .* NaN or infinity'):
        AgreementMeter(SPEC).add([head(0.9)], [broken], WHOLE)


def test_linear_outputs_are_compared_as_probabilities() -> None:
    """With the sigmoid left to the CPU, peaks are still scores from 0 to 1."""
    spec = replace(SPEC, outputs=(replace(SPEC.outputs[0], activation="linear", quantization=None),))
    meter = AgreementMeter(spec)
    logits = HeadTensor(np.full((1, 6, 2, 2), -2.0, np.float32))
    meter.add([logits], [logits], WHOLE)
    agreement = meter.result("simulator", "by hand")
    assert agreement.outputs[0].float_peak == pytest.approx(1 / (1 + np.exp(2)))
    assert agreement.share is None

"""The short text that a model carries: it fits, tells contracts apart, and is not confused by text of others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from rkdeploy.contract.embedded_contract import contract_digest, custom_string, differences
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, NpuModel, Quantization

OUTPUT = HeadOutput("stride8_map", "anchor_map", 0, 8, (1, 14, 8, 12), "sigmoid")
SPEC = ModelSpec(
    family="yolov5",
    task="detect",
    class_names=("bolt", "螺母"),
    input=InputSpec("images", 64, 96),
    outputs=(OUTPUT,),
    anchors=Anchors((((10.0, 13.0), (16.0, 30.0)),)),
)
MANY = replace(SPEC, class_names=tuple(f"类别{i}" for i in range(500)))
HUGE = replace(MANY, anchors=Anchors(tuple(((10.5, 13.25), (16.125, 30.0)) for _ in range(100))))


@pytest.mark.parametrize("spec", [SPEC, MANY, HUGE])
def test_it_fits(spec: ModelSpec) -> None:
    """It is ASCII below 1,024 bytes whatever the contract; names, then anchors and outputs go where room is short."""
    text = custom_string(spec)
    assert len(text.encode("ascii")) < 1024
    said = json.loads(text)
    assert said["classes"] == len(spec.class_names)
    assert ("anchors" in said) == (spec is not HUGE)
    if spec is not HUGE:
        assert said["anchors"] == [[[10.0, 13.0], [16.0, 30.0]]]
        assert said["names"] == list(spec.class_names[: len(said["names"])])
    assert differences(text, spec) == ()


def test_what_the_build_adds_is_not_in_it() -> None:
    """The text goes into the model before scales and the model's own name are known: they change nothing."""
    built = replace(
        SPEC,
        outputs=(replace(OUTPUT, quantization=Quantization("int8", 0.0039, -128)),),
        model=NpuModel("best.rknn", "rk3588", "int8"),
    )
    assert custom_string(built) == custom_string(SPEC)


def test_numbers_are_numbers() -> None:
    """A contract read back from JSON has 10.0 where the build had 10; both are one contract."""
    whole = replace(SPEC, anchors=Anchors((((10, 13), (16, 30)),)))
    assert contract_digest(whole) == contract_digest(SPEC)
    assert differences(custom_string(whole), SPEC) == ()


OTHERS: dict[str, tuple[ModelSpec, str]] = {
    "anchors": (
        replace(SPEC, anchors=Anchors((((20.0, 13.0), (16.0, 30.0)),))),
        "anchors: [[[20.0,13.0],[16.0,30.0]]] in the model, [[[10.0,13.0],[16.0,30.0]]] in the contract",
    ),
    "names": (replace(SPEC, class_names=("nut", "bolt")), 'names: ["nut","bolt"] in the model'),
    "family": (replace(SPEC, family="yolov7"), 'family: "yolov7" in the model, "yolov5" in the contract'),
    "size": (replace(SPEC, input=replace(SPEC.input, width=128)), 'input: [64,128,"rgb"] in the model'),
    "color": (replace(SPEC, input=replace(SPEC.input, color="bgr")), 'input: [64,96,"bgr"] in the model'),
    "activation": (replace(SPEC, outputs=(replace(OUTPUT, activation="linear"),)), '"linear"]] in the model'),
    "mean": (replace(SPEC, input=replace(SPEC.input, mean=(1.0, 0.0, 0.0))), "digest: "),
}


@pytest.mark.parametrize(("other", "says"), OTHERS.values(), ids=OTHERS.keys())
def test_another_contract_is_told(other: ModelSpec, says: str) -> None:
    """Differences are named with both values; those that the short form omits show in the digest."""
    found = differences(custom_string(other), SPEC)
    assert len(found) == 1
    assert says in found[0]


def test_a_name_beyond_the_short_form_shows() -> None:
    """Of 500 class names few fit, but one that differs at the end is another contract."""
    other = replace(MANY, class_names=(*MANY.class_names[:-1], "other"))
    (found,) = differences(custom_string(other), MANY)
    assert found.startswith("digest: ")


def test_models_from_before_the_digest() -> None:
    """Their text is compared as far as it goes."""
    old: dict[str, Any] = json.loads(custom_string(SPEC))
    del old["digest"]
    assert differences(json.dumps(old), SPEC) == ()
    assert differences(json.dumps(old | {"classes": 3}), SPEC) == ("classes: 3 in the model, 2 in the contract",)


@pytest.mark.parametrize("text", ["", "shim", "{", "[1]", "{}", '{"family": "x"}', "[" * 100_000, '"rkdeploy"'])
def test_foreign_text_proves_nothing(text: str) -> None:
    """A model built by another program may carry any text."""
    assert differences(text, SPEC) == ()

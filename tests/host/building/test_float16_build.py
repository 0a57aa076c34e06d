"""Builds with layers in float16: each way to choose them, in the record, the compile log and the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from rkdeploy.contract.bundle import Bundle
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.toolkit.float16 import Float16Choice

SAMPLE = Path(__file__).parents[3] / "calib_data"


@dataclass(frozen=True)
class Builds:
    """Bundles of the sample, by how their float16 layers were chosen."""

    none: Bundle
    head: Bundle
    worst: Bundle
    auto: Bundle


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    def made(name: str, choice: Float16Choice) -> Bundle:
        out = tmp_path_factory.mktemp(name)
        options = BuildOptions(
            SAMPLE / "best.pt", calib=SAMPLE, calib_count=16, imgsz=(128, 160), proof_images=4, float16=choice, out=out
        )
        return build(options, BuildEvents())

    return Builds(
        made("none", Float16Choice()),
        made("head", Float16Choice(layers=("head",))),
        made("worst", Float16Choice(worst=2)),
        made("auto", Float16Choice(auto=True)),
    )


def float16_layers(bundle: Bundle) -> list[str]:
    """Operators that the compiler reports in float16: (operator, name)."""
    assert bundle.record.compiled is not None
    return [layer.op for layer in bundle.record.compiled.layers if layer.dtype == "FLOAT16" and not layer.is_end]


def cosine(bundle: Bundle) -> float:
    assert bundle.record.agreement is not None
    return min(output.cosine for output in bundle.record.agreement.outputs)


@pytest.mark.slow
def test_chosen_layers_are_compiled_in_float16(builds: Builds) -> None:
    """The record's list and the compiler's own say the same; without a choice everything is int8."""
    assert builds.none.record.toolkit.float16 == ()
    assert float16_layers(builds.none) == []
    head = builds.head.record.toolkit.float16
    assert {name.split("_")[0] for name in head} == {"stride8", "stride16", "stride32"}
    assert len([op for op in float16_layers(builds.head) if op.startswith("Conv")]) == 3
    assert all(output.quantization is None for output in builds.head.spec.outputs)
    for bundle in (builds.worst, builds.auto):
        assert bundle.record.toolkit.float16
        assert float16_layers(bundle)
        assert all(output.quantization is not None for output in bundle.spec.outputs)


@pytest.mark.slow
def test_a_float16_head_brings_the_outputs_nearer(builds: Builds) -> None:
    """The head in float16 raises the lowest cosine of the outputs."""
    assert cosine(builds.head) > cosine(builds.none)

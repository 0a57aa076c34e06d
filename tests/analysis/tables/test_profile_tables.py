"""A profile in a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rkdeploy.analysis.page.texts import Lang, Words
from rkdeploy.analysis.tables.profile_tables import profile_blocks
from rkdeploy.device.profiling.layer_table import parse_layers, ranking
from rkdeploy.device.profiling.profile_document import LayerProfile, Missing, Profile, ProfileAdvice
from tests.analysis.tables.printed import printed
from tests.device.profiling.test_profile_advice import GOOD

LAYERS = parse_layers((Path(__file__).parents[2] / "data/perf/perf_detail_real_1.5.2_ppe.txt").read_text())
WITH_LAYERS = replace(GOOD, layers=LayerProfile("librknnrt 1.5.2", 5, LAYERS, ranking(LAYERS), 1446.0, 45000.0))


def shown(profile: Profile, rows: int = 12, lang: Lang = "en") -> str:
    return printed(profile_blocks(profile, Words(lang), rows), lang)


def test_layers_are_never_cut_off() -> None:
    """On 80 columns operators, shares and the longest layer names are whole; 0 shows all 85 in their order."""
    text = shown(WITH_LAYERS)
    assert "The 12 slowest of 85 layers" in text
    for part in ("OutputOperator", "33.1%", "/model.13/m/m.0/cv2/conv/Conv", "limited by", "moving data"):
        assert part in text, part
    assert "…" not in text
    assert "/model.24/m.2/Conv" in shown(WITH_LAYERS, 0)


def test_every_part_is_there() -> None:
    """Contexts with their gain, cores, conditions, what is missing with its reason, and advice with its fix."""
    advice = ProfileAdvice("governor", "warning", "Clocks fall.", "first command\nsecond command")
    text = shown(replace(GOOD, missing=(Missing("layers", "no table"),), advice=(advice,)))
    for part in ("2.87", "core", "22.00", "governor", "1000", "slows down at", "85.0", "Not measured", "no table",
                 "Attention  Clocks fall.", "  first command", "  second command", "network in it"):  # fmt: skip
        assert part in text, part
    assert "without a Rockchip NPU" not in text
    assert "without a Rockchip NPU" in shown(replace(GOOD, on_npu=False))


def test_the_same_in_chinese() -> None:
    """Every heading is Chinese; the figures are the same."""
    text = shown(GOOD, lang="zh")
    for part in ("预处理", "多个上下文同时运行", "测量环境", "2.87"):
        assert part in text, part
    assert "contexts" not in text


def test_names_of_a_strangers_model_are_shown_harmless() -> None:
    """Markup and control characters in layer names, boards and runtimes do not reach Rich or the terminal."""
    layer = replace(LAYERS[1], name="[red]\x1b[2J", op="\x07[/]")
    hostile = replace(
        WITH_LAYERS,
        figures_from="[bold]\x1b]0;x\x07",
        layers=LayerProfile("[link]", 5, (layer,), ranking((layer,)), None, None),
        versions=replace(GOOD.versions, board="[blink]\x1b[5m"),
    )
    text = shown(hostile)
    assert "\x1b" not in text
    assert "\x07" not in text
    for part in ("[red]\\x1b[2J", "[bold]", "[blink]", "[link]"):
        assert part in text, part

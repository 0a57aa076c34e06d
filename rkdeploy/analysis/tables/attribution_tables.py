"""Loss by layers and options, estimated by the emulation."""

from __future__ import annotations

from collections.abc import Iterator

from rkdeploy.analysis.explain.attribution import LayerLoss, LossAttribution, RemedyGain
from rkdeploy.analysis.explain.explanation import Explanation, TensorRange
from rkdeploy.analysis.page.columns import ColumnOf, share_column, table_of, text_column
from rkdeploy.analysis.page.content import Block, Note
from rkdeploy.analysis.page.texts import Words
from rkdeploy.contract.agreement import Measure
from rkdeploy.host.toolkit.float16 import layer_name

_SHOWN = 12


def attribution_blocks(explanation: Explanation, words: Words, *, every: bool = False) -> Iterator[Block]:
    """The layers by what their float form gains, with the ranges of the worst, and the options.

    Args:
        explanation: with or without an attribution.
        words: of the language.
        every: whether all layers are listed.
    """
    found = explanation.attribution
    if found is None:
        return
    if found.reason:
        yield Note(found.reason, "attention", quoted=True)
        return
    built = words("attribution.agreement", figure=_figure(found.agreement)) if found.agreement is not None else ""
    yield Note(words("attribution.how", images=found.images, seconds=found.seconds, agreement=built).rstrip())
    if len(found.layers) < found.all_layers:
        yield Note(words("attribution.part", count=len(found.layers), all=found.all_layers), "attention")
    rows = found.layers if every else found.layers[:_SHOWN]
    if rows:
        caption = words("attribution.caption", count=len(rows))
        yield table_of(caption, _layer_columns(found, explanation, words), rows, sortable=True, tall=True)
    if found.remedies:
        yield table_of(words("attribution.remedies"), _remedy_columns(words), found.remedies)


def _layer_columns(found: LossAttribution, explanation: Explanation, words: Words) -> list[ColumnOf[LayerLoss]]:
    ranges = {one.name: one for one in explanation.ranges}
    looked_at = {one.name for one in found.layers if one.activations_gain is not None}

    def range_of(row: LayerLoss) -> TensorRange | None:
        return ranges.get(row.name) if row.name in looked_at else None

    return [
        text_column(words("attribution.layer"), lambda row: layer_name(row.name)),
        text_column(words("layers.op"), lambda row: row.op),
        share_column(words("attribution.gain"), lambda row: row.gain),
        share_column(words("attribution.weights"), lambda row: row.weights_gain),
        share_column(words("attribution.activations"), lambda row: row.activations_gain),
        share_column(words("attribution.alone"), lambda row: row.alone),
        share_column(words("attribution.float16"), lambda row: row.float16_gain),
        text_column(words("attribution.agrees"), lambda row: _figure(row.agreement)),
        text_column(words("attribution.range"), lambda row: _range(range_of(row))),
        text_column(words("attribution.channel"), lambda row: _channel(range_of(row))),
        text_column(words("attribution.image"), lambda row: one.widest_image if (one := range_of(row)) else ""),
    ]


def _remedy_columns(words: Words) -> list[ColumnOf[RemedyGain]]:
    return [
        text_column(words("attribution.option"), lambda row: row.option),
        share_column(words("attribution.gain"), lambda row: row.gain),
        text_column(words("attribution.agrees"), lambda row: _figure(row.agreement)),
        text_column(words("attribution.note"), lambda row: row.reason),
    ]


def _figure(measure: Measure | None) -> str:
    if measure is None:
        return ""
    low, high = measure.interval
    return f"{measure.name.upper()} {measure.value:.3f} ({low:.3f}..{high:.3f})"


def _range(known: TensorRange | None) -> str:
    if known is None:
        return ""
    low, high = known.calibrated
    return f"{low:.3g}..{high:.3g} ({min(1.0, known.used):.0%})"


def _channel(known: TensorRange | None) -> str:
    return (
        f"{known.widest_channel} ({known.channel_ratio:.0f})" if known is not None and known.channel_ratio > 1 else ""
    )

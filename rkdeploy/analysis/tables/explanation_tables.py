"""Layers where quantization loses accuracy, and the causes."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

from rkdeploy.analysis.explain.explanation import Explanation
from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.page.columns import ColumnOf, number_column, table_of, text_column
from rkdeploy.analysis.page.content import Block, Note, PageSection
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.analysis.tables.attribution_tables import attribution_blocks
from rkdeploy.host.toolkit.error_analysis import LayerError

_WORST = 20
_BAR = 24
_DECADES = 5


def explanation_section(model: ModelReport, words: Words) -> PageSection | None:
    """Findings of `rkdeploy explain`."""
    if model.explanation is None:
        return None
    return PageSection("explain", words("explain.title"), list(explanation_blocks(model.explanation, words)))


def explanation_blocks(found: Explanation, words: Words, *, every: bool = False) -> Iterator[Block]:
    """Causes, and the layers with their losses.

    Args:
        found: the explanation.
        words: of the language.
        every: whether all layers are listed, in the order of the network, and not only the worst.
    """
    how = words(
        "explain.how",
        bundle=found.bundle,
        layers=len(found.layers),
        images=len(found.images),
        by=words.origin(origin_of(found)),
    )
    yield Note(how)
    for number, cause in enumerate(found.causes, 1):
        text = f"{number}. {cause.kind}: {cause.text}\n{words('explain.try', text=cause.try_this)}"
        yield Note(text, "attention", quoted=True)
    yield from attribution_blocks(found, words, every=every)
    rows = list(found.layers) if every else sorted(found.layers, key=lambda layer: layer.single_cosine)[:_WORST]
    caption = words("explain.all_caption" if every else "explain.caption", count=len(rows))
    columns: list[ColumnOf[LayerError]] = [
        text_column(words("layers.name"), lambda row: row.name.removesuffix("_output_0")),
        text_column(words("layers.op"), lambda row: row.op),
        number_column(words("explain.alone"), lambda row: row.single_cosine, ".5f"),
        number_column(words("explain.entire"), lambda row: row.entire_cosine, ".5f"),
        text_column(words("explain.bar"), _bar),
    ]
    yield table_of(caption, columns, rows, origin_of(found), sortable=True, tall=True)


def _bar(row: LayerError) -> str:
    """Error of the layer alone, on a scale of decades from 1e-5 to 1."""
    decades = log10(max(1 - row.single_cosine, 10**-_DECADES)) + _DECADES
    return "█" * round(_BAR * min(decades, _DECADES) / _DECADES)

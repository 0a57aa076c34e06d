"""A report as a page of one language."""

from __future__ import annotations

from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.page.content import Block, Cell, Column, ModelPage, Note, Page, PageSection, Table, moment
from rkdeploy.analysis.page.texts import Lang, Words
from rkdeploy.analysis.report.cards import card, subtitle
from rkdeploy.analysis.report.model_report import ModelReport, Report
from rkdeploy.analysis.tables.accuracy_tables import accuracy_section
from rkdeploy.analysis.tables.contract_tables import (
    anchors_section,
    contract_section,
    environment_section,
    examples_section,
)
from rkdeploy.analysis.tables.explanation_tables import explanation_section
from rkdeploy.analysis.tables.layer_time_tables import layers_section
from rkdeploy.analysis.tables.memory_tables import memory_section
from rkdeploy.analysis.tables.profile_tables import conditions_section, speed_section
from rkdeploy.analysis.tables.proof_tables import proof_section

_PARTS = (
    proof_section,
    accuracy_section,
    examples_section,
    speed_section,
    layers_section,
    memory_section,
    anchors_section,
    contract_section,
    explanation_section,
    conditions_section,
    environment_section,
)


def compose(report: Report, lang: Lang) -> Page:
    """The whole report in words, tables and plots."""
    words = Words(lang)
    models = tuple(_model_page(model, words, f"m{index}") for index, model in enumerate(report.models, 1))
    title = models[0].name if len(models) == 1 else words("page.several", count=len(models))
    return Page(
        lang=lang,
        title=title,
        kind=words("page.kind"),
        subtitle=words("page.made", created=moment(report.created), version=report.rkdeploy_version),
        models=models,
        sections=(_origins(report, words),),
    )


def _model_page(model: ModelReport, words: Words, ident: str) -> ModelPage:
    sections = [part(model, words) for part in _PARTS]
    return ModelPage(
        ident=ident,
        name=model.name,
        subtitle=subtitle(model, words),
        cards=[card(one, words) for one in model.summary],
        sections=[one for one in sections if one is not None],
    )


def _origins(report: Report, words: Words) -> PageSection:
    """Meaning of the marks of origin that occur in this report."""
    kinds = [v.origin.kind for m in report.models for v in m.summary if v.origin]
    kinds += [origin_of(one).kind for m in report.models for one in m.profiles]
    kinds += [origin_of(one).kind for m in report.models for found in m.accuracy for one in found.evaluations]
    there = [kind for kind in ("measured", "simulator", "predicted", "host", "stand_in") if kind in kinds]
    rows = [[Cell(words(f"origin_name.{kind}")), Cell(words(f"origin_means.{kind}"))] for kind in there]
    blocks: list[Block] = [
        Note(words("origins.text")),
        Table(words("origins.caption"), (Column(words("common.origin")), Column(words("origins.means"))), rows),
    ]
    return PageSection("origins", words("origins.title"), blocks)

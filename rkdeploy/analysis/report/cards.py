"""The answers of the summary in words.  Needs nothing but the report: a terminal shows them too."""

from __future__ import annotations

from rkdeploy.analysis.page.content import Card
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.model_report import ModelReport, Verdict


def card(one: Verdict, words: Words) -> Card:
    """One answer.  A figure that is neither good nor bad says where it comes from in the place of a status."""
    plain = one.status == "plain"
    values = dict(one.values)
    if "of" in values:
        values["of"] = words.kind(str(values["of"]))
    return Card(
        question=words(f"question.{one.question}"),
        status=one.status,
        status_text=words(f"origin_card.{one.origin.kind}" if plain and one.origin else f"status.{one.status}"),
        figure=one.figure,
        sentence=words(f"verdict.{one.code}", **values),
        origin=one.origin,
    )


def subtitle(model: ModelReport, words: Words) -> str:
    """Task, chip, type, and input size."""
    height, width = model.input_hw
    task = words(f"task.{model.contract.task}") if model.contract else ""
    facts = (task, model.target, model.dtype.upper(), f"{width} \N{MULTIPLICATION SIGN} {height} px")
    return words("page.join").join(filter(None, facts))

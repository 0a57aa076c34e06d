"""The answers of the summary in words.  Needs nothing but the report: a terminal shows them too."""

from __future__ import annotations

from dataclasses import dataclass

from rkdeploy.analysis.report.model import ModelReport, Status, Verdict
from rkdeploy.analysis.report.origin import Origin
from rkdeploy.analysis.report.texts import Words


@dataclass(frozen=True, slots=True)
class Card:
    """One answer of the summary.

    Attributes:
        question, status_text, figure, sentence: in words.
        status: chooses an icon and a colour beside `status_text`.
        origin: of the figure.
    """

    question: str
    status: Status
    status_text: str
    figure: str
    sentence: str
    origin: Origin | None


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
    """What the model is: task, chip, type, input size."""
    height, width = model.input_hw
    task = words(f"task.{model.contract.task}") if model.contract else ""
    facts = (task, model.target, model.dtype.upper(), f"{width} \N{MULTIPLICATION SIGN} {height} px")
    return words("page.join").join(filter(None, facts))

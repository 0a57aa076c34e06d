"""Result of a further model of a chain in a few words, for labels and lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rkdeploy.device.postprocess.detections import NestedResult


def answer_words(answer: NestedResult) -> str:
    """The answer in words: a name of a gallery, text, the first class of a ranking, or the objects by class.

    Empty for what has no words.
    """
    found, names = answer.detections, answer.class_names
    first: list[str] = [] if found.ranking is None else [names[i] for i in found.ranking.class_ids[:1].tolist()]
    if found.match is not None:
        return found.match.name or "unknown"
    if found.text is not None:
        return " ".join(filter(None, (found.text.text, *first)))
    if first:
        return first[0]
    counts = Counter(names[i] for i in found.class_ids.tolist())
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.most_common())


def all_answer_words(answers: Iterable[NestedResult | None]) -> tuple[str, ...]:
    """The words of each answer for one object, those without words left out."""
    return tuple(filter(None, (answer_words(answer) for answer in answers if answer is not None)))

"""Differences of a text that was read from the right one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextErrors:
    """Comparison of one line.

    Attributes:
        same: whether both texts are the same.
        accuracy: 1 less the edit distance over the length of the longer text, as PaddleOCR's RecMetric has it
            (`norm_edit_dis`); 1 for two empty texts.
    """

    same: bool
    accuracy: float


def text_errors(right: Sequence[str], read: Sequence[str]) -> TextErrors:
    """Compare two texts.

    Args:
        right: the characters of the right text, or the text itself.
        read: those that were read.
    """
    right, read = tuple(right), tuple(read)
    longest = max(len(right), len(read))
    if not longest:
        return TextErrors(same=True, accuracy=1.0)
    return TextErrors(right == read, 1 - edit_distance(right, read) / longest)


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Fewest insertions, removals and replacements that make one text of the other (Levenshtein)."""
    before = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
        before = row
    return before[-1]

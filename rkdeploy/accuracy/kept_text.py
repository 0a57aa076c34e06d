"""Text of a kept example: its characters, each with its confidence and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from rkdeploy.device.postprocess.detections import FoundText


@dataclass(frozen=True, slots=True)
class KeptCharacter:
    """One character of a text.

    Attributes:
        text: the character.
        confidence: its probability, 0..1.
        column: of the network's output, in which it begins.
    """

    text: Annotated[str, Meta(max_length=16)]
    confidence: Annotated[float, Meta(ge=0, le=1)]
    column: Annotated[int, Meta(ge=0, le=1 << 24)]


def kept_text(found: FoundText) -> tuple[KeptCharacter, ...]:
    """A text in the form of the file."""
    parts = zip(found.characters, found.confidences.tolist(), found.columns.tolist(), strict=True)
    return tuple(KeptCharacter(text, min(1.0, round(confidence, 5)), column) for text, confidence, column in parts)


def found_text(kept: Sequence[KeptCharacter]) -> FoundText:
    """A kept text as it is drawn."""
    return FoundText(
        tuple(one.text for one in kept),
        np.array([one.confidence for one in kept], np.float32),
        np.array([one.column for one in kept], np.int32),
    )

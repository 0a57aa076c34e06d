"""Dictionaries of text recognizers, and the formula that each makes of a recognizer's scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from rkdeploy.contract.formulas import TextFormula

BlankPlace = Literal["first", "last"]
_PROVINCES: Final = "京沪津渝冀晋蒙辽吉黑苏浙皖闽赣鲁豫鄂湘粤桂琼川贵云藏陕甘青宁新"
LPRNET: Final = (*_PROVINCES, *"0123456789ABCDEFGHJKLMNPQRSTUVWXYZIO")
"""The characters of sirius-ai/LPRNet_Pytorch (data/load_data.py) and of rknn_model_zoo's LPRNet, before the blank."""
PLATES: Final = (*_PROVINCES, *"学警港澳挂使领民航危0123456789ABCDEFGHJKLMNPQRSTUVWXYZ险品")
"""The characters of we0091234/crnn_plate_recognition (alphabets.py), behind the blank."""
PLATE_COLORS: Final = ("black", "blue", "green", "white", "yellow")
"""Its colors (demo_plate_color.py)."""
LOWER_CASE: Final = tuple("0123456789abcdefghijklmnopqrstuvwxyz")
"""The characters of meijieru/crnn.pytorch and of most scene text benchmarks, behind the blank."""


def text_formula(characters: Sequence[str], scores: int, blank: BlankPlace) -> TextFormula | None:
    """The formula of a dictionary; None if it has too many or too few characters.

    Args:
        characters: of the dictionary.  It may list the blank itself, in its place, or leave it out; PP-OCR's files also
            leave out the space, which comes last.
        scores: of the recognizer.
        blank: its place among the scores.
    """
    missing = scores - len(characters)
    if missing not in (0, 1, 2) or scores < 2:
        return None
    known = list(characters) if missing < 2 else [*characters, " "]
    place = 0 if blank == "first" else len(known) - (missing == 0)
    if missing == 0:
        known[place] = ""
    else:
        known.insert(place, "")
    return TextFormula(tuple(known), place)

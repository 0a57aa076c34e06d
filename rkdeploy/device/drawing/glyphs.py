"""Characters that OpenCV's font does not have.

Letters with accents lose them ("Zündkerze" -> "Zundkerze").  The Chinese characters of a license plate are spelled in
pinyin ("苏" -> "Su").  In other text, a character becomes a box with its code point, as browsers draw one without a
font: two lines of hexadecimal digits, which small pictures leave out.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

_SPELLED: Final = str.maketrans({
    "ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "ł": "l", "Ł": "L", "đ": "d", "·": ".",
})  # fmt: skip
_PINYIN: Final = {
    "京": "Jing", "沪": "Hu", "津": "Jin", "渝": "Yu", "冀": "Ji", "晋": "Jin", "蒙": "Meng", "辽": "Liao", "吉": "Ji",
    "黑": "Hei", "苏": "Su", "浙": "Zhe", "皖": "Wan", "闽": "Min", "赣": "Gan", "鲁": "Lu", "豫": "Yu", "鄂": "E",
    "湘": "Xiang", "粤": "Yue", "桂": "Gui", "琼": "Qiong", "川": "Chuan", "贵": "Gui", "云": "Yun", "藏": "Zang",
    "陕": "Shan", "甘": "Gan", "青": "Qing", "宁": "Ning", "新": "Xin", "学": "xue", "警": "jing", "港": "gang",
    "澳": "ao", "挂": "gua", "使": "shi", "领": "ling", "民": "min", "航": "hang", "危": "wei", "险": "xian",
    "品": "pin",
}  # fmt: skip
"""Provinces on Chinese license plates, and what else stands on them."""


def ascii_form(name: str) -> str:
    """The name in ASCII letters; empty if it has no such form."""
    spelled = unicodedata.normalize("NFKD", name.translate(_SPELLED))
    kept = "".join(letter for letter in spelled if not unicodedata.combining(letter))
    kept = " ".join(kept.split())
    return kept if kept.isascii() and kept.isprintable() else ""


@lru_cache(maxsize=256)
def drawn_parts(text: str) -> tuple[str, ...]:
    """A text in parts, each of ASCII letters, or one character that is drawn as a box.

    Spelled characters are set off by spaces: "苏E05EV8" is `("Su E05EV8",)`.
    """
    letters = [(letter, _in_ascii(letter)) for letter in text if not unicodedata.combining(letter)]
    if all(spelled or letter in _PINYIN for letter, spelled in letters):
        return (" ".join("".join(spelled or f" {_PINYIN[letter]} " for letter, spelled in letters).split()),)
    parts: list[str] = [""]
    for letter, spelled in letters:
        if spelled:
            parts[-1] += spelled
        else:
            parts += [letter, ""]
    return tuple(part for part in parts if part)


def _in_ascii(letter: str) -> str:
    """A letter in ASCII; empty if it has no such form."""
    return letter if letter.isascii() and letter.isprintable() else ascii_form(letter)


def is_box(part: str) -> bool:
    """True if a part is a character that is drawn as a box."""
    return len(part) == 1 and not part.isascii()


def code_lines(letter: str) -> tuple[str, str]:
    """The two lines of digits in a character's box: "82" and "CF"."""
    digits = f"{ord(letter):04X}"
    half = (len(digits) + 1) // 2
    return digits[:half], digits[half:]

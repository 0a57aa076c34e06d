"""A few elements of SVG, with everything escaped."""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Value = str | float | int

WIDE_PX: Final = 960
NARROW_PX: Final = 320
"""Width of a drawing for phones, whose cards are 300 to 340 pixels wide: letters keep their size."""


@dataclass(slots=True)
class Svg:
    """A drawing.

    Attributes:
        width, height: of its own coordinates; the page scales it.
        parts: the SVG elements.
    """

    width: int
    height: int
    parts: list[Markup] = field(default_factory=list)

    def add(self, name: str, text: str | None = None, /, **attributes: Value) -> None:
        """One element.  `_` in an attribute's name is `-`; `kind` is its class."""
        end = "/>" if text is None else f">{escape(text)}</{name}>"
        self._add(f"<{name}{_attributes(attributes)}{end}")

    def rect(self, x: float, y: float, width: float, height: float, kind: str, title: str = "") -> None:
        """A filled rectangle, with a title that shows under the pointer."""
        place: dict[str, Value] = {"x": x, "y": y, "width": max(width, 0.0), "height": max(height, 0.0), "kind": kind}
        if title:
            self._add(f"<rect{_attributes(place)}><title>{escape(title)}</title></rect>")
        else:
            self.add("rect", **place)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, kind=kind)

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """Text; `anchor` is start, middle or end."""
        self.add("text", text, x=x, y=y, text_anchor=anchor, kind=f"label {kind}".strip())

    def markup(self, ident: str, title: str, description: str, kind: str = "wide") -> Markup:
        """The whole drawing as one element of a page.

        Args:
            ident: unique in the page.
            title: what it shows, for those who do not see it.
            description: what can be read off it.
            kind: `wide` or `narrow`, for the screens that show it.
        """
        return Markup(
            '<svg class="{k}" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-labelledby="{i}-t {i}-d">'
            '<title id="{i}-t">{t}</title><desc id="{i}-d">{d}</desc>{parts}</svg>'
        ).format(
            k=kind, w=self.width, h=self.height, i=ident, t=title, d=description, parts=Markup("").join(self.parts)
        )

    def _add(self, element: str) -> None:
        """One element, whose values are escaped."""
        self.parts.append(Markup(element))  # noqa: S704  (they are: Markup.format, which would, takes 7 times as long)


@dataclass(frozen=True, slots=True)
class Drawings:
    """The same figures drawn for wide screens and for phones; a page shows one of them."""

    wide: Svg
    narrow: Svg

    @classmethod
    def of(cls, draw: Callable[[int], Svg]) -> Drawings:
        """Both from one function of the width in pixels."""
        return cls(draw(WIDE_PX), draw(NARROW_PX))


def text_width(text: str, size_px: float = 12.5) -> float:
    """About how wide a text is: wide characters (Chinese) are as wide as high, others about half of that."""
    units = sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.56 for c in text)
    return units * size_px


def shortened(text: str, most_px: float) -> str:
    """A text that fits, its end cut off."""
    if text_width(text) <= most_px:
        return text
    kept = text
    while kept and text_width(f"{kept}…") > most_px:
        kept = kept[:-1]
    return f"{kept}…"


def _attributes(values: Mapping[str, Value]) -> str:
    """Attributes as they stand in a tag, escaped."""
    return "".join(f' {_attribute(name)}="{escape(_number(value))}"' for name, value in values.items())


@functools.cache
def _attribute(name: str) -> str:
    return str(escape("class" if name == "kind" else name.replace("_", "-")))


def _number(value: Value) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)

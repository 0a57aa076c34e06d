"""Content of a page: sections of blocks, in one language, ready for any printer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rkdeploy.analysis.origin import Origin

if TYPE_CHECKING:
    from rkdeploy.analysis.page.plots.svg import Drawings

ABSENT = "\N{EN DASH}"
"""Stands where there is no figure."""
TIMES = "\N{MULTIPLICATION SIGN}"
Align = Literal["left", "right"]
Status = Literal["good", "attention", "bad", "unproven", "unknown", "plain"]
"""`plain`: a figure that is neither good nor bad by itself."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `align` is right for numbers."""

    title: str
    align: Align = "left"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell.

    Attributes:
        text: what stands there.
        value: what it is sorted by, None for its text.
        status: whether it is marked as good, bad, ...; the text says it as well.
    """

    text: str
    value: float | None = None
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows; always there, for those who go from table to table.
        columns, rows: as many cells a row as there are columns.  The first cell of a row names it.
        origin: of all its figures, None where a column says it or where they are facts.
        sortable: whether a reader may want it in another order.
        tall: whether it is so long that it gets a frame of its own on a screen, and its first rows only elsewhere.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    origin: Origin | None = None
    sortable: bool = False
    tall: bool = False


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A class of marks in a plot and what it stands for."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot; its figures stand in a table as well.

    Attributes:
        title: what it shows.
        drawings: for wide screens and for phones.
        description: what can be read off it, for those who do not see it.
        legend: what its marks stand for.
        origin: of its figures.
        note: how to read it.
    """

    title: str
    drawings: Drawings
    description: str
    legend: Sequence[LegendEntry] = ()
    origin: Origin | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph; `status` marks a warning, `quoted` what another program wrote, in its language."""

    text: str
    status: Status | None = None
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """An image: what it shows in words, and its WebP in base64."""

    text: str
    base64: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PicturePair:
    """Float left, the built model right, and what to say of both."""

    caption: str
    left: Picture
    right: Picture


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pairs of pictures."""

    title: str
    left_title: str
    right_title: str
    left_origin: Origin
    right_origin: Origin
    pairs: Sequence[PicturePair]


Block = Table | Plot | Note | Pictures


@dataclass(frozen=True, slots=True)
class PageSection:
    """A part of a report; `ident` is unique among a model's."""

    ident: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Card:
    """One answer of a summary.

    Attributes:
        question, status_text, figure, sentence: in words.
        status: chooses an icon and a color next to `status_text`.
        origin: of the figure.
    """

    question: str
    status: Status
    status_text: str
    figure: str
    sentence: str
    origin: Origin | None


@dataclass(frozen=True, slots=True)
class ModelPage:
    """Everything about one model."""

    ident: str
    name: str
    subtitle: str
    cards: Sequence[Card]
    sections: Sequence[PageSection]


@dataclass(frozen=True, slots=True)
class Page:
    """A whole document.

    Attributes:
        lang: `en` or `zh`.
        title: of the document.
        kind: what sort of document it is.
        subtitle: when and by what it was made.
        models: one each.
        sections: what concerns no single model.
    """

    lang: str
    title: str
    kind: str
    subtitle: str
    models: Sequence[ModelPage]
    sections: Sequence[PageSection] = field(default=())


def figure(value: float | None, form: str = ".3f", unit: str = "") -> Cell:
    """A number as a cell; a dash where there is none."""
    return Cell(ABSENT) if value is None else Cell(f"{value:{form}}{unit}", value)


def count(value: float | None) -> Cell:
    """A whole number with thousands apart."""
    return Cell(ABSENT) if value is None else Cell(f"{round(value):,}", value)


def moment(created: str) -> str:
    """A time as ISO 8601 has it, for readers: to the minute, in UTC; any other text as it is."""
    try:
        when = dt.datetime.fromisoformat(created)
        return f"{when.astimezone(dt.timezone.utc):%Y-%m-%d %H:%M} UTC" if when.tzinfo else created
    except (ValueError, OverflowError):  # no time, or one of another millennium
        return created


def facts(caption: str, what: str, value: str, rows: Sequence[tuple[str, str]], origin: Origin | None = None) -> Table:
    """A table of names and values."""
    return Table(caption, (Column(what), Column(value)), [(Cell(a), Cell(b)) for a, b in rows if b], origin)

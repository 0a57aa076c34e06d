"""Parser of the toolkit's accuracy analysis.

`accuracy_analysis` runs one image through the float and the quantized network in the simulator and writes a table:
for every layer the cosine and the euclidean distance between the two, once with the errors of all layers before it
("entire") and once with that layer alone quantized ("single").  A layer that was fused into the next has no figures.
If an output is all zeros, as scores of an image without objects may be, the table says `f_zero` (the float model's)
or `q_zero` (the quantized model's) instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Final

import numpy as np

from rkdeploy.contract.bounds import Figure, Text
from rkdeploy.errors import ToolkitError

_ROW: Final = re.compile(r"^\[(?P<op>[^\]]+)\] (?P<name>\S+)\s*(?P<figures>[^\[]*)$")
_FIGURE: Final = re.compile(r"-?\d+\.\d{5}|[fq]_zero|-?\d+\.\d{1,4}(?!\d)")
_ZEROS: Final = ("f_zero", "q_zero")
_COLOR: Final = re.compile(r"\x1b\[[0-9;]*m")
_MAX_TEXT: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class LayerError:
    """Difference of one quantized layer to the float model's; the mean over the images.

    Attributes:
        op: operator, as the toolkit names it (`Conv`, `exSwish`).
        name: the tensor that it computes.
        entire_cosine, entire_distance: with the errors of all layers before it.  All figures are NaN in an image where
            the output of one of the two is all zeros; a mean over images never is.
        single_cosine, single_distance: with this layer alone quantized.
    """

    op: Text
    name: Text
    entire_cosine: Figure
    entire_distance: Figure
    single_cosine: Figure
    single_distance: Figure


def parse_error_analysis(text: str) -> tuple[LayerError, ...]:
    """The rows of `error_analysis.txt`, in the order of the network.

    Raises:
        ToolkitError: when it holds no row, or one that cannot be parsed.
    """
    rows = []
    for line in _COLOR.sub("", text[:_MAX_TEXT]).splitlines():
        found = _ROW.match(line.rstrip())
        if found is None:
            continue
        # Columns of fixed width, which long figures fill completely: each figure ends after 5 decimals;
        # distances of 2.3.2 have 4 or fewer.
        values = [nan if figure in _ZEROS else float(figure) for figure in _FIGURE.findall(found["figures"])]
        if not values and not found["figures"].strip(" |"):
            continue
        if len(values) != 4:
            shown = line.strip()[:120]
            raise ToolkitError(f"The toolkit's accuracy analysis has the row {shown!r}, expected 4 figures.")
        rows.append(LayerError(found["op"], found["name"], *values))
    if not rows:
        raise ToolkitError("The toolkit's accuracy analysis names no layer.")
    return tuple(rows)


def mean_over_images(analyses: Sequence[tuple[LayerError, ...]]) -> tuple[LayerError, ...]:
    """Mean figures of each layer over several images; layers without figures in any of them are left out.

    Raises:
        ToolkitError: when they are not of one model.
    """
    first = analyses[0]
    if any([row.name for row in rows] != [row.name for row in first] for rows in analyses):
        raise ToolkitError("The toolkit's accuracy analyses of several images name different layers.")
    means = []
    for rows in zip(*analyses, strict=True):
        table = [(r.entire_cosine, r.entire_distance, r.single_cosine, r.single_distance) for r in rows]
        table = [figures for figures in table if not any(map(isnan, figures))]
        if not table:
            continue
        means.append(LayerError(rows[0].op, rows[0].name, *(float(v) for v in np.mean(table, axis=0))))
    return tuple(means)

"""Holds the latency model, which is fitted on INT8 rates, against the FP16 rates that are published.

python -m tests.analysis.estimate.check_fp16          prints the table
python -m tests.analysis.estimate.check_fp16 --write  fp16.json next to the formula, and the table of docs/estimate.md

Nothing is fitted: INT8's formula and coefficients on the layers that the compiler prints for FP16.
"""

from __future__ import annotations

import gzip
import math
import re
import sys
from dataclasses import dataclass
from statistics import median

import msgspec

from rkdeploy.analysis.estimate.latency import latency_model, layer_time_ms
from rkdeploy.analysis.estimate.layer_work import works_of
from rkdeploy.analysis.estimate.unfitted_types import CHECKED, TypeCheck
from rkdeploy.contract.compiled_model import CompiledModel
from tests.analysis.estimate import fit
from tests.analysis.estimate.published_v5m import PUBLISHED

RATES, LAYERS = "fp16_rates.csv", "fp16_layers.jsonl.gz"
BEGIN, END = "<!-- made by tests/analysis/estimate/check_fp16.py -->", "<!-- end of check_fp16.py -->"
V5M, V5M_TARGET = {dtype: f"yolov5m_v5.0_{dtype}" for dtype in ("int8", "fp16")}, "rk3588"


@dataclass(frozen=True, slots=True)
class Checked:
    """One published rate; the second prediction is of the newer toolkit's compile log."""

    model: str
    target: str
    published_ms: float
    predicted_ms: float
    newer_ms: float

    @property
    def ratio(self) -> float:
        """Predicted over published time."""
        return self.predicted_ms / self.published_ms

    @property
    def newer_ratio(self) -> float:
        """The FP16 log of the newer toolkit."""
        return self.newer_ms / self.published_ms


def recorded() -> dict[tuple[str, str, str], fit.Recorded]:
    """The compiled models by toolkit, name and chip."""
    lines = gzip.decompress((fit.DATA / LAYERS).read_bytes()).splitlines()
    models = [msgspec.json.decode(line, type=fit.Recorded) for line in lines]
    return {(one.toolkit, one.model, one.target): one for one in models}


def time_ms(one: fit.Recorded) -> float:
    """By INT8's formula."""
    chip = latency_model().chips[one.target]
    works = works_of(CompiledModel(one.layers, (), (), 0.0, 0.0), chip.lanes)
    return sum(layer_time_ms(work, chip.coefficients)[0] + chip.coefficients.overhead_ms for work in works)


def checked() -> list[Checked]:
    """All published rates."""
    compiled = recorded()
    return [
        Checked(
            name, target, 1000 / row[target], *(time_ms(compiled[kit, name, target]) for kit in (fit.FITTED, fit.NEWER))
        )
        for name, row in fit.rates(RATES).items()
        for target in fit.LANES
    ]


def factors_of_v5m() -> tuple[float, float]:
    """Assumptions under which the FP16 prediction agrees with published times of a YOLOv5m in both types.

    Their absolute times are not the NPU's alone (docs/estimate.md).  Either all of a time scales with the NPU's, then
    FP16 takes their ratio of INT8's predicted time; or a constant is added for both types, then it takes their
    difference more.
    """
    compiled = recorded()
    int8, fp16 = (time_ms(compiled[fit.NEWER, V5M[dtype], V5M_TARGET]) for dtype in ("int8", "fp16"))
    before, after = (PUBLISHED[dtype].total_time_us / 1e3 for dtype in ("int8", "fp16"))
    return int8 * after / before / fp16, (int8 + after - before) / fp16


def type_check(found: list[Checked]) -> TypeCheck:
    """The package's constants; the interval holds all rates, by either toolkit's log, and both readings of v5m."""
    ratios = [one.ratio for one in found]
    both = [*ratios, *(one.newer_ratio for one in found)]
    factors = [*(1 / ratio for ratio in both), *factors_of_v5m()]
    return TypeCheck(
        dtype="fp16",
        source=latency_model().source,
        toolkit=fit.FITTED,
        models=tuple(dict.fromkeys(one.model for one in found)),
        rates=len(found),
        lowest=round(min(both), 4),
        highest=round(max(both), 4),
        median_error=round(median(abs(ratio - 1) for ratio in ratios), 4),
        worst_error=round(max(abs(ratio - 1) for ratio in both), 4),
        low_factor=math.floor(100 * min(factors)) / 100,
        high_factor=math.ceil(100 * max(factors)) / 100,
    )


def document(found: list[Checked]) -> str:
    """The table as Markdown."""
    lines = ["| FP16: published, predicted | " + " | ".join(fit.LANES) + " |", "|---|" + "---:|" * len(fit.LANES)]
    for name in dict.fromkeys(one.model for one in found):
        cells = [
            f"{one.published_ms:.1f}, {one.predicted_ms:.1f} ({100 * (one.ratio - 1):+.0f} %)"
            for one in found
            if one.model == name
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    medians = [median(abs(one.ratio - 1) for one in found if one.target == target) for target in fit.LANES]
    lines.append("| median error | " + " | ".join(f"{100 * error:.0f} %" for error in medians) + " |")
    check, v5m = type_check(found), factors_of_v5m()
    newer = max(abs(one.newer_ms / one.predicted_ms - 1) for one in found)
    facts = (
        f"Median error of {check.rates} rates {100 * check.median_error:.0f} %, worst {100 * check.worst_error:.0f} %.",
        f"{fit.NEWER}'s logs change a prediction by {100 * newer:.0f} % at most.",
        f"The YOLOv5m that others measured asks for {v5m[0]:.2f} times the prediction by the ratio of its two times,",
        f"for {v5m[1]:.2f} times by their difference.",
        f"The interval is {check.low_factor:.2f} to {check.high_factor:.2f} times the prediction.",
    )
    return "\n".join([*lines, "", *facts])


def in_document() -> str:
    """The table as it stands in docs/estimate.md."""
    found = re.search(f"{re.escape(BEGIN)}\n\n(.*?)\n\n{re.escape(END)}", fit.DOCUMENT.read_text(), re.DOTALL)
    return found[1] if found else ""


def main() -> None:
    found = checked()
    text = document(found)
    print(text)
    if "--write" in sys.argv[1:]:
        CHECKED.write_bytes(msgspec.json.format(msgspec.json.encode(type_check(found)), indent=1) + b"\n")
        before, _, rest = fit.DOCUMENT.read_text().partition(BEGIN)
        fit.DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()

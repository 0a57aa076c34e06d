"""Fits the latency model, judges it on models left out, and writes what comes of it.

python -m tests.analysis.estimate.fit          prints the tables
python -m tests.analysis.estimate.fit --write  coefficients.json next to the formula, and the tables of docs/estimate.md
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rkdeploy.analysis.estimate.latency import COEFFICIENTS, ChipFit, Coefficients, LatencyModel
from rkdeploy.analysis.estimate.layer_work import works_of
from rkdeploy.contract.compiled_model import CompiledLayer, CompiledModel

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests/data/estimate"
DOCUMENT = ROOT / "docs/estimate.md"
BEGIN, END = "<!-- made by tests/analysis/estimate/fit.py -->", "<!-- end -->"
LANES = {"rk3588": 32, "rk3576": 32, "rk3566": 16, "rk3562": 16}
FITTED, NEWER = "2.3.2", "2.5.0"
HELD_OUT = "held_out.csv"
COVERAGE = 0.9
OUTLIER = 0.05  # relative errors above this pull on the fit with their size, not with its square
START = (1.0, 0.1, 0.5, 5.0, 0.005)

Terms = NDArray[np.float64]
"""(layers, 4): million cycles, million bytes, million activation values, million values through a softmax."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One compiled model of `layers.jsonl.gz`."""

    toolkit: str
    model: str
    target: str
    layers: tuple[CompiledLayer, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One model, predicted by a fit that never saw it; the second error is of the newer toolkit's compile log."""

    model: str
    published_ms: float
    predicted_ms: float
    newer_ms: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted_ms / self.published_ms - 1

    @property
    def log_error(self) -> float:
        """The larger absolute logarithmic error of the two toolkits' logs."""
        return max(abs(math.log(ms / self.published_ms)) for ms in (self.predicted_ms, self.newer_ms))


def rates(file: str = "rates.csv") -> dict[str, dict[str, float]]:
    """Published frames per second: model, then target."""
    with (DATA / file).open() as stream:
        rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    return {row["model"]: {target: float(row[target]) for target in LANES} for row in rows}


def recorded() -> list[Recorded]:
    """The compiled models."""
    lines = gzip.decompress((DATA / "layers.jsonl.gz").read_bytes()).splitlines()
    return [msgspec.json.decode(line, type=Recorded) for line in lines]


def terms(one: Recorded) -> Terms:
    """Cycles and traffic of its layers."""
    works = works_of(CompiledModel(one.layers, (), (), 0.0, 0.0), LANES[one.target])
    return np.array([(w.compute_mcycles, w.traffic_mb, w.activation_melements, w.softmax_melements) for w in works])


def predicted_ms(layers: Terms, c: NDArray[np.float64]) -> float:
    """The formula of `rkdeploy.analysis.estimate.latency` on arrays; `c` in the order of `Coefficients`."""
    return float((layers[:, :3] * c[:3]).max(axis=1).sum() + c[3] * layers[:, 3].sum() + c[4] * len(layers))


def fit(samples: list[tuple[Terms, float]]) -> NDArray[np.float64]:
    """Non-negative coefficients with the least relative error, outliers down-weighted."""

    def errors(c: NDArray[np.float64]) -> list[float]:
        return [math.log(predicted_ms(layers, c) / published) for layers, published in samples]

    found = least_squares(errors, START, bounds=(0, np.inf), x_scale=START, loss="soft_l1", f_scale=OUTLIER)
    return np.asarray(found.x, np.float64)


def leave_out(
    group: Callable[[str], str], times: dict[str, float], fitted: dict[str, Terms], newer: dict[str, Terms]
) -> list[LeftOut]:
    """Each model predicted by a fit on all models of other groups."""
    left_out = []
    for key in dict.fromkeys(map(group, times)):
        others = fit([(fitted[model], times[model]) for model in times if group(model) != key])
        for model, time_ms in times.items():
            if group(model) == key:
                ms = [predicted_ms(layers[model], others) for layers in (fitted, newer)]
                left_out.append(LeftOut(model, time_ms, ms[0], ms[1]))
    return left_out


def family(model: str) -> str:
    """`yolov8` of `yolov8n-seg`."""
    found = re.match(r"yolov?(\d+|x)|[a-z]+", model)
    assert found is not None
    return found[0]


def half_width(left_out: list[LeftOut]) -> float:
    """Conformal: the ceil(0.9 (n + 1))-th smallest of the n left-out errors holds 90 % of models like these."""
    errors = sorted(one.log_error for one in left_out)
    return errors[min(math.ceil(COVERAGE * (len(errors) + 1)), len(errors)) - 1]


@dataclass(frozen=True, slots=True)
class Judged:
    """Errors of a chip's fit on models that it was not fitted on.

    Attributes:
        models: each left out of the fit in turn.
        families: each left out with its whole family.
        held_out: models measured only after the formula was chosen, predicted by the fit on all others.
    """

    models: list[LeftOut]
    families: list[LeftOut]
    held_out: list[LeftOut]


def fit_all() -> tuple[LatencyModel, dict[str, Judged]]:
    """All chips."""
    published, held_out, compiled = rates(), rates(HELD_OUT), recorded()
    chips, judged = {}, {}
    for target, lanes in LANES.items():
        logs = {
            toolkit: {one.model: terms(one) for one in compiled if (one.toolkit, one.target) == (toolkit, target)}
            for toolkit in (FITTED, NEWER)
        }
        times = {model: 1000 / row[target] for model, row in published.items()}
        c = fit([(logs[FITTED][model], times[model]) for model in times])
        left_out = leave_out(str, times, logs[FITTED], logs[NEWER])
        errors = [abs(one.error) for one in left_out]
        chips[target] = ChipFit(
            lanes=lanes,
            coefficients=Coefficients(*(float(f"{value:.4g}") if value > 1e-9 else 0.0 for value in c)),
            median_error=round(median(errors), 4),
            worst_error=round(max(errors), 4),
            half_width=math.ceil(1e4 * half_width(left_out)) / 1e4,
            fastest_ms=round(min(times.values()), 3),
            slowest_ms=round(max(times.values()), 3),
        )
        unseen = [
            LeftOut(name, 1000 / row[target], *(predicted_ms(logs[kit][name], c) for kit in (FITTED, NEWER)))
            for name, row in held_out.items()
        ]
        judged[target] = Judged(left_out, leave_out(family, times, logs[FITTED], logs[NEWER]), unseen)
    layers = (layer for one in compiled if one.model in published for layer in one.layers)
    kinds = {f"{layer.op} {layer.target}" for layer in layers if not layer.is_end}
    model = LatencyModel(
        source="rknn_model_zoo 2.3.2",
        dtype="int8",
        toolkit=FITTED,
        coverage=COVERAGE,
        models=tuple(published),
        kinds=tuple(sorted(kinds)),
        chips=chips,
    )
    return model, judged


def document(model: LatencyModel, judged: dict[str, Judged]) -> str:
    """The tables as Markdown."""
    tables = {target: both.models for target, both in judged.items()}
    lines = ["| left-one-out error | " + " | ".join(tables) + " |", "|---|" + "---:|" * len(tables)]

    def row(name: str, figures: list[str]) -> None:
        lines.append(f"| {name} | " + " | ".join(figures) + " |")

    row("median", [f"{100 * chip.median_error:.1f} %" for chip in model.chips.values()])
    row("worst", [f"{100 * chip.worst_error:.1f} %" for chip in model.chips.values()])
    by_family = [[abs(one.error) for one in both.families] for both in judged.values()]
    row("median, its whole family left out", [f"{100 * median(errors):.1f} %" for errors in by_family])
    row("worst, its whole family left out", [f"{100 * max(errors):.1f} %" for errors in by_family])
    row("half of the 90 % interval", [f"{100 * (math.exp(c.half_width) - 1):.1f} %" for c in model.chips.values()])
    newer = [max(abs(one.newer_ms / one.predicted_ms - 1) for one in table) for table in tables.values()]
    row(f"most that {NEWER}'s logs change", [f"{100 * change:.1f} %" for change in newer])
    lines += ["", "| ms a frame: published, predicted | " + " | ".join(tables) + " |"]
    lines.append("|---|" + "---:|" * len(tables))
    for index, name in enumerate(model.models):
        row(name, [_both(table[index]) for table in tables.values()])
    lines += ["", "| held out: published, predicted | " + " | ".join(tables) + " |", "|---|" + "---:|" * len(tables)]
    for index, name in enumerate(rates(HELD_OUT)):
        row(name, [_both(one.held_out[index]) for one in judged.values()])
    lines += ["", "| coefficient | unit | " + " | ".join(tables) + " |", "|---|---|" + "---:|" * len(tables)]
    for field, name, unit in (
        ("compute_ms", "computing", "ms a million cycles"),
        ("traffic_ms", "moving data", "ms a million bytes"),
        ("activation_ms", "Swish, Sigmoid", "ms a million values"),
        ("softmax_ms", "softmax", "ms a million values"),
        ("overhead_ms", "start of a layer", "ms"),
    ):
        figures = [f"{getattr(chip.coefficients, field):.4g}" for chip in model.chips.values()]
        lines.append(f"| {name} | {unit} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def _both(one: LeftOut) -> str:
    return f"{one.published_ms:.1f}, {one.predicted_ms:.1f} ({100 * one.error:+.0f} %)"


def main() -> None:
    model, judged = fit_all()
    text = document(model, judged)
    print(text)
    if "--write" in sys.argv[1:]:
        COEFFICIENTS.write_bytes(msgspec.json.format(msgspec.json.encode(model), indent=1) + b"\n")
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()

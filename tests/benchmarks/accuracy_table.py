"""The table of the accuracy bench."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.accuracy_figures import Precision, Resampled, mean_of, paired, precision_of, spread
from tests.benchmarks.accuracy_store import Measured

HEAD = (
    "| model | variant | draws | pictures, objects | AP to float | AP50 to float | AP less {base} | "
    "mAP50-95 on labels: float, built | built less float | mAP less {base} | NPU ms, predicted | build s |"
)
SOURCES = (
    "AP and mAP of built models: the toolkit's simulator; of float: onnxruntime; NPU ms: `rkdeploy estimate`, not "
    "measured on a board; build s: wall time here. In brackets the 95 % interval over pictures, paired for differences."
)


@dataclass(frozen=True, slots=True)
class Draws:
    """The results of one variant of one model, by the seed of the calibration sample."""

    measured: dict[int, Measured]
    to_float: dict[int, Precision]
    labeled: dict[int, Precision]
    float_labeled: dict[int, Precision]

    @classmethod
    def of(cls, results: Iterable[Measured]) -> Draws:
        """Figures of results."""
        measured = {one.facts["draw"]: one for one in results}
        there = {draw: one for draw, one in measured.items() if one.found}
        labeled = {draw: one for draw, one in there.items() if one.labeled}
        return cls(
            measured,
            {draw: precision_of(one.found) for draw, one in there.items()},
            {draw: precision_of(one.labeled) for draw, one in labeled.items()},
            {draw: precision_of(one.float_labeled) for draw, one in labeled.items()},
        )

    def loss(self) -> Resampled | None:
        """mAP50-95 of built less float."""
        return paired(_aps(self.labeled), _aps(self.float_labeled))


def tabled(results: Iterable[Measured]) -> list[dict[str, Any]]:
    """The rows as data, in the order of the results."""
    groups: dict[str, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for one in results:
        groups[one.facts["model"]][one.facts["variant"]].append(one)
    rows = []
    for model, variants in groups.items():
        draws = {variant: Draws.of(found) for variant, found in variants.items()}
        base = next(iter(draws.values()))
        rows += [_row(model, variant, one, base) for variant, one in draws.items()]
    return rows


def _row(model: str, variant: str, draws: Draws, base: Draws) -> dict[str, Any]:
    facts = [one.facts for one in draws.measured.values()]
    first = next((one for one in draws.measured.values() if one.found), None)
    compared = draws is not base
    loss = draws.loss()
    return {
        "model": model,
        "variant": variant,
        "draws": len(draws.to_float),
        "refused": sorted({f[word] for f in facts for word in ("refused", "skipped") if word in f}),
        "pictures": len(first.found) if first else 0,
        "objects": sum(m.truths for picture in first.found for m in picture) if first else 0,
        "ap": _whole(_mean(_aps(draws.to_float))),
        "ap_interval": _interval(_mean(_aps(draws.to_float))),
        "ap50": _whole(_mean({d: p.ap50 for d, p in draws.to_float.items()})),
        "ap_difference": _whole(d := paired(_aps(draws.to_float), _aps(base.to_float)) if compared else None),
        "ap_difference_interval": _interval(d),
        "float_map": _whole(_mean(_aps(draws.float_labeled))),
        "map": _whole(_mean(_aps(draws.labeled))),
        "map_loss": _whole(loss),
        "map_loss_interval": _interval(loss),
        "map_difference": _whole(m := paired(_aps(draws.labeled), _aps(base.labeled)) if compared else None),
        "map_difference_interval": _interval(m),
        "predicted_ms": _average([f.get("predicted_ms") for f in facts]),
        "seconds": _average([f.get("seconds") for f in facts]),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows and their median and worst, as Markdown."""
    base = rows[0]["variant"] if rows else "the first"
    head = HEAD.format(base=base)
    lines = [SOURCES, "", head, "|---" * (head.count("|") - 1) + "|"]
    lines += [_line(row) for row in rows]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        lines += ["", *_summary(variant, [row for row in rows if row["variant"] == variant])]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    if not row["draws"]:
        return f"| {row['model']} | {row['variant']} | 0 | {'; '.join(row['refused'])} |" + " |" * 8
    both = "-" if row["map"] is None else f"{row['float_map']:.3f}, {row['map']:.3f}"
    cells = [
        row["model"], row["variant"], f"{row['draws']}", f"{row['pictures']}, {row['objects']}",
        _with("ap", row, ".3f"), _text(row["ap50"], ".3f"), _with("ap_difference", row, "+.3f"), both,
        _with("map_loss", row, "+.3f"), _with("map_difference", row, "+.3f"), _text(row["predicted_ms"], ".1f"),
        _text(row["seconds"], ".0f"),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _summary(variant: str, rows: list[dict[str, Any]]) -> list[str]:
    """Median and worst over models."""
    lines = []
    for name, column in (("AP to float", "ap"), ("AP50 to float", "ap50"), ("mAP50-95, built less float", "map_loss")):
        over = spread({row["model"]: row[column] for row in rows if row[column] is not None})
        if over is not None:
            lines.append(f"- {variant}, {name}: median {over.median:.3f}, worst {over.worst:.3f} ({over.model})")
    refused = [row["model"] for row in rows if row["refused"] and row["refused"] != ["finds no boxes"]]
    return [*lines, f"- {variant}, not built: {', '.join(refused)}"] if refused else lines


def _aps(precisions: Mapping[int, Precision]) -> dict[int, Resampled]:
    return {draw: one.ap for draw, one in precisions.items()}


def _mean(figures: Mapping[int, Resampled]) -> Resampled | None:
    return mean_of(list(figures.values())) if figures else None


def _whole(figure: Resampled | None) -> float | None:
    return None if figure is None or math.isnan(figure.whole) else figure.whole


def _interval(figure: Resampled | None) -> tuple[float, float] | None:
    return None if figure is None or math.isnan(figure.whole) else figure.interval()


def _average(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _with(name: str, row: dict[str, Any], form: str) -> str:
    """A figure and its interval."""
    between = row[f"{name}_interval"]
    text = _text(row[name], form)
    return text if between is None else f"{text} ({between[0]:{form}} to {between[1]:{form}})"

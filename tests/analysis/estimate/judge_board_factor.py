"""Predictions by a board's factor, judged on published rates.

    python -m tests.analysis.estimate.judge_board_factor

No board is measured here: each model's published rate stands for the profile of a board, and predicts each other model
by the fit that left that one out.  Prints, by chip, the share of pairs in the interval of one profile, and the errors.
"""

from __future__ import annotations

from math import log, sqrt
from statistics import median

from tests.analysis.estimate.fit import FITTED, LANES, NEWER, half_width, leave_out, rates, recorded, terms


def main() -> None:
    """Print one line per chip."""
    published, compiled = rates(), recorded()
    for target in LANES:
        logs = {
            toolkit: {one.model: terms(one) for one in compiled if (one.toolkit, one.target) == (toolkit, target)}
            for toolkit in (FITTED, NEWER)
        }
        times = {model: 1000 / row[target] for model, row in published.items()}
        left_out = leave_out(str, times, logs[FITTED], logs[NEWER])
        ratios = [log(one.published_ms / one.predicted_ms) for one in left_out]
        errors = [abs(a - b) for i, a in enumerate(ratios) for j, b in enumerate(ratios) if i != j]
        limit = half_width(left_out) * sqrt(2)
        inside = sum(error <= limit for error in errors) / len(errors)
        print(
            f"{target}: {len(errors)} pairs, {inside:.1%} inside, median {median(errors):.1%}, worst {max(errors):.0%}"
        )


if __name__ == "__main__":
    main()

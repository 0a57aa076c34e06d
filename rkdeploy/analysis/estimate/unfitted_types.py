"""Types that the latency model is not fitted on, and what published rates say of its formula there.

INT8's formula, with INT8's coefficients, on the layers that the compiler prints for the other type: their cycles and
bytes are that type's already.  Nothing is fitted here; tests/analysis/estimate/check_fp16.py makes `fp16.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

CHECKED = Path(__file__).with_name("fp16.json")


@dataclass(frozen=True, slots=True)
class TypeCheck:
    """Errors of the formula on another type than it was fitted on.

    Attributes:
        dtype: that type.
        source: publisher of the rates.
        toolkit: rknn-toolkit2 whose compile logs gave the terms.
        models: models with published rates in this type; none is a detector.
        rates: number of published rates: models, each on several chips.
        lowest, highest: predicted over published time, lowest and highest of all rates.
        median_error, worst_error: of the predicted time over the published one, as a share.
        low_factor, high_factor: the interval is time * low_factor to time * high_factor.  It holds all these rates.
    """

    dtype: str
    source: str
    toolkit: str
    models: tuple[str, ...]
    rates: int
    lowest: float
    highest: float
    median_error: float
    worst_error: float
    low_factor: float
    high_factor: float

    @property
    def note(self) -> str:
        """Basis of a prediction of this type, in one sentence."""
        dtype = self.dtype.upper()
        return (
            f"INT8's formula on {dtype} layers; off by {self.lowest - 1:+.0%} to {self.highest - 1:+.0%} on "
            f"{self.rates} published {dtype} rates, none a detector."
        )


@cache
def type_check(dtype: str) -> TypeCheck | None:
    """The check of a type, None where its rates were never compared with the formula."""
    found = msgspec.json.decode(CHECKED.read_bytes(), type=TypeCheck)
    return found if found.dtype == dtype else None

"""Two reports side by side, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rkdeploy.analysis.origin import Origin

DIFF_VERSION = 1

Group = Literal["time", "memory", "accuracy", "agreement"]
Judgment = Literal["same", "better", "worse", "within_noise", "not_comparable"]
NoiseFrom = Literal["exact", "model", "intervals", "frames", "objects", "images"]
"""Source of a difference's noise:

- `exact`: there is none, both figures are counted
- `model`: the latency model's median error on models left out of its fit; of two FP16 models, on published FP16 rates
- `intervals`: the sides of both predictions' intervals that face each other, if one is by another type's formula
- `frames`: the spread of the measured frames and their number, and at least 1 %, for differences from run to run
- `objects`, `images`: a share of so many objects or images, as if both sides had seen different ones (95 %); both sides
  ran on the same ones, so the true noise is smaller
"""
Unit = Literal["ms", "fps", "bytes", "share", "cycles"]
LimitKey = Literal["latency", "fps", "memory", "map", "agreement"]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of both sides.

    Attributes:
        group: where it belongs.
        key: names its text, `time.predicted`.
        values: what goes into that text.
        unit: of both figures.
        higher_is_better: True for rates and accuracy, False for times and sizes.
        before, after: the figures of A and B; None where that side has none.
        before_origin, after_origin: source of the figures.
        noise: differences up to this are noise, in `unit`.
        noise_from: how that is known.
        judgment: what to make of the difference.
        limit_key: under which key `--fail-on` looks at it, None for none.
    """

    group: Group
    key: str
    values: dict[str, str]
    unit: Unit
    higher_is_better: bool
    before: float | None
    after: float | None
    before_origin: Origin | None
    after_origin: Origin | None
    noise: float
    noise_from: NoiseFrom
    judgment: Judgment
    limit_key: LimitKey | None = None

    @property
    def difference(self) -> float | None:
        """B - A, None where one is missing."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A layer that is not the same on both sides; an empty op means that this side does not have the layer.

    Attributes:
        name: of the layer.
        before_op, after_op: its operator and type.
        before_ms, after_ms: its time; None where there is none, or where the two times are of different kinds.
        before_cycles, after_cycles: as the compiler counts them.
        before_traffic_bytes, after_traffic_bytes: what it reads and writes.
    """

    name: str
    before_op: str
    after_op: str
    before_ms: float | None
    after_ms: float | None
    before_cycles: int | None
    after_cycles: int | None
    before_traffic_bytes: int | None
    after_traffic_bytes: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A version or an option that is not the same on both sides.

    Attributes:
        key: name of the version or option.
        before, after: as A and B have it; empty where a side has none.
    """

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ReportDiff:
    """The whole document.

    Attributes:
        before, after: names of A and B.
        changes: figures that at least one side has, changed or not.
        before_no_time, after_no_time: why that side has no time of its network; empty where it has one.
        before_rests_on, after_rests_on: what its predicted time rests on where that is of lower standing; else empty.
        layers: those that changed.
        differences: versions and options that differ.
        document, schema_version: what this file is.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    layers: tuple[LayerChange, ...]
    differences: tuple[Difference, ...]
    before_no_time: str = ""
    after_no_time: str = ""
    before_rests_on: str = ""
    after_rests_on: str = ""
    document: Literal["rkdeploy report diff"] = "rkdeploy report diff"
    schema_version: int = DIFF_VERSION

    @property
    def is_empty(self) -> bool:
        """True if the two are the same in everything that is compared."""
        return not self.layers and not self.differences and all(one.judgment == "same" for one in self.changes)

"""The dials of a search: one setting, the settings that are searched, and which of them are tried first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from rkdeploy.host.building.options import BuildOptions
from rkdeploy.host.graph.cut import CutOptions
from rkdeploy.host.toolkit.float16 import NONE, Float16Choice

SLOW_ALGORITHM: Final = "mmse"
"""It takes minutes where the others take seconds."""
_DEFAULT, _WORST, _AUTO = "default", "worst-", "auto"


@dataclass(frozen=True, slots=True)
class QuantizationSettings:
    """How one trial quantizes; the defaults are those of `rkdeploy build`.

    Attributes:
        algorithm, method: see `BuildOptions`.
        calib_count: calibration images at most.
        seed: of their choice.
        cut: which head channels share a tensor, and whose sigmoid the NPU computes.
        float16: layers that stay float16; None leaves it to the build.
    """

    algorithm: str = "normal"
    method: str = "channel"
    calib_count: int = 20
    seed: int = 0
    cut: CutOptions = field(default_factory=CutOptions)
    float16: Float16Choice | None = None

    def applied_to(self, options: BuildOptions) -> BuildOptions:
        """The build with these settings and everything else as `options` has it."""
        return replace(
            options,
            algorithm=self.algorithm,
            method=self.method,
            calib_count=self.calib_count,
            seed=self.seed,
            cut=self.cut,
            float16=self.float16,
        )

    def in_words(self) -> str:
        """What differs from the default, in a table's cell; `default` where nothing does."""
        default = QuantizationSettings()
        words = []
        if self.algorithm != default.algorithm:
            words.append(self.algorithm)
        if self.method != default.method:
            words.append(f"method {self.method}")
        if self.calib_count != default.calib_count:
            words.append(f"{self.calib_count} images")
        if self.seed != default.seed:
            words.append(f"draw {self.seed}")
        if self.cut.split != default.cut.split:
            words.append(f"split {self.cut.split}")
        if self.cut.sigmoid != default.cut.sigmoid:
            words.append(f"sigmoid {self.cut.sigmoid}")
        if self.float16 is not None:
            words.append(f"float16 {float16_word(self.float16)}")
        return ", ".join(words) or "default"


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The choices of each dial, the default first.

    Attributes:
        algorithms, methods, calib_counts, seeds, cuts, float16: see `QuantizationSettings`.
    """

    algorithms: tuple[str, ...]
    methods: tuple[str, ...]
    calib_counts: tuple[int, ...]
    seeds: tuple[int, ...]
    cuts: tuple[CutOptions, ...]
    float16: tuple[Float16Choice | None, ...]

    def dials(self) -> dict[str, tuple[str | int, ...]]:
        """The same as plain words and numbers, as a study stores them."""
        return {
            "algorithm": self.algorithms,
            "method": self.methods,
            "calib_count": self.calib_counts,
            "seed": self.seeds,
            "cut": tuple(cut_word(cut) for cut in self.cuts),
            "float16": tuple(float16_word(choice) for choice in self.float16),
        }

    def default(self) -> QuantizationSettings:
        """The first choice of every dial."""
        return QuantizationSettings(
            self.algorithms[0], self.methods[0], self.calib_counts[0], self.seeds[0], self.cuts[0], self.float16[0]
        )

    def everything(self) -> Iterator[QuantizationSettings]:
        """Every setting."""
        dials = (self.algorithms, self.methods, self.calib_counts, self.seeds, self.cuts, self.float16)
        for algorithm, method, count, seed, cut, float16 in itertools.product(*dials):
            yield QuantizationSettings(algorithm, method, count, seed, cut, float16)

    def known_good(self) -> tuple[QuantizationSettings, ...]:
        """What is tried first, in this order: the default, then what one dial alone does, the slow algorithm last."""
        default = self.default()
        float16 = [replace(default, float16=choice) for choice in self.float16[1:]]
        first = [default, *float16[:1]]
        first += [replace(default, seed=seed) for seed in self.seeds[1:3]]  # they tell how much is luck
        first += float16[1:]
        first += [replace(default, calib_count=max(self.calib_counts))]
        first += [replace(default, method=method) for method in self.methods[1:]]
        first += [replace(default, cut=cut) for cut in self.cuts[1:2]]
        quick = sorted(self.algorithms[1:], key=lambda algorithm: algorithm == SLOW_ALGORITHM)
        first += [replace(default, algorithm=algorithm) for algorithm in quick]
        return tuple(dict.fromkeys(first))


def to_dials(settings: QuantizationSettings) -> dict[str, str | int]:
    """A setting as a study stores it."""
    return {
        "algorithm": settings.algorithm,
        "method": settings.method,
        "calib_count": settings.calib_count,
        "seed": settings.seed,
        "cut": cut_word(settings.cut),
        "float16": float16_word(settings.float16),
    }


def from_dials(dials: dict[str, str | int], space: SearchSpace) -> QuantizationSettings:
    """A stored setting.

    Raises:
        KeyError: when a dial is missing, or stands where the space has no choice.
    """
    cuts = {cut_word(cut): cut for cut in space.cuts}
    float16 = {float16_word(choice): choice for choice in space.float16}
    return QuantizationSettings(
        str(dials["algorithm"]),
        str(dials["method"]),
        int(dials["calib_count"]),
        int(dials["seed"]),
        cuts[str(dials["cut"])],
        float16[str(dials["float16"])],
    )


def cut_word(cut: CutOptions) -> str:
    """A cut in one word."""
    return f"{cut.split}+{cut.sigmoid}"


def float16_word(choice: Float16Choice | None) -> str:
    """A choice of float16 layers in one word."""
    if choice is None:
        return _DEFAULT
    if choice.auto:
        return _AUTO
    if choice.worst:
        return f"{_WORST}{choice.worst}"
    return ",".join(choice.layers) or NONE

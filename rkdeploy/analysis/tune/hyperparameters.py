"""Hyperparameters of a search: one setting, the space that is searched, and the settings that are tried first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from rkdeploy.host.building.quantization import Algorithm, Method, QuantizationSettings, cut_word, float16_word
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.toolkit.float16 import Float16Choice

SLOW_ALGORITHM: Final = "mmse"
"""It takes minutes where the others take seconds."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The choices of each hyperparameter, the default first.

    Attributes:
        algorithms, methods, calib_counts, seeds, cuts, float16: see `QuantizationSettings`.
    """

    algorithms: tuple[Algorithm, ...]
    methods: tuple[Method, ...]
    calib_counts: tuple[int, ...]
    seeds: tuple[int, ...]
    cuts: tuple[CutOptions, ...]
    float16: tuple[Float16Choice | None, ...]

    def hyperparameters(self) -> dict[str, tuple[str | int, ...]]:
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
        """The first choice of every hyperparameter."""
        return next(self.everything())

    def everything(self) -> Iterator[QuantizationSettings]:
        """Every setting."""
        hyperparameters = (self.algorithms, self.methods, self.calib_counts, self.seeds, self.cuts, self.float16)
        for algorithm, method, count, seed, cut, float16 in itertools.product(*hyperparameters):
            yield QuantizationSettings(
                algorithm=algorithm, method=method, calib_count=count, seed=seed, cut=cut, float16=float16
            )

    def known_good(self) -> tuple[QuantizationSettings, ...]:
        """The first settings to try, in this order: the default, then each hyperparameter alone, the slow algorithm
        last.
        """
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


def to_hyperparameters(settings: QuantizationSettings) -> dict[str, str | int]:
    """A setting as a study stores it."""
    return {
        "algorithm": settings.algorithm,
        "method": settings.method,
        "calib_count": settings.calib_count,
        "seed": settings.seed,
        "cut": cut_word(settings.cut),
        "float16": float16_word(settings.float16),
    }


def from_hyperparameters(hyperparameters: dict[str, str | int], space: SearchSpace) -> QuantizationSettings:
    """A stored setting.

    Raises:
        KeyError: when a hyperparameter is missing, or has a value outside the space.
    """
    cuts = {cut_word(cut): cut for cut in space.cuts}
    float16 = {float16_word(choice): choice for choice in space.float16}
    return QuantizationSettings(
        algorithm=next(one for one in space.algorithms if one == hyperparameters["algorithm"]),
        method=next(one for one in space.methods if one == hyperparameters["method"]),
        calib_count=int(hyperparameters["calib_count"]),
        seed=int(hyperparameters["seed"]),
        cut=cuts[str(hyperparameters["cut"])],
        float16=float16[str(hyperparameters["float16"])],
    )

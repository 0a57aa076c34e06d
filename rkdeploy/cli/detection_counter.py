"""Counts of a run over its frames: objects by class, first classes, shares of class maps, depths, texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from rkdeploy.cli.console import err, plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, FoundDepth, Ranking
    from rkdeploy.device.stream.frames import Frame

_STEP: Final = 4
"""Of class maps every fourth row and column is counted: enough for a share, and a sixteenth of the work."""

_ANSWERS: Final = 10
"""Answers of further models that are printed for a frame."""


class DetectionCounter:
    """A sink that counts, and prints a line a frame where nothing else is asked for.

    Args:
        class_names: of the contract.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.prints = False
        self._class_names = tuple(class_names)
        self._objects: Counter[str] = Counter()
        self._first: Counter[str] = Counter()
        self._texts: Counter[str] = Counter()
        self._maps: dict[str, _MapShares] = {}
        self._depths: dict[str, _Depths] = {}
        self._embeddings = 0
        self._matches: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def write(self, frame: Frame, detections: Detections) -> None:
        """Count one frame."""
        one = DetectionCounter(self._class_names)
        one._count(detections)
        self._add(one)
        if self.prints:
            found = self._first_of(detections) or one.in_words(frames=1)
            err.print(plain(f"{frame.source} [{frame.index}]: {found}{_answers_in(detections)}"))

    def in_words(self, frames: int) -> str:
        """The counts in words: `3 bolt, 1 nut`; `first class 7 cat, 5 dog`; shares of class maps."""
        parts = [_listed(self._objects)] if self._objects else []
        if self._first:
            parts.append(f"first class {_listed(self._first)}")
        if self._texts:
            parts.append(f"text {_listed(self._texts)}")
        parts += [shares.in_words(name, frames) for name, shares in self._maps.items()]
        if self._matches:
            parts.append(f"match {_listed(self._matches)}")
        if self._embeddings:
            parts.append(f"{self._embeddings} embedding{'' if self._embeddings == 1 else 's'}")
        parts += [depths.in_words(kind) for kind, depths in self._depths.items()]
        return "; ".join(parts) or "nothing"

    def _first_of(self, detections: Detections) -> str:
        """The text or the first class of one frame with its probability, `cat 0.93`; empty for models without."""
        ranking, read = detections.ranking, detections.text
        first = "" if ranking is None or not len(ranking.class_ids) else self._first_class(ranking)
        if read is None:
            return first
        return ", ".join(part for part in (f'"{read.text}" {read.confidence:.2f}', first) if part)

    def _first_class(self, ranking: Ranking) -> str:
        return f"{self._class_names[int(ranking.class_ids[0])]} {ranking.scores[0]:.2f}"

    def _count(self, detections: Detections) -> None:
        self._objects.update(self._class_names[i] for i in detections.class_ids.tolist())
        if detections.ranking is not None:
            self._first.update(self._class_names[i] for i in detections.ranking.class_ids[:1].tolist())
        for found in detections.class_maps:
            self._maps[found.name] = _MapShares.of(found)
        if detections.text is not None:
            self._texts[detections.text.text or "(none)"] += 1
        if detections.depth is not None:
            self._depths[detections.depth.kind] = _Depths.of(detections.depth)
        self._embeddings += detections.embedding is not None and detections.match is None
        if detections.match is not None:
            self._matches[detections.match.name or "unknown"] += 1

    def _add(self, other: DetectionCounter) -> None:
        self._objects += other._objects
        self._first += other._first
        self._texts += other._texts
        self._embeddings += other._embeddings
        self._matches += other._matches
        for kind, depths in other._depths.items():
            self._depths[kind] = depths if kind not in self._depths else self._depths[kind].with_more(depths)
        for name, shares in other._maps.items():
            self._maps[name] = shares if name not in self._maps else self._maps[name].with_more(shares)


class _MapShares:
    """Share of the pixels of each class of one map, summed over frames."""

    def __init__(self, class_names: tuple[str, ...], sums: NDArray[np.float64], *, background: bool = True) -> None:
        self._class_names = class_names
        self._sums = sums
        self._background = background

    @classmethod
    def of(cls, found: FoundClassMap) -> _MapShares:
        """Of one frame."""
        from rkdeploy.device.postprocess.class_pixels import count_class_pixels  # OpenCV's: the doctor runs without it

        taken = np.ascontiguousarray(found.class_ids[::_STEP, ::_STEP])
        pixels = count_class_pixels(taken, len(found.class_names))
        return cls(found.class_names, pixels / max(1, taken.size), background=found.background)

    def with_more(self, other: _MapShares) -> _MapShares:
        """Of both together."""
        return _MapShares(self._class_names, self._sums + other._sums, background=self._background)

    def in_words(self, name: str, frames: int) -> str:
        """`lanes 12.5 % lane of the pixels`, a background left out."""
        first = 1 if self._background else 0
        means = self._sums[first:] / max(1, frames)
        named = sorted(zip(means.tolist(), self._class_names[first:], strict=True), reverse=True)
        listed = ", ".join(f"{100 * share:.1f} % {class_name}" for share, class_name in named if share)
        return f"{name}: {listed or 'nothing'}"


@dataclass(frozen=True, slots=True)
class _Depths:
    """Finite depths over frames.

    Attributes:
        low, high: smallest and largest.
        total: sum of the frames' medians.
        frames: number of frames with a depth.
    """

    low: float
    high: float
    total: float
    frames: int

    @classmethod
    def of(cls, found: FoundDepth) -> _Depths:
        """Of one frame."""
        values = found.values[::_STEP, ::_STEP]
        values = values[np.isfinite(values)]
        if not values.size:
            return cls(np.inf, -np.inf, 0.0, 0)
        return cls(float(values.min()), float(values.max()), float(np.median(values)), 1)

    def with_more(self, other: _Depths) -> _Depths:
        """Of both together."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        return _Depths(low, high, self.total + other.total, self.frames + other.frames)

    def in_words(self, kind: str) -> str:
        """`depth 0.82 to 12.4 m, median 3.1 m`; no unit where there is none."""
        if not self.frames:
            return "depth: nothing"
        unit = " m" if kind == "metric" else ""
        name = "inverse depth" if kind == "inverse" else "depth"
        return f"{name} {self.low:.3g} to {self.high:.3g}{unit}, median {self.total / self.frames:.3g}{unit}"


def _answers_in(detections: Detections) -> str:
    """Words of further models about one frame's objects: ` (B 1234, dark)`; empty where there is nothing to say."""
    from rkdeploy.device.chain.answer_words import all_answer_words

    each = [" ".join(all_answer_words(answers)) for answers in detections.nested or ()]
    said = [words for words in each if words]
    more = f" and {len(said) - _ANSWERS} more" if len(said) > _ANSWERS else ""
    return f" ({', '.join(said[:_ANSWERS])}{more})" if said else ""


def _listed(found: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.most_common())

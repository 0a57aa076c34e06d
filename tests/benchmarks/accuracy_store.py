"""Results of the accuracy bench on disk, so that a run goes on where it stopped: builds are expensive.

A folder holds for each build `KEY.json`, what it was and gave, and `KEY.msgpack`, the matches of each picture; for
each model `KEY.float`, the float detections that are the truth of all its builds.  A key is a hash of everything that
the result depends on, the code included.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from rkdeploy.accuracy.predictions import ImagePrediction, decoded, encoded
from rkdeploy.accuracy.truth_matching import IOU_THRESHOLDS, ClassMatches
from rkdeploy.system.atomic_file import write_atomically
from tests.benchmarks.accuracy_figures import Pictures

_LEVELS: Final = len(IOU_THRESHOLDS)


@dataclass(frozen=True, slots=True)
class Measured:
    """Result of one build.

    Attributes:
        facts: model, variant, seed, refusal, seconds, predicted time and the rest, for JSON.
        found: matches of the built model with the float detections.
        labeled: those of the built model with labels; empty without labels.
        float_labeled: those of the float model with labels.
    """

    facts: dict[str, Any]
    found: Pictures = ()
    labeled: Pictures = ()
    float_labeled: Pictures = ()


class _Class(msgspec.Struct, array_like=True):
    class_id: int
    scores: bytes
    hits: bytes
    counts: bytes
    truths: int


class _Run(msgspec.Struct, array_like=True):
    classes: int
    pictures: list[list[_Class]]


class _Stored(msgspec.Struct):
    found: _Run
    labeled: _Run
    float_labeled: _Run


def key_of(**parts: object) -> str:
    """Hash of named parts that JSON can write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def code_hash(package: Path) -> str:
    """Hash of the Python files of a package: another state of the code builds another model."""
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        found.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


class BenchStore:
    """The folder of a bench."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def read(self, key: str) -> Measured | None:
        """The result of a build; None if there is none, or it is damaged."""
        try:
            facts = json.loads((self._folder / f"{key}.json").read_bytes())
            stored = msgspec.msgpack.decode((self._folder / f"{key}.msgpack").read_bytes(), type=_Stored)
        except (OSError, ValueError):
            return None
        return Measured(facts, *map(_unpacked, (stored.found, stored.labeled, stored.float_labeled)))

    def write(self, key: str, result: Measured) -> None:
        """Keep a result; the facts come last, so that what has facts is whole."""
        stored = _Stored(*map(_packed, (result.found, result.labeled, result.float_labeled)))
        write_atomically(self._folder / f"{key}.msgpack", msgspec.msgpack.encode(stored))
        write_atomically(self._folder / f"{key}.json", json.dumps(result.facts, indent=1).encode())

    def read_float(self, key: str) -> list[ImagePrediction] | None:
        """Kept float detections."""
        try:
            return decoded((self._folder / f"{key}.float").read_bytes())[0]
        except (OSError, ValueError):
            return None

    def write_float(self, key: str, predictions: list[ImagePrediction]) -> None:
        """Keep float detections."""
        write_atomically(self._folder / f"{key}.float", encoded(predictions, "float"))


def _packed(pictures: Pictures) -> _Run:
    """Only the classes that occur in a picture."""
    return _Run(
        len(pictures[0]) if pictures else 0,
        [
            [
                _Class(i, m.scores.tobytes(), m.hits.tobytes(), m.counts.tobytes(), m.truths)
                for i, m in enumerate(picture)
                if m.truths or len(m.scores)
            ]
            for picture in pictures
        ],
    )


def _unpacked(run: _Run) -> Pictures:
    none = ClassMatches(np.zeros(0), np.zeros((_LEVELS, 0), np.bool_), np.zeros((_LEVELS, 0), np.bool_), 0)
    pictures = []
    for stored in run.pictures:
        classes = [none] * run.classes
        for one in stored:
            scores = np.frombuffer(one.scores, np.float64)
            hits, counts = (np.frombuffer(x, np.bool_).reshape(_LEVELS, len(scores)) for x in (one.hits, one.counts))
            classes[one.class_id] = ClassMatches(scores, hits, counts, one.truths)
        pictures.append(classes)
    return pictures

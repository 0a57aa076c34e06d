"""The study: what is asked next, what is kept, and how a search goes on after its death."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.analysis.tune.study import AskedTrial, TuneStudy, open_study
from rkdeploy.errors import RkdeployError
from tests.analysis.tune.stand_in_trials import SPACE, result_of

PRINT = {"model": "a" * 64, "target": "rk3588", "toolkit": "2.5.0"}


@contextmanager
def opened(file: Path, seed: int = 0, fingerprint: dict[str, str] | None = None) -> Iterator[TuneStudy]:
    with open_study(file, fingerprint or PRINT, SPACE, seed) as study:
        yield study


def asked(study: TuneStudy) -> AskedTrial:
    found = study.ask()
    assert found is not None
    return found


def run(study: TuneStudy, trials: int) -> list[FinishedTrial]:
    done = []
    for _ in range(trials):
        one = asked(study)
        result = result_of(one.settings)
        done.append(study.tell(one, result, 0.8 - result.figures["mAP50-95 (boxes)"]))
    return done


def test_known_good_settings_come_first(tmp_path: Path) -> None:
    """The default, then each hyperparameter by itself; the algorithm that takes minutes last."""
    first = SPACE.known_good()
    assert first[0] == SPACE.default()
    assert first[-1].algorithm == "mmse"
    with opened(tmp_path / "study.db") as study:
        assert [t.settings for t in run(study, len(first))] == list(first)
        assert [t.number for t in study.finished()] == list(range(1, len(first) + 1))


def test_no_settings_are_tried_twice_and_all_in_the_end(tmp_path: Path) -> None:
    """After the known ones come others, never one again; mmse was worse than the default, so no more of it."""
    space = replace(SPACE, methods=("channel",), calib_counts=(20,), cuts=SPACE.cuts[:1])
    with open_study(tmp_path / "study.db", PRINT, space, 0) as study:
        everything = {s for s in space.everything() if s.algorithm != "mmse"} | {space.known_good()[-1]}
        done = run(study, len(everything))
        assert {t.settings for t in done} == everything
        assert study.ask() is None


def test_a_stopped_search_goes_on(tmp_path: Path) -> None:
    """Finished trials keep their numbers and results; those under way are tried again, under their numbers."""
    file = tmp_path / "study.db"
    with opened(file) as study:
        before = run(study, 3)
        failed = study.tell_failure(asked(study), "refused\nby the  toolkit")
        lost = asked(study), asked(study)
    with opened(file) as study:
        kept = study.finished()
        assert kept == (*before, failed)
        assert kept[3].failure == "refused by the toolkit"
        assert kept[3].result is None
        again = [asked(study) for _ in range(len(SPACE.known_good()) - 4)]
        assert [(one.number, one.settings) for one in again[:2]] == [(one.number, one.settings) for one in lost]
        assert [one.settings for one in again] == [*SPACE.known_good()[4:]]
    assert not list(tmp_path.glob("*.lock"))


def test_death_between_the_two_words_of_a_result_loses_nothing(tmp_path: Path) -> None:
    """A result that is written but not yet reported to the sampler counts as finished."""
    file = tmp_path / "study.db"
    with opened(file) as study:
        one = asked(study)
        result = result_of(one.settings)
        told = study._study.tell

        def die(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        study._study.tell = die  # type: ignore[method-assign, assignment]
        with pytest.raises(KeyboardInterrupt):
            study.tell(one, result, 0.02)
        study._study.tell = told  # type: ignore[method-assign]
    with opened(file) as study:
        (kept,) = study.finished()
        assert kept == FinishedTrial(1, one.settings, result, "", 0.02)
        assert asked(study).settings == SPACE.known_good()[1]


def test_death_before_a_trial_is_asked_for_runs_nothing_twice(tmp_path: Path) -> None:
    """A trial that was queued and never begun is begun once."""
    file = tmp_path / "study.db"
    with opened(file) as study:
        run(study, 1)
        ask = study._study.ask

        def die(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        study._study.ask = die  # type: ignore[method-assign, assignment]
        with pytest.raises(KeyboardInterrupt):
            study.ask()
        study._study.ask = ask  # type: ignore[method-assign]
    with opened(file) as study:
        done = run(study, 3)
        assert [t.number for t in done] == [2, 3, 4]
        assert [t.settings for t in done] == [*SPACE.known_good()[1:4]]


def test_the_same_seed_asks_the_same(tmp_path: Path) -> None:
    """Two searches with one seed try the same; another seed tries something else."""
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        with opened(tmp_path / f"{name}.db", seed) as study:
            found.append([t.settings for t in run(study, len(SPACE.known_good()) + 6)])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_another_search_is_refused(tmp_path: Path) -> None:
    """The differences are named, and the file stays unchanged."""
    file = tmp_path / "study.db"
    with opened(file) as study:
        run(study, 1)
    other = {**PRINT, "model": "b" * 64, "target": "rk3576"}
    with pytest.raises(RkdeployError) as caught, opened(file, fingerprint=other):
        pass
    assert 'differs in model, target ("rk3588", here "rk3576")' in caught.value.message
    assert "--study" in caught.value.hint
    with opened(file) as study:
        assert len(study.finished()) == 1


def test_two_searches_at_once_are_refused(tmp_path: Path) -> None:
    """The second hears that the file is in use; the first goes on."""
    file = tmp_path / "study.db"
    with opened(file) as study:
        with pytest.raises(RkdeployError, match="in use by another search"), opened(file):
            pass
        run(study, 1)


@pytest.mark.parametrize("name", ["with space.db", "percent%20.db", "question?.db", "hash#.db"])
def test_any_file_name(tmp_path: Path, name: str) -> None:
    """The file is called as the user says, whatever an address would make of it."""
    with opened(tmp_path / name) as study:
        run(study, 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_files_that_are_something_else(tmp_path: Path) -> None:
    """A picture, another program's database and a folder are refused as such and left alone."""
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"\xff\xd8" + b"x" * 5000)
    database = tmp_path / "other.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    content = database.read_bytes()
    for file, words in ((picture, "cannot be read"), (database, "is not a study"), (tmp_path, "is not a file")):
        with pytest.raises(RkdeployError, match=words), opened(file):
            pass
    assert database.read_bytes() == content
    assert picture.stat().st_size == 5002

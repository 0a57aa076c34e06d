"""The search's memory and its choice of what to try next: an Optuna study in one SQLite file.

Two figures are minimized: the largest drop of a headline figure below the float model's, and the predicted cost of a
frame.  Every finished trial is in the file at once; one that was in progress when the search died is put back into the
queue when the study is opened again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.analysis.tune.hyperparameters import SLOW_ALGORITHM, SearchSpace, from_hyperparameters, to_hyperparameters
from rkdeploy.analysis.tune.proposals import distributions_of, proposals
from rkdeploy.analysis.tune.trial_result import TrialResult
from rkdeploy.errors import RkdeployError, shown
from rkdeploy.host.building.quantization import QuantizationSettings

if TYPE_CHECKING:
    import optuna

_NAME: Final = "rkdeploy tune"
_FINGERPRINT, _SEQUENCE, _SETTINGS = "fingerprint", "trial", "settings"
_DROP, _RESULT, _FAILURE = "drop", "result", "failure"
_MAX_REASON: Final = 1000
_INSTALL: Final = 'Install it with: pip install "rkdeploy[host,tune]"'


@dataclass(frozen=True, slots=True)
class AskedTrial:
    """A trial to run: `handle` is the study's own number of it."""

    handle: int
    number: int
    settings: QuantizationSettings


class TuneStudy:
    """An open study.  `open_study` opens one; at most one process has a file open.

    Args:
        study: Optuna's.
        space: what is searched.
        seed: of the choices that are left to chance.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, seed: int) -> None:
        self._study = study
        self._space = space
        self._seed = seed
        self._distributions = distributions_of(space)
        self._asked: dict[int, tuple[AskedTrial, optuna.Trial]] = {}
        self.put_back()

    def finished(self) -> tuple[FinishedTrial, ...]:
        """The trials that ended, in the order of their numbers."""
        found = []
        for trial in self._study.get_trials(deepcopy=False):
            kept = trial.user_attrs
            if not trial.state.is_finished() or not {_RESULT, _FAILURE} & kept.keys():
                continue  # under way, waiting, or set aside
            found.append(
                FinishedTrial(
                    kept[_SEQUENCE],
                    from_hyperparameters(kept[_SETTINGS], self._space),
                    msgspec.convert(kept[_RESULT], TrialResult) if _RESULT in kept else None,
                    kept.get(_FAILURE, ""),
                    kept.get(_DROP),
                )
            )
        return tuple(sorted(found, key=lambda trial: trial.number))

    def ask(self) -> AskedTrial | None:
        """The next trial, never one with settings that were tried; None when everything was."""
        finished = self.finished()
        next_number, settings = self._next(finished)
        if settings is None:
            return None
        self._study.enqueue_trial(
            to_hyperparameters(settings), user_attrs={_SEQUENCE: next_number, _SETTINGS: to_hyperparameters(settings)}
        )
        trial = self._study.ask(self._distributions)
        asked = AskedTrial(trial.number, trial.user_attrs[_SEQUENCE], from_hyperparameters(trial.params, self._space))
        self._asked[trial.number] = asked, trial
        return asked

    def _next(self, finished: tuple[FinishedTrial, ...]) -> tuple[int, QuantizationSettings | None]:
        """The next settings: those unfinished when a search died, then the known-good, then proposals."""
        begun = {t.user_attrs[_SEQUENCE]: t.user_attrs for t in self._study.get_trials(deepcopy=False)}
        known = {trial.number for trial in finished} | {asked.number for asked, _ in self._asked.values()}
        for number in sorted(begun.keys() - known):
            return number, from_hyperparameters(begun[number][_SETTINGS], self._space)
        under_way = [asked.settings for asked, _ in self._asked.values()]
        tried = {trial.settings for trial in finished} | set(under_way)
        slow = _slow_is_worth_it(finished, self._space)
        seed = random.Random(f"{self._seed} {len(finished)} {len(under_way)}").getrandbits(32)  # noqa: S311 - no secret
        first = (one for one in self._space.known_good() if one not in tried)
        proposed = (
            one
            for one in proposals(self._space, finished, under_way, seed)
            if one not in tried and (slow or one.algorithm != SLOW_ALGORITHM)
        )
        return max(begun, default=0) + 1, next(chain(first, proposed), None)

    def tell(self, asked: AskedTrial, result: TrialResult, drop: float) -> FinishedTrial:
        """Keep the result of a trial."""
        _, trial = self._asked.pop(asked.handle)
        trial.set_user_attr(_DROP, drop)
        trial.set_user_attr(_RESULT, msgspec.to_builtins(result))
        self._study.tell(trial, (drop, result.cost.value))
        return FinishedTrial(asked.number, asked.settings, result, "", drop)

    def tell_failure(self, asked: AskedTrial, reason: str) -> FinishedTrial:
        """Keep that a trial failed, and why."""
        (_, trial), reason = self._asked.pop(asked.handle), _on_one_line(reason)
        trial.set_user_attr(_FAILURE, reason)
        self._end(trial)
        return FinishedTrial(asked.number, asked.settings, None, reason, None)

    def put_back(self) -> None:
        """End the unfinished trials, which no process runs any more.  They are the first to be tried again."""
        import optuna

        self._asked.clear()
        state = optuna.trial.TrialState
        while self._study.get_trials(deepcopy=False, states=(state.WAITING,)):  # it died before it asked
            self._study.ask(self._distributions)
        for trial in self._study.get_trials(deepcopy=False, states=(state.RUNNING,)):
            kept = trial.user_attrs
            if _RESULT in kept:  # the search died between its two words
                result = msgspec.convert(kept[_RESULT], TrialResult)
                self._study.tell(trial.number, (kept[_DROP], result.cost.value))
            else:
                self._end(trial.number)

    def _end(self, trial: optuna.Trial | int) -> None:
        """End a trial without a figure; without a reason too it counts for nothing: a study forgets no trial."""
        import optuna

        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)


@contextmanager
def open_study(file: Path, fingerprint: Mapping[str, str], space: SearchSpace, seed: int) -> Iterator[TuneStudy]:
    """A study in a file, new or resumed.

    Args:
        file: SQLite; created if necessary.
        fingerprint: everything that the figures in it depend on, by names that a user understands.
        space: the search space.
        seed: of the sampler.

    Raises:
        RkdeployError: the file is something else, belongs to another search or to a running one, or cannot be
            written.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise RkdeployError(f'This needs the package "{error.name}".', _INSTALL) from error
    from sqlalchemy.exc import SQLAlchemyError

    _require_study(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RkdeployError(f'Folder "{file.parent}" cannot be created: {error.strerror}.') from error
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    with _locked(file):
        storage = None
        try:
            storage = optuna.storages.RDBStorage("sqlite://", {"creator": lambda: _connected(file)})
            known = {one.study_name for one in optuna.get_all_study_summaries(storage)}
            study = optuna.create_study(
                storage=storage,
                study_name=_NAME,
                directions=("minimize", "minimize"),
                load_if_exists=True,
            )
            if _NAME in known:
                _require_same(file, study.user_attrs.get(_FINGERPRINT, {}), fingerprint)
            study.set_user_attr(_FINGERPRINT, dict(fingerprint))
            yield TuneStudy(study, space, seed)
        except SQLAlchemyError as error:
            cause = error.__cause__ or error
            raise RkdeployError(f'The study "{file}" cannot be used: {shown(str(cause), 200)}.', _ANOTHER) from error
        finally:
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()


_ANOTHER: Final = "Name another file with --study, or remove it."


def _connected(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=60, check_same_thread=False)


def _on_one_line(text: str) -> str:
    """A reason on one line, of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_REASON else f"{line[:_MAX_REASON]}..."


def _require_study(file: Path) -> None:
    """Refuse a file that is something else, before tables are put into it."""
    if not file.exists():
        return
    if not file.is_file():
        raise RkdeployError(f'The study "{file}" is not a file.', _ANOTHER)
    if file.stat().st_size == 0:
        return
    try:
        with contextlib.closing(_connected(file)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise RkdeployError(f'The study "{file}" cannot be read: {error}.', _ANOTHER) from error
    if "studies" not in tables:
        raise RkdeployError(f'"{file}" is not a study of rkdeploy tune.', _ANOTHER)


def _require_same(file: Path, stored: Mapping[str, str], fingerprint: Mapping[str, str]) -> None:
    other = [name for name in fingerprint if stored.get(name) != fingerprint[name]]
    if other:
        named = ", ".join(
            f"{name} ({shown(stored.get(name))}, here {shown(fingerprint[name])})"
            if name in {"target", "dtype", "cost", "rkdeploy", "toolkit"}
            else name
            for name in other
        )
        raise RkdeployError(
            f'The study "{file}" belongs to another search: it differs in {named}.',
            "Its figures cannot be compared with these. " + _ANOTHER,
        )


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep a second search out of the file; the lock goes with this process, however it ends."""
    lock = file.with_name(f"{file.name}.lock")
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise RkdeployError(f'The study "{file}" cannot be written: {error.strerror}.', _ANOTHER) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RkdeployError(
                f'The study "{file}" is in use by another search.', "Wait for it, or name another file with --study."
            ) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()
    finally:
        os.close(descriptor)


def _slow_is_worth_it(finished: tuple[FinishedTrial, ...], space: SearchSpace) -> bool:
    """True if the slow algorithm beat the default, where both were tried; otherwise it is not tried further."""
    drops = {trial.settings: trial.drop for trial in finished}
    default = space.default()
    slow = next((s for s in space.known_good() if s.algorithm == SLOW_ALGORITHM), None)
    before, after = drops.get(default), drops.get(slow) if slow is not None else None
    return before is not None and after is not None and after < before

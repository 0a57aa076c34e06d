"""Trials on many machines: a Dask cluster that the user has started.

    dask scheduler
    dask worker tcp://HOST:8786 --nthreads 1 --nworkers 2

Workers need the same rkdeploy, with the toolkit, but no file of ours: a trial's inputs are sent to a worker once and
unpacked in its own folder.  A trial on a worker that dies is begun again on another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import shutil
import socket
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from rkdeploy.analysis.tune.input_store import InputStore
from rkdeploy.analysis.tune.runner import LostTrials, TrialFunction, TrialOutcome
from rkdeploy.analysis.tune.trial import TrialJob, run_trial
from rkdeploy.errors import RkdeployError, ToolkitError, shown
from rkdeploy.version import __version__

if TYPE_CHECKING:
    from types import TracebackType

    from distributed import Client, Future
    from typing_extensions import Self

_CONNECT_S: Final = 15
_POLL_S: Final = 2.0
_WITHOUT_WORKERS_S: Final = 60.0
_TIMEOUTS: Final = (TimeoutError, asyncio.TimeoutError)  # two things in Python 3.10
_FOLDER: Final = "rkdeploy-tune"
_INSTALL: Final = 'Install it with: pip install "rkdeploy[host,tune]", on every worker too.'
_START: Final = "Start some with: dask worker ADDRESS --nthreads 1"


class Cluster:
    """See `TrialRunner`.

    Args:
        address: of the scheduler, such as tcp://10.0.0.5:8786.
        input_sets: the inputs.
        most: trials at a time at most; None takes every thread of every worker.
        function: what a worker calls.
    """

    def __init__(
        self, address: str, input_sets: InputStore, most: int | None = None, function: TrialFunction = run_trial
    ) -> None:
        self._address = address
        self._input_sets = input_sets
        self._most = most
        self._function = function
        self._client: Client | None = None
        self._sent: dict[str, Future[bytes]] = {}
        self._jobs: dict[str, TrialJob] = {}
        self._futures: dict[str, Future[TrialOutcome]] = {}
        self._lost = LostTrials()
        self._ended: queue.SimpleQueue[Future[TrialOutcome]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        """Connect, and look at the workers.

        Raises:
            RkdeployError: no scheduler answers, it has no worker, or a worker has another rkdeploy or none.
        """
        try:
            from distributed import Client
        except ModuleNotFoundError as error:
            raise RkdeployError(f'This needs the package "{error.name}".', _INSTALL) from error
        for name in ("distributed", "tornado"):  # what matters of what they say, is said by us
            logging.getLogger(name).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module="distributed")  # of versions that differ: ours are checked below
        # Held before it connects: one that fails and is left to the garbage collector closes itself at any moment, and
        # hangs for ever where that is the start of the next.
        client: Client = Client.__new__(Client)
        try:
            _require_open(self._address)
            Client.__init__(client, self._address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError, *_TIMEOUTS) as error:
            with contextlib.suppress(Exception):  # as far as it came
                client.close()
            raise RkdeployError(
                f'No Dask scheduler answers at "{self._address}": {shown(str(error) or type(error).__name__, 200)}.',
                'Start one with "dask scheduler", and give the address that it prints.',
            ) from error
        self._client = client
        try:
            self._require_workers()
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, self._client = self._client, None
        futures, self._futures = list(self._futures.values()), {}
        self._sent.clear()
        if client is not None:
            with contextlib.suppress(Exception):  # whatever is lost by now, its finished trials are kept
                client.cancel(futures, force=True)
            with contextlib.suppress(Exception):
                client.close()

    @property
    def workers(self) -> int:
        """See `TrialRunner`; workers may come and go."""
        threads: int = max(1, sum(self._connected().nthreads().values()))
        return min(threads, self._most or threads)

    def toolkit_version(self) -> str:
        """The toolkit that the workers have.

        Raises:
            RkdeployError: when one has none that works, or they have different ones.
        """
        client = self._connected()
        asked = {
            address: client.submit(_toolkit_version, workers=[address], pure=False) for address in client.nthreads()
        }
        found: dict[str, list[str]] = {}
        for address, future in asked.items():
            try:
                version = future.result(timeout=_WITHOUT_WORKERS_S)
            except (OSError, *_TIMEOUTS) as error:
                raise RkdeployError(
                    f"Worker {address} gave no answer within {_WITHOUT_WORKERS_S:g} s.",
                    "It may be busy with other work, or have ended: check it, or start another.",
                ) from error
            if isinstance(version, RkdeployError):
                raise RkdeployError(f"Worker {address}: {version.message}", version.hint)
            found.setdefault(version, []).append(address)
        if len(found) > 1:
            listed = "; ".join(f"{version} ({', '.join(addresses)})" for version, addresses in found.items())
            raise RkdeployError(
                f"The workers have different versions of rknn-toolkit2: {listed}.", "Install the same one everywhere."
            )
        return next(iter(found))

    def submit(self, job: TrialJob) -> None:
        """See `TrialRunner`."""
        client = self._connected()
        inputs = [self._input_set(name) for name in job.input_sets]
        job = replace(job, options=replace(job.options, toolkit_python=None))  # a path of this machine
        future = client.submit(_run, job, self._function, *inputs, pure=False, priority=-job.number)
        self._jobs[future.key], self._futures[future.key] = job, future
        future.add_done_callback(self._ended.put)

    def wait(self) -> TrialOutcome:
        """See `TrialRunner`."""
        alone_since: float | None = None
        while True:
            try:
                future = self._ended.get(timeout=_POLL_S)
            except queue.Empty:
                alone_since = self._without_workers_since(alone_since)
                continue
            job = self._jobs.pop(future.key, None)
            if job is None:
                continue
            del self._futures[future.key]
            outcome = self._outcome(job, future)
            if outcome is not None:
                return outcome

    def _outcome(self, job: TrialJob, future: Future[TrialOutcome]) -> TrialOutcome | None:
        """Outcome of a trial; None when its worker was lost and it is started again."""
        from distributed import KilledWorker

        answer: TrialOutcome | None = None
        if future.status == "finished":
            with contextlib.suppress(OSError, KeyError, *_TIMEOUTS):  # the worker that held the answer may be gone
                answer = future.result(timeout=_CONNECT_S)
        if answer is not None:
            return answer
        if future.status == "error":
            error = future.exception()
            if error is not None and not isinstance(error, KilledWorker):
                name = type(error).__name__
                return TrialOutcome(job.number, None, f"The worker failed: {name}: {shown(str(error), 300)}.")
        self._require_scheduler()
        given_up = self._lost.given_up(job.number, "lost with its worker")
        if given_up is not None:
            return given_up
        for name in job.input_sets:  # they may have gone with the worker
            self._sent.pop(name, None)
        self.submit(job)
        return None

    def _input_set(self, name: str) -> Future[bytes]:
        if name not in self._sent:
            key = f"{_FOLDER}-{name}-{time.monotonic_ns()}"
            block = self._input_sets.packed(name)
            try:
                sent = self._connected().scatter({key: block}, hash=False, timeout=_WITHOUT_WORKERS_S)
            except (OSError, *_TIMEOUTS) as error:
                self._require_scheduler()
                raise _without_workers() from error
            self._sent[name] = sent[key]
        return self._sent[name]

    def _require_workers(self) -> None:
        client = self._connected()
        with contextlib.suppress(*_TIMEOUTS):
            client.wait_for_workers(1, timeout=_CONNECT_S)
        found: dict[str, Any] = client.run(_version, on_error="return")
        if not found:
            raise RkdeployError(f'The Dask scheduler at "{self._address}" has no worker.', _START)
        for address, version in found.items():
            if isinstance(version, BaseException):
                raise RkdeployError(
                    f"Worker {address} cannot run trials: {shown(str(version), 200)}.", _INSTALL
                ) from version
            if version != __version__:
                raise RkdeployError(
                    f"Worker {address} has rkdeploy {version}, this is {__version__}.",
                    "Install the same one everywhere.",
                )

    def _without_workers_since(self, since: float | None) -> float | None:
        """Since when there is no worker; None while there is one.

        Raises:
            RkdeployError: when that lasts.
        """
        self._require_scheduler()
        if self._connected().nthreads():
            return None
        since = since or time.monotonic()
        if time.monotonic() - since > _WITHOUT_WORKERS_S:
            raise _without_workers()
        return since

    def _require_scheduler(self) -> None:
        if self._connected().status != "running":
            raise RkdeployError(
                f'The Dask scheduler at "{self._address}" is gone.',
                "Start it, then run the same command: finished trials are kept.",
            )

    def _connected(self) -> Client:
        assert self._client is not None, "a cluster is entered first"
        return self._client


def _without_workers() -> RkdeployError:
    return RkdeployError(
        f"The cluster has had no worker for {_WITHOUT_WORKERS_S:g} s.",
        f"{_START}. Then run the same command: finished trials are kept.",
    )


# ------------------------------------------------------------------------------------------------ on the worker


def _version() -> str:
    return __version__


def _toolkit_version() -> str | RkdeployError:
    from rkdeploy.host.toolkit.toolkit import Toolkit

    with tempfile.TemporaryDirectory(dir=_own_folder()) as folder:
        try:
            with Toolkit(log=Path(folder) / "toolkit.log") as toolkit:
                return toolkit.version
        except ToolkitError as error:
            return error


def _run(job: TrialJob, function: TrialFunction, *blocks: bytes) -> TrialOutcome:
    """A trial on a worker, which has the input sets as bytes and unpacks those that it does not have yet."""
    own = _own_folder()
    store = InputStore(own / "inputs")
    folder = Path(tempfile.mkdtemp(prefix=f"trial-{job.number}-", dir=own))
    try:
        for name, block in zip(job.input_sets, blocks, strict=True):
            store.unpack(name, block)
        return TrialOutcome(job.number, function(job, store.folder, folder))
    except RkdeployError as error:
        return TrialOutcome(job.number, None, error.message)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own_folder() -> Path:
    """A folder that Dask removes with the worker, and with those that were killed when the next one starts."""
    from distributed import get_worker

    folder = Path(get_worker().local_directory) / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _require_open(address: str) -> None:
    """Connect to a scheduler's port once: Dask itself goes on trying for its whole time where nothing listens.

    Raises:
        OSError: nothing listens there.
        ValueError: the port is not a number.
    """
    parts = urlsplit(address)
    if parts.scheme in ("tcp", "tls") and parts.hostname is not None and parts.port is not None:
        socket.create_connection((parts.hostname, parts.port), timeout=_CONNECT_S).close()

"""The builds of a comparison in several processes, each with a toolkit of its own.

A build keeps about one core busy.  A worker is given a group of builds at a time; one that is stopped while it builds
leaves nothing of that build behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from rkdeploy.analysis.compare.build_series import build_series
from rkdeploy.analysis.compare.comparison import Row
from rkdeploy.analysis.compare.preparation import Prepared
from rkdeploy.analysis.compare.variants import CompareOptions, Variant
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.system.end_signals import take_end_signals
from rkdeploy.system.worker_processes import serve, work_off


def build_in_processes(
    options: CompareOptions,
    prepared: Prepared,
    groups: Sequence[Sequence[Variant]],
    begin: Callable[[Variant], None],
    events: BuildEvents,
) -> Iterator[Row]:
    """A row for each build, as it is done; see `build_series`.  Of the builds' events the warnings are passed on.

    Raises:
        RkdeployError: when a worker cannot be started, or ends without a word.
    """
    count = min(options.workers, len(groups))
    with (
        _folder(options),
        contextlib.closing(work_off(groups, count, _work, (options, prepared, count), terminate=True)) as messages,
    ):
        for kind, value in messages:
            if kind == "begin":
                begin(value)
            elif kind == "warning":
                events.warning(value)
            else:
                yield value


@contextmanager
def _folder(options: CompareOptions) -> Iterator[None]:
    """Folder of the bundles, created before the first build, so that a failed build does not remove it from others."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RkdeployError(f'Folder "{options.out}" cannot be created: {error.strerror}.') from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # holds bundles
            options.out.rmdir()


class _PipedEvents(BuildEvents):
    """Passes a build's warnings on."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe

    def warning(self, text: str) -> None:
        self._pipe.send(("warning", text))


def _work(pipe: Connection[Any, Any], _index: int, options: CompareOptions, prepared: Prepared, count: int) -> None:
    """A worker's life: groups in; what begins, warnings and rows out."""
    take_end_signals()  # they unwind: nothing half-built stays

    def handle(group: Sequence[Variant]) -> None:
        for row in build_series(options, prepared, group, lambda v: pipe.send(("begin", v)), _PipedEvents(pipe)):
            pipe.send(("row", row))

    serve(pipe, count, handle)

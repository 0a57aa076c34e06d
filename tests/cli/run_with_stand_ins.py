"""`rkdeploy` with a stand-in network (a few milliseconds a frame) in the place of a bundle and a backend.

    python -m tests.cli.run_with_stand_ins MILLISECONDS FAILING_CALLS run --source ... --model anything

FAILING_CALLS: numbers of the calls, from 1, on which a context fails (`3,5`), or `-`; `all` for every one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from typing_extensions import Self

import rkdeploy.bundle
import rkdeploy.runtime.registry
from rkdeploy.cli.entry import main
from rkdeploy.errors import BackendError
from tests.stream.stand_ins import SPEC, StandInRuntime

seconds = float(sys.argv.pop(1)) / 1e3
failing = sys.argv.pop(1)
calls = range(1, 1_000_000) if failing == "all" else [int(n) for n in failing.split(",") if n != "-"]


class Network(StandInRuntime):
    """Sees class 7 in every picture; counts its calls anew when it is opened again."""

    def __enter__(self) -> Self:
        self.calls = 0
        return super().__enter__()

    def infer(self, image: Any) -> Any:
        time.sleep(seconds)
        if self.calls + 1 in calls:
            self.calls += 1
            raise BackendError("rknn_run answered -1.", "Reboot.")
        return super().infer(np.full_like(image, 7))


def open_runtimes(
    _name: str, _bundle: Any, cores: Sequence[int] | None = None, _options: object = None
) -> list[Network]:
    """One stand-in a core."""
    return [Network() for _ in cores or (0,)]


rkdeploy.runtime.registry.open_runtimes = open_runtimes  # type: ignore[assignment]
rkdeploy.bundle.read_bundle = lambda _: SimpleNamespace(spec=SPEC, folder=Path("stand-in"))  # type: ignore[assignment, misc]
main()

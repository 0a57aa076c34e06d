"""`rkdeploy` with a stand-in network (a few milliseconds a frame) in the place of a bundle and a backend.

    python -m tests.cli.run_with_stand_ins MILLISECONDS FAILING_CALLS run x.rknn SOURCE...

FAILING_CALLS: numbers of the calls, from 1, on which a context fails (`3,5`), or `-`; `all` for every one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from typing_extensions import Self

from rkdeploy.cli.entry import main
from rkdeploy.errors import BackendError
from tests.device.stream.stand_ins import SPEC, StandInRuntime


class Network(StandInRuntime):
    """Sees class 7 in every picture; counts its calls anew when it is opened again."""

    def __init__(self, seconds: float, failing: Container[int]) -> None:
        super().__init__()
        self.seconds, self.failing_calls = seconds, failing

    def __enter__(self) -> Self:
        self.calls = 0
        return super().__enter__()

    def infer(self, image: Any) -> Any:
        time.sleep(self.seconds)
        if self.calls + 1 in self.failing_calls:
            self.calls += 1
            raise BackendError("rknn_run answered -1.", "Reboot.")
        return super().infer(np.full_like(image, 7))


@contextmanager
def stand_in_network(ms: float, failing: str) -> Iterator[None]:
    """Every model is a stand-in, one per core, that takes `ms` milliseconds per frame and fails as FAILING_CALLS
    says.
    """
    calls = range(1, 1_000_000) if failing == "all" else [int(n) for n in failing.split(",") if n != "-"]

    def open_runtimes(
        _name: str,
        _bundle: Any,
        cores: Sequence[int] | None = None,
        _options: object = None,
        contexts: int | None = None,
    ) -> list[Network]:
        return [Network(ms / 1e3, calls) for _ in range(contexts or len(cores or (0,)))]

    with (
        patch("rkdeploy.device.stream.bundle_run.open_runtimes", open_runtimes),
        patch("rkdeploy.contract.bundle.read_bundle", lambda _: SimpleNamespace(spec=SPEC, folder=Path("stand-in"))),
    ):
        yield


if __name__ == "__main__":
    with stand_in_network(float(sys.argv.pop(1)), sys.argv.pop(1)):
        main()

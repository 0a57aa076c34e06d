"""Bundles that several modules read, built once for all workers of a test run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rkdeploy.contract.bundle import Bundle, read_bundle

SAMPLE = Path(__file__).parents[1] / "calib_data"


@contextmanager
def shared_bundle(model: str, factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """The bundle of one of the sample set's models, as `rkdeploy build` makes it by default; to be read only.

    The first worker that needs it builds it while the others wait, and a later one takes what is there.

    Args:
        model: name of the checkpoint in the sample set.
        factory: of this process's temporary folders; those of all workers have the same parent.

    Raises:
        BundleError: at the end, when a test has changed a file of it.
    """
    own = factory.getbasetemp()
    out = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared bundles" / model
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = _built(model, out)
    yield read_bundle(folder)
    read_bundle(folder)


def _built(model: str, out: Path) -> Path:
    from rkdeploy.host.building.build_events import BuildEvents  # not at the top: most tests need no package of a host
    from rkdeploy.host.building.build_options import BuildOptions
    from rkdeploy.host.building.build_stages import build

    options = BuildOptions(SAMPLE / model, calib=SAMPLE, out=out)
    if not options.folder.is_dir():  # a bundle is written whole or not at all
        build(options, BuildEvents())
    return options.folder

"""Batches are refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions


@pytest.mark.parametrize("batch", [0, 2, 8])
def test_a_batch_is_refused_with_the_reason(batch: int) -> None:
    """The error says what the toolkit does with a batch, and what to use for the cores; 1 is the build without it."""
    with pytest.raises(RkdeployError, match=f"--batch is {batch}, expected 1.*compiles the same network") as refused:
        BuildOptions(Path("best.onnx"), batch=batch)
    assert "--contexts" in refused.value.hint
    assert BuildOptions(Path("best.onnx"), batch=1) == BuildOptions(Path("best.onnx"))

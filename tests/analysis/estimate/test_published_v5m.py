"""The YOLOv5m that others measured on an RK3588, compiled here."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkdeploy.host.checkpoint import read_checkpoint
from tests.analysis.estimate.published_v5m import DTYPES, PUBLISHED, compile_all, document, in_document
from tests.analysis.estimate.v5m_checkpoint import write_v5m


def test_the_checkpoint_is_of_the_published_size(tmp_path: Path) -> None:
    """With BatchNorm folded, one parameter per channel less: within 0.001 % of the published 21,037,791."""
    checkpoint = read_checkpoint(write_v5m(tmp_path / "yolov5m.pt"))
    norms = [module for module in checkpoint.root.walk() if module.class_name == "BatchNorm2d"]
    assert checkpoint.parameters == 21_056_406
    folded = checkpoint.parameters - sum(norm.tensors["weight"].numel for norm in norms)
    assert folded == pytest.approx(21_037_791, rel=1e-5)


@pytest.mark.slow
def test_memory_and_document(tmp_path: Path) -> None:
    """Weight memory within 1.5 % of the published in both types, INT8 saves at least as much of all memory.

    The table in docs/estimate.md is what the script makes now.
    """
    found = compile_all(tmp_path)
    for dtype in DTYPES:
        assert found[dtype, "space_to_depth"].weight_mib == pytest.approx(PUBLISHED[dtype].weight_mib, rel=0.015)
    half, whole = found["int8", "space_to_depth"], found["fp16", "space_to_depth"]
    assert 1 - half.total_mib / whole.total_mib >= 1 - PUBLISHED["int8"].total_mib / PUBLISHED["fp16"].total_mib
    assert found["int8", "stripes"].internal_mib <= PUBLISHED["int8"].internal_mib
    assert half.interval_ms[0] < 1000 / 20.9 < half.interval_ms[1]
    assert document(found) == in_document()

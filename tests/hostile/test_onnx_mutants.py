"""Damaged ONNX files are read or refused, whatever was damaged: no crash, no traceback, in bounded memory and time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.mutate_onnx import mutant, read

GIB = 1 << 30
_BATCHES, _EACH = 5, 12


@pytest.mark.parametrize("batch", range(_BATCHES))
def test_damaged_onnx_files(batch: int, tmp_path: Path) -> None:
    """Seeded changes of bytes, attributes, shapes, wires, constants, names and versions."""
    for seed in range(batch * _EACH, (batch + 1) * _EACH):
        what, content = mutant(seed)
        reading = read(content, tmp_path)
        assert reading.ended in ("read", "refused"), f"{what}: {reading}"
        assert reading.peak_bytes < 2 * GIB, f"{what}: {reading}"
        assert reading.seconds < 30, f"{what}: {reading}"


@pytest.mark.parametrize("seed", [300902, 300906, 410310, 420220, 420499])
def test_shapes_that_the_probes_meet_only_when_they_run_the_graph(seed: int, tmp_path: Path) -> None:
    """Rows that are missing, an answer without any, a head of 1e19 values, negative sizes: no surprise inside the
    child either.
    """
    reading = read(mutant(seed)[1], tmp_path)
    assert reading.ended in ("read", "refused")
    assert " cannot be used: " not in reading.message


def test_mutants_are_the_same_for_the_same_seed() -> None:
    """A failure can be repeated by its seed, and seeds differ."""
    assert mutant(11) == mutant(11)
    assert len({mutant(seed)[1] for seed in range(5)}) == 5

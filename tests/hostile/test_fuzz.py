"""Mutated checkpoints, some of them: `python tests/hostile/pickle_mutants.py 1000` reads more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.pickle_mutants import fault, read_mutant


@pytest.mark.parametrize("first", range(0, 150, 15))
def test_mutated_checkpoints(first: int, tmp_path: Path) -> None:
    """Each is read or refused with one message, in bounded time and memory; most are refused."""
    refused = 0
    for seed in range(first, first + 15):
        what, outcome = read_mutant(seed, tmp_path)
        refused += outcome.code
        assert not fault(outcome, tmp_path), f"seed {seed} ({what}): {outcome}"
    assert refused >= 5

"""SHA-256 of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkdeploy.contract.file_hash import sha256_of


def test_known_digests(tmp_path: Path) -> None:
    """FIPS 180-2's "abc", the empty file, and a million letters."""
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert sha256_of(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    file.write_bytes(b"")
    assert sha256_of(file) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    file.write_bytes(b"a" * 1_000_000)
    assert sha256_of(file) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    with pytest.raises(OSError, match="No such file"):
        sha256_of(tmp_path / "missing")

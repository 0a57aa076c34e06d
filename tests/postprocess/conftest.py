"""The decode by numpy and by the C library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rkdeploy.postprocess.native.library import DECODE_VARIABLE, choice


@pytest.fixture(scope="module", params=["numpy", "native"])
def decode(request: pytest.FixtureRequest) -> Iterator[str]:
    """What decodes: every test of a module that uses it runs once with each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DECODE_VARIABLE, request.param)
        choice.cache_clear()
        yield request.param
    choice.cache_clear()

"""The packages that decode video: a test that takes `video_package` runs with each."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from rkdeploy.device.stream.sources.video_capture import VIDEO_VARIABLE


@pytest.fixture(params=["pyav", "opencv"])
def video_package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The package that this test's videos are decoded with."""
    if request.param == "pyav" and find_spec("av") is None:
        pytest.skip('PyAV is not installed: pip install "rkdeploy[video]"')
    monkeypatch.setenv(VIDEO_VARIABLE, request.param)
    return str(request.param)

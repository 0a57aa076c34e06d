"""Errors: what survives the way from another process."""

from __future__ import annotations

import pickle

import pytest

from rkdeploy.device.runtime.librknnrt.library import CallError
from rkdeploy.errors import BundleError, RkdeployError


@pytest.mark.parametrize("error", [RkdeployError("What failed."), BundleError("What failed.", "Do this.")])
def test_message_and_hint_survive_pickling(error: RkdeployError) -> None:
    """Class, message and hint arrive, each by itself."""
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert (arrived.message, arrived.hint) == (error.message, error.hint)
    assert str(arrived) == str(error)


def test_an_error_with_other_arguments_survives_pickling() -> None:
    """A subclass that takes neither a message nor a hint arrives with its own attributes."""
    arrived = pickle.loads(pickle.dumps(CallError("rknn_run", -3)))
    assert type(arrived) is CallError
    assert (arrived.function, arrived.code) == ("rknn_run", -3)
    assert arrived.message.startswith("rknn_run failed with -3")

"""The simulator as a runtime: whose log is where, with a stand-in for the toolkit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typing_extensions import Self

from rkdeploy.errors import BackendError, RkdeployError, ToolkitError
from rkdeploy.host.toolkit import simulator
from rkdeploy.host.toolkit.built_model import KeptFiles
from rkdeploy.host.toolkit.simulator import SimulatorRuntime
from rkdeploy.host.toolkit.toolkit_options import ToolkitOptions

KEPT, OPTIONS = KeptFiles(Path("best.onnx")), ToolkitOptions("rk3588", "fp16")
IMAGE = np.zeros((1, 32, 64, 3), np.uint8)


class StandInToolkit:
    """Writes its log as the toolkit does, and fails as `fails` says."""

    fails: BaseException | None = None
    when = "open_kept"
    version = "0"

    def __init__(self, *, log: Path, **_options: Any) -> None:
        self.log = log

    def __enter__(self) -> Self:
        self.log.write_text("what the toolkit says")
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def open_kept(self, _kept: KeptFiles, _options: ToolkitOptions) -> Any:
        self._do("open_kept")
        return type("Model", (), {"outputs": ()})

    def simulate(self, _image: Any) -> dict[str, Any]:
        self._do("simulate")
        return {}

    def _do(self, what: str) -> None:
        if self.fails is not None and self.when == what:
            raise self.fails


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, with the toolkit's stand-in."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(simulator, "Toolkit", StandInToolkit)
    return tmp_path


def test_every_runtime_has_a_log_of_its_own(temporary: Path) -> None:
    """Two open simulators write into two files, which only their owner may read, and which vanish with them."""
    with SimulatorRuntime(KEPT, OPTIONS) as one, SimulatorRuntime(KEPT, OPTIONS):
        one.infer(IMAGE)
        logs = list(temporary.iterdir())
        assert [path.stat().st_mode & 0o777 for path in logs] == [0o600] * 2
    assert list(temporary.iterdir()) == []


def test_a_log_that_was_named_stays(temporary: Path) -> None:
    """The caller's own log is written where it was asked for and never removed."""
    with SimulatorRuntime(KEPT, OPTIONS, log=temporary / "mine.log"):
        pass
    assert [path.name for path in temporary.iterdir()] == ["mine.log"]


@pytest.mark.parametrize("when", ["open_kept", "simulate"])
@pytest.mark.parametrize("failure", [ToolkitError("It crashed."), OSError(28, "No space left on device")])
def test_a_failure_keeps_the_log_and_names_it(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, when: str, failure: Exception
) -> None:
    """Whatever fails, and even if the caller goes on after it, the error says where the log is, and there it is."""
    monkeypatch.setattr(StandInToolkit, "when", when)
    monkeypatch.setattr(StandInToolkit, "fails", failure)
    caught: RkdeployError | None = None
    try:
        with SimulatorRuntime(KEPT, OPTIONS) as runtime:
            try:
                runtime.infer(IMAGE)
            except BackendError as error:
                caught = error
    except RkdeployError as error:
        caught = error
    assert isinstance(
        caught, ToolkitError if when == "open_kept" and isinstance(failure, ToolkitError) else BackendError
    )
    (log,) = temporary.iterdir()
    assert caught.hint.endswith(f"log is kept: {log}")
    assert str(failure.args[-1]) in caught.message
    assert log.read_text() == "what the toolkit says"


@pytest.mark.parametrize("when", ["open_kept", "simulate"])
def test_an_interruption_leaves_no_log(temporary: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """An interrupted simulation leaves no log, since no message names it."""
    monkeypatch.setattr(StandInToolkit, "when", when)
    monkeypatch.setattr(StandInToolkit, "fails", SystemExit(130))
    with pytest.raises(SystemExit), SimulatorRuntime(KEPT, OPTIONS) as runtime:
        runtime.infer(IMAGE)
    assert list(temporary.iterdir()) == []


def test_no_place_for_temporary_files_is_one_error(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder that is gone is a refusal, not a traceback."""
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "gone"))
    with pytest.raises(BackendError, match="No such file or directory"), SimulatorRuntime(KEPT, OPTIONS):
        pass

"""Trial import of rknn-toolkit2 in a child process: the import changes the process that does it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from rkdeploy.device.profiling.package_versions import installed
from rkdeploy.doctor.system import ToolkitTrial
from rkdeploy.errors import ToolkitError

_TIMEOUT_S = 120.0


def try_toolkit() -> ToolkitTrial | None:
    """Import it in the interpreter that builds use; None if none is configured and none is installed here."""
    from rkdeploy.host.toolkit.process import PYTHON_VARIABLE
    from rkdeploy.host.toolkit.toolkit import Toolkit

    named = os.environ.get(PYTHON_VARIABLE)
    if not named and "rknn-toolkit2" not in installed(["rknn-toolkit2"]):
        return None
    python = named or sys.executable
    with tempfile.TemporaryDirectory(prefix="rkdeploy-doctor-") as folder:
        try:
            with Toolkit(log=Path(folder) / "toolkit.log", python=Path(python), timeout_s=_TIMEOUT_S) as toolkit:
                return ToolkitTrial(python, toolkit.version)
        except ToolkitError as error:
            # Its hint ends with the path of the log, which no longer exists then.
            return ToolkitTrial(python, None, error.message, error.hint.partition(" The toolkit's log:")[0])

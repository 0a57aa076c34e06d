"""The command line of a build."""

from __future__ import annotations

import shlex

from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.option import written


def build_command_line(options: BuildOptions) -> str:
    """The whole command, for a shell: the model, then each option that is not the default."""
    return shlex.join(["rkdeploy", "build", *written(options)])
